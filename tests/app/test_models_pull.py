"""Fetching a model from a hub: what is shown, resumed, checked and refused, with which words."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from millrace.app import catalog, hub, hub_lock, hub_pull
from millrace.app.errors import CallError, CommandError
from millrace.app.hub_pull import Wish
from millrace.models.released import RELEASED, Part, Released

from .fake_hub import COMMIT, FakeHub, serving

BIG = bytes(range(256)) * 4100
MODEL = Released(
    "small",
    "a model of a test",
    (
        Part("dit", "me/net", ("model.pt",), 1, "mit", folder="causal"),
        Part("unet", "me/net", ("net.fp16.bin",), 1, "mit", folder="unet", drop=".fp16"),
        Part("tokenizer", "me/words", ("*.json",), 1, "mit"),
    ),
    "wan",
    "wan2.1-1.3b",
    "wan2.1-1.3b",
)
WHOLE = {"dit/model.pt": BIG, "unet/net.bin": b"u" * 99, "tokenizer/a.json": b"{}"}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    repos = {
        "me/net": {"causal/model.pt": BIG, "unet/net.fp16.bin": b"u" * 99, "README.md": b"hello"},
        "me/words": {"a.json": b"{}", "deeper/b.json": b"[]"},
    }
    with serving(FakeHub(repos, small={"a.json"})) as running:
        monkeypatch.setattr(hub, "endpoint", lambda: running.address)
        # The library tries a broken line again after a second; here that only costs time.
        monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
        # It keeps what came in pieces of this size.
        monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 14)
        yield running


def pull(root: Path, **more: object) -> None:
    wish = Wish(MODEL, root, agreed=True)
    hub_pull.pull(replace(wish, **more), None)  # type: ignore[arg-type]


def held(root: Path) -> dict[str, bytes]:
    folder = root / "small"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not {".partial", ".pulling", hub_lock.LOCK} & {*path.parts}
    }


def test_a_model_comes_whole_with_its_lock(
    store: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pull(tmp_path)
    assert held(tmp_path) == WHOLE
    files = hub_lock.read(tmp_path / "small")
    assert files is not None and len(files) == 3
    for file in files:
        content = WHOLE[f"{file.role}/{file.file}"]
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert (file.bytes, file.commit, file.licence) == (len(content), COMMIT, "apache-2.0")
    shown = capsys.readouterr().out
    assert "1.0 MB to fetch" in shown and "licence: apache-2.0 / mit" in shown
    asked = len(store.requests)
    pull(tmp_path)
    assert len(store.requests) == asked, "nothing is fetched twice"


def test_licence_and_size_are_agreed_to_first(store: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(CallError, match="--yes"):
        hub_pull.pull(Wish(MODEL, tmp_path), None)
    questions = []

    def no(question: str) -> bool:
        questions.append(question)
        return False

    with pytest.raises(CallError, match="nothing was fetched"):
        hub_pull.pull(Wish(MODEL, tmp_path), no)
    assert questions == ["Fetch 1.0 MB under these licences?"]
    assert not store.requests and not held(tmp_path)


def test_a_cut_line_is_taken_up_where_it_broke(store: FakeHub, tmp_path: Path) -> None:
    store.faults["causal/model.pt"] = ["cut"]
    pull(tmp_path)
    assert held(tmp_path) == WHOLE
    ranges = [wanted for path, wanted in store.requests if path == "causal/model.pt"]
    assert ranges[0] == "" and 0 < int(ranges[1].removeprefix("bytes=").rstrip("-")) < len(BIG)


def test_a_later_pull_goes_on_and_leaves_nothing_half_under_a_final_name(
    store: FakeHub, tmp_path: Path
) -> None:
    store.faults["causal/model.pt"] = ["cut", "403"]
    with pytest.raises(CommandError, match="403"):
        pull(tmp_path)
    assert "dit/model.pt" not in held(tmp_path)
    assert hub_lock.state(MODEL, tmp_path / "small") == "not pulled"
    here = sum(file.stat().st_size for file in (tmp_path / "small/.partial").rglob("*.*"))
    assert 0 < here < len(BIG)
    store.requests.clear()
    pull(tmp_path)
    assert store.requests[0] == ("causal/model.pt", f"bytes={here}-")
    assert held(tmp_path) == WHOLE and not (tmp_path / "small/.partial").exists()
    assert hub_lock.state(MODEL, tmp_path / "small") == "pulled"


def test_what_is_whole_stays_when_a_later_file_fails(store: FakeHub, tmp_path: Path) -> None:
    store.faults["a.json"] = ["404"]
    with pytest.raises(CommandError, match="a.json"):
        pull(tmp_path)
    assert set(held(tmp_path)) == {"dit/model.pt", "unet/net.bin"}
    assert hub_lock.state(MODEL, tmp_path / "small") == "partly pulled"
    store.requests.clear()
    pull(tmp_path)
    assert [path for path, _ in store.requests] == ["a.json"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("wrong", "sha256 is .* the hub says .* removed, please pull again"),
        ("short", "[Cc]onsistency|bytes"),
        ("long", "[Cc]onsistency|bytes"),
        ("401", "401.*hf auth login"),
        ("403", "may not be read with this login"),
        ("gated", "is gated .403.: accept its terms"),
        ("404", "404"),
        ("500", "the hub has trouble .500."),
    ],
)
def test_a_faulty_file_is_refused_with_the_remedy(
    store: FakeHub, tmp_path: Path, fault: str, message: str
) -> None:
    store.faults["unet/net.fp16.bin"] = [fault] * 9
    with pytest.raises(CommandError, match=message) as caught:
        pull(tmp_path)
    assert "net.fp16.bin" in str(caught.value)
    assert "unet/net.bin" not in held(tmp_path)
    store.faults.clear()
    pull(tmp_path)
    assert held(tmp_path) == WHOLE


def test_an_altered_small_file_is_found_by_its_git_id(store: FakeHub, tmp_path: Path) -> None:
    store.faults["a.json"] = ["wrong"]
    with pytest.raises(CommandError, match="git id"):
        pull(tmp_path)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("401", "private, or does not exist"),
        ("gated", "is gated"),
        ("404", "moved or removed"),
        ("500", "the hub has trouble"),
    ],
)
def test_a_repository_that_is_refused_is_named(
    store: FakeHub, tmp_path: Path, fault: str, message: str
) -> None:
    store.faults["me/words"] = [fault] * 9
    with pytest.raises(CommandError, match=message) as caught:
        pull(tmp_path)
    assert "me/words" in str(caught.value) and not held(tmp_path)


def test_unknown_repositories_revisions_and_files_are_named(store: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no revision v9"):
        pull(tmp_path, revision="v9")
    del store.repos["me/net"]["unet/net.fp16.bin"]
    with pytest.raises(CommandError, match="no file unet/net.fp16.bin any more"):
        pull(tmp_path)
    del store.repos["me/net"]
    with pytest.raises(CommandError, match="me/net is private, or does not exist"):
        pull(tmp_path)


def test_a_hub_out_of_reach_says_so(
    store: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "endpoint", lambda: "http://127.0.0.1:9")
    with pytest.raises(CommandError, match="cannot be reached.*--from"):
        pull(tmp_path)


def test_a_hub_that_falls_silent_says_so(
    store: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    store.faults["unet/net.fp16.bin"] = ["stall"] * 99
    with pytest.raises(CommandError, match="net.fp16.bin.*did not answer in time.*is kept"):
        pull(tmp_path)


def test_a_library_told_to_stay_offline_says_so(
    store: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CommandError, match="HF_HUB_OFFLINE is set"):
        pull(tmp_path)


def test_a_full_disk_is_told_before_and_while(store: FakeHub, tmp_path: Path) -> None:
    store.sizes["causal/model.pt"] = 10**16
    with pytest.raises(CommandError, match="needs 10000000.0 GB more .* has .* free.*--dir"):
        pull(tmp_path)
    assert not store.requests
    store.sizes.clear()
    partial = tmp_path / "small/.partial/dit"
    partial.mkdir(parents=True)
    sha256 = hashlib.sha256(BIG).hexdigest()
    (partial / f"model.pt.{sha256[:12]}").symlink_to("/dev/full")
    with pytest.raises(CommandError, match="the disk is full"):
        pull(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(store: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "small").write_text("a file in the way")
    with pytest.raises(CommandError, match="small.*--dir"):
        pull(tmp_path)


def test_another_file_than_the_known_one_is_refused(store: FakeHub, tmp_path: Path) -> None:
    known = replace(MODEL.parts[0], sha256={"model.pt": "a" * 64})
    model = replace(MODEL, parts=(known, *MODEL.parts[1:]))
    with pytest.raises(CommandError, match=f"not the file that this version.*{COMMIT}"):
        pull(tmp_path, model=model)
    pull(tmp_path, model=model, revision=COMMIT)
    assert held(tmp_path) == WHOLE


def test_an_equal_file_of_another_model_is_linked(store: FakeHub, tmp_path: Path) -> None:
    pull(tmp_path)
    store.requests.clear()
    pull(tmp_path, model=replace(MODEL, name="other"))
    assert "causal/model.pt" not in [path for path, _ in store.requests]
    assert (tmp_path / "other/dit/model.pt").samefile(tmp_path / "small/dit/model.pt")


@pytest.mark.parametrize("layout", ["here", "clones", "names"])
def test_a_local_folder_takes_the_place_of_the_hub(tmp_path: Path, layout: str) -> None:
    places = {
        "here": {"dit/model.pt": BIG, "unet/net.bin": b"u", "tokenizer/a.json": b"{}"},
        "clones": {
            "me/net/causal/model.pt": BIG,
            "me/net/unet/net.fp16.bin": b"u",
            "me/words/a.json": b"{}",
        },
        "names": {
            "net/causal/model.pt": BIG,
            "net/unet/net.fp16.bin": b"u",
            "words/a.json": b"{}",
        },
    }
    for name, content in places[layout].items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    pull(tmp_path / "models", source=tmp_path / "source")
    assert held(tmp_path / "models") == {**WHOLE, "unet/net.bin": b"u"}
    assert hub_lock.state(MODEL, tmp_path / "models/small") == "pulled"
    # Nothing is done twice, and what changed at the source comes again.
    before = (tmp_path / "models/small/unet/net.bin").stat().st_ino
    pull(tmp_path / "models", source=tmp_path / "source")
    assert (tmp_path / "models/small/unet/net.bin").stat().st_ino == before
    changed = tmp_path / "source" / next(name for name in places[layout] if "unet/net" in name)
    changed.unlink()
    changed.write_bytes(b"v")
    pull(tmp_path / "models", source=tmp_path / "source")
    assert held(tmp_path / "models") == {**WHOLE, "unet/net.bin": b"v"}


def test_a_local_folder_without_a_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no dit of this model; looked for .*model.pt"):
        pull(tmp_path / "models", source=tmp_path)


def test_a_damaged_lock_file_says_what_to_do(store: FakeHub, tmp_path: Path) -> None:
    pull(tmp_path)
    (tmp_path / "small" / hub_lock.LOCK).write_text("{")
    with pytest.raises(CommandError, match="remove it and pull the model again"):
        pull(tmp_path)


def test_two_pulls_at_once_do_not_mix(store: FakeHub, tmp_path: Path) -> None:
    with hub_pull._alone(tmp_path / "small"), pytest.raises(CommandError, match="another pull"):
        pull(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"), [("tiny", "needs no download"), ("nothing", "no such model")]
)
def test_a_wrong_name_is_a_wrong_call(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(CallError, match=message):
        catalog.pull(name, tmp_path, None, "", True)


def test_the_list_tells_what_is_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkdir(tmp_path / "sd-turbo")
    catalog.show(tmp_path, True)
    rows = {(row["option"], row["name"]): row for row in json.loads(capsys.readouterr().out)}
    assert set(RELEASED) <= {name for _, name in rows}
    assert rows["--model", "sd-turbo"]["state"] == "not pulled"
    assert rows["--vlm", "qwen2.5-vl-3b"]["parts"][0]["verified"] is False
    assert rows["--weights", "causvid-1.3b"]["model"] == "wan2.1-1.3b"
    catalog.show(tmp_path, False)
    shown = capsys.readouterr().out
    assert "not pulled" in shown and "(not confirmed)" in shown and "28.6 GB" in shown
