"""`millrace generate`: video from words and from a picture, without a camera."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from millrace.app import generate, usual
from millrace.app.errors import CallError
from millrace.models import wan_sizes
from millrace.models.specs import WAN_1_3B
from millrace.streaming.config import Options

SMALL = replace(
    WAN_1_3B, dim=48, ffn_dim=64, freq_dim=32, text_dim=16, text_len=6, heads=4, layers=2
)
SIDE = 32


@pytest.fixture(autouse=True)
def small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(wan_sizes.WAN_SPECS, "wan2.1-1.3b", SMALL)


def job(target: Path, model: str = "wan2.1-1.3b", **changes: object) -> generate.Job:
    random = {"random_weights": True} if model != "tiny" else {}
    options = Options(model, "cpu", "float32", 1, SIDE, SIDE, max_sessions=1, settings=random)
    plain = generate.Job(
        target=target,
        image=None,
        options=options,
        size=(SIDE, SIDE),
        seconds=0.4,
        fps=16,
        controls={"prompt": "a red fox", "steps": 1},
        texts={},
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as file:
        assert float(file.streams.video[0].average_rate or 0) == 16
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def a_picture(path: Path) -> Path:
    colours = np.zeros((SIDE, SIDE, 3), np.uint8)
    colours[:, : SIDE // 2] = (200, 30, 30)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("png", rate=1)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "rgb24"
        for packet in stream.encode(av.VideoFrame.from_ndarray(colours, "rgb24")):
            file.mux(packet)
        for packet in stream.encode(None):
            file.mux(packet)
    return path


def test_words_make_a_video_of_the_length_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate.run(job(tmp_path / "out.mp4"), as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert (report["frames"], report["size"]) == (6, [SIDE, SIDE])
    made = pictures(tmp_path / "out.mp4")
    assert len(made) == 6 and made[0].shape == (SIDE, SIDE, 3)
    assert float(np.std(made[0])) > 1, "not grey"


def test_the_embedded_model_draws_at_the_rate_that_it_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the report says what was understood."""
    words = {"prompt": "waves at sunset with a zebra"}
    wanted = job(tmp_path / "out.mp4", "tiny-dream", controls=words, fps=None, seconds=0.25)
    generate.run(wanted, as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert (report["model"], report["rate"], report["frames"]) == ("tiny-dream", 24.0, 6)
    assert report["notes"][0] == "prompt understood as waves sunset 100%"
    assert report["notes"][1] == "words it does not know: zebra"
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert file.streams.video[0].average_rate == 24


@pytest.mark.parametrize("there", [True, False])
def test_the_embedded_model_is_the_usual_one_where_it_has_weights(
    monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setattr(usual, "shipped", lambda: there)
    assert usual.usual_model("text") == ("tiny-dream" if there else "wan2.1-1.3b")
    assert usual.usual_model("image") == "wan2.1-1.3b", "the embedded one begins with no picture"
    assert usual.usual_model("video") == "tiny"


def test_a_first_picture_changes_what_is_made(tmp_path: Path) -> None:
    generate.run(job(tmp_path / "words.mp4"), as_json=True)
    image = a_picture(tmp_path / "first.png")
    generate.run(job(tmp_path / "picture.mp4", image=image), as_json=True)
    words, picture = pictures(tmp_path / "words.mp4"), pictures(tmp_path / "picture.mp4")
    assert len(words) == len(picture) == 6
    assert any((a != b).any() for a, b in zip(words, picture, strict=True))


def test_a_model_that_restyles_only_says_so(tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"tiny draws from video, not from text alone.*wan2\.1"):
        generate.run(job(tmp_path / "out.mp4", model="tiny"), as_json=True)
    assert not list(tmp_path.iterdir())


def test_wrong_calls(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="holds one picture"):
        generate.run(job(tmp_path / "out.png"), as_json=True)
    with pytest.raises(CallError, match="does not exist"):
        generate.run(job(tmp_path / "out.mp4", image=tmp_path / "none.png"), as_json=True)
    with pytest.raises(CallError, match="outside 1.0 to 4.0|outside 1 to 4"):
        generate.run(job(tmp_path / "out.mp4", controls={"steps": 9}), as_json=True)
