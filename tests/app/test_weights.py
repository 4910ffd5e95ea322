"""Which weights a command runs with, and what it says when there are none."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from millrace.app import cli, weights
from millrace.app.errors import CallError
from millrace.models.released import RELEASED
from typer.testing import CliRunner

ROOT = Path(__file__).parent.parent.parent


def make(folder: Path, name: str) -> Path:
    """A folder with a place for each part, as somebody fills it by hand."""
    for role in RELEASED[name].roles:
        (folder / role).mkdir(parents=True)
    return folder


@pytest.fixture
def environ(tmp_path: Path) -> Mapping[str, str]:
    return {"MILLRACE_MODELS": str(tmp_path / "models")}


def test_pulled_models_lie_where_the_user_says(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": "/cache", "MILLRACE_MODELS": "/models"}
    assert weights.root(tmp_path, environ) == tmp_path
    assert weights.root(None, environ) == Path("/models")
    del environ["MILLRACE_MODELS"]
    assert weights.root(None, environ) == Path("/cache/millrace/models")
    assert weights.root(None, {}) == Path.home() / ".cache/millrace/models"


def test_what_was_pulled_under_a_models_name_is_taken(
    tmp_path: Path, environ: Mapping[str, str]
) -> None:
    folder = make(tmp_path / "models/wan2.1-1.3b", "wan2.1-1.3b")
    asked = weights.settings("wan2.1-1.3b", None, False, None, environ)
    assert asked == {"weights": str(folder)}
    own = make(tmp_path / "own", "wan2.1-1.3b")
    assert weights.settings("wan2.1-1.3b", str(own), False, None, environ) == {"weights": str(own)}
    other = make(tmp_path / "models/self-forcing-1.3b", "self-forcing-1.3b")
    found = weights.settings("wan2.1-1.3b", "self-forcing-1.3b", False, None, environ)
    assert found == {"weights": str(other), "policy": "self-forcing"}


def test_weights_of_another_model_are_refused_by_name(
    tmp_path: Path, environ: Mapping[str, str]
) -> None:
    make(tmp_path / "models/self-forcing-1.3b", "self-forcing-1.3b")
    with pytest.raises(CallError, match=r"cannot run self-forcing.*--model wan2\.1-1\.3b can"):
        weights.settings("sd-turbo", "self-forcing-1.3b", False, None, environ)
    teller = make(tmp_path / "models/qwen2.5-vl-3b", "qwen2.5-vl-3b")
    with pytest.raises(CallError, match=r"--vlm qwen2\.5-vl-3b can"):
        weights.settings("sd-turbo", str(teller), False, None, environ)


@pytest.mark.parametrize("flag", weights.FLAGS.items())
def test_what_has_a_flag_of_its_own_is_no_option(
    flag: tuple[str, str], environ: Mapping[str, str]
) -> None:
    with pytest.raises(CallError, match=f"{flag[0]}=1: say it with {flag[1]}"):
        weights.settings("tiny", None, False, [f"{flag[0]}=1"], environ)


def test_further_settings_go_along_and_win(tmp_path: Path, environ: Mapping[str, str]) -> None:
    other = make(tmp_path / "models/causvid-1.3b", "causvid-1.3b")
    typed = ["vae=wan", "policy=streamdiffusionv2"]
    assert weights.settings("wan2.1-1.3b", "causvid-1.3b", False, typed, environ) == {
        "weights": str(other),
        "vae": "wan",
        "policy": "streamdiffusionv2",
    }
    with pytest.raises(CallError, match="--option 'vae': write it as name=value"):
        weights.settings("tiny", None, False, ["vae"], environ)


def test_files_are_drawn_with_the_better_autoencoder(
    tmp_path: Path, environ: Mapping[str, str]
) -> None:
    folder = make(tmp_path / "models/wan2.1-1.3b", "wan2.1-1.3b")

    def asked(*loading: str) -> Mapping[str, object]:
        return weights.settings("wan2.1-1.3b", None, False, loading, environ, for_file=True)

    assert asked() == {"weights": str(folder), "vae": "wan"}
    assert asked("vae=taehv") == {"weights": str(folder), "vae": "taehv"}
    # What is measured without weights is what would run with them.
    random = weights.settings("wan2.1-1.3b", None, True, None, environ, for_file=True)
    assert random == {"random_weights": True, "vae": "wan"}
    for name, speed in (("sd-turbo", True), ("tiny", False)):
        assert "vae" not in weights.settings(name, None, speed, None, environ, for_file=True)


def test_models_without_weights_have_no_settings(environ: Mapping[str, str]) -> None:
    assert weights.settings("tiny", None, False, None, environ) == {}
    assert weights.settings("tiny", None, True, None, environ) == {"random_weights": True}
    assert weights.settings("my.module:Name", None, False, None, environ) == {}


@pytest.mark.parametrize(
    ("pipeline", "folder", "random", "message"),
    [
        ("wan2.1-1.3b", None, False, "millrace models pull wan2.1-1.3b.*--random-weights"),
        ("wan2.1-1.3b", "self-forcing-1.3b", False, "millrace models pull self-forcing-1.3b"),
        ("wan2.1-1.3b", "somewhere", True, "two sources"),
        ("wan2.1-1.3b", "nowhere", False, "no such folder.*causvid-1.3b"),
        ("tiny", "somewhere", False, "tiny takes none"),
    ],
)
def test_a_wrong_choice_says_what_to_do(
    environ: Mapping[str, str], pipeline: str, folder: str | None, random: bool, message: str
) -> None:
    with pytest.raises(CallError, match=message):
        weights.settings(pipeline, folder, random, None, environ)


def test_a_file_is_no_folder_of_weights(tmp_path: Path, environ: Mapping[str, str]) -> None:
    (tmp_path / "model.pt").touch()
    with pytest.raises(CallError, match="is a file"):
        weights.settings("wan2.1-1.3b", str(tmp_path / "model.pt"), False, None, environ)


def test_a_pulled_teller_is_known_by_its_name(tmp_path: Path, environ: Mapping[str, str]) -> None:
    assert weights.vlm("tiny", environ) == "tiny"
    assert weights.vlm("Qwen/Qwen2.5-VL-3B-Instruct", environ) == "Qwen/Qwen2.5-VL-3B-Instruct"
    with pytest.raises(CallError, match="millrace models pull qwen2.5-vl-3b.*--vlm FOLDER"):
        weights.vlm("qwen2.5-vl-3b", environ)
    with pytest.raises(CallError, match="--model"):
        weights.vlm("sd-turbo", environ)
    folder = make(tmp_path / "models/qwen2.5-vl-3b", "qwen2.5-vl-3b")
    assert weights.vlm("qwen2.5-vl-3b", environ) == str(folder / "model")


@pytest.mark.parametrize(
    "command",
    [["serve"], ["bench"], ["stylize", "in.mp4", "out.mp4"]],
    ids=lambda command: str(command[0]),
)
def test_every_command_that_draws_refuses_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("MILLRACE_MODELS", str(tmp_path))
    result = CliRunner().invoke(cli.app, [*command, "--model", "wan2.1-1.3b"])
    assert isinstance(result.exception, CallError)
    assert "millrace models pull wan2.1-1.3b" in str(result.exception)


def test_a_teller_that_is_not_here_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_MODELS", str(tmp_path))
    result = CliRunner().invoke(cli.app, ["caption", "in.mp4", "--vlm", "qwen2.5-vl-7b"])
    assert isinstance(result.exception, CallError)
    assert "millrace models pull qwen2.5-vl-7b" in str(result.exception)


def calls(name: str) -> Iterator[tuple[Path, ast.Call]]:
    """Every call of something of this name in the package."""
    for layer in ("models", "streaming", "app"):
        for file in (ROOT / layer).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(name):
                    yield file, node


def test_nothing_but_a_typed_name_reaches_for_the_hub() -> None:
    with_hub = {
        file.relative_to(ROOT).as_posix()
        for layer in ("models", "streaming", "app")
        for file in (ROOT / layer).rglob("*.py")
        if "huggingface_hub" in file.read_text("utf-8")
    }
    # What `models pull` and `--vlm` were told to fetch.
    assert with_hub == {"app/hub.py", "models/vl/checkpoint.py"}
    for file, call in calls(".from_pretrained"):
        told = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert told.get("local_files_only") == "True", f"{file}: {ast.unparse(call)}"
