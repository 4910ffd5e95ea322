"""`millrace stylize` from the command line to the file, with models that are quick to run."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from millrace import assets
from millrace.app import cli
from millrace.app.stylize import drawn_by, understood
from millrace.streaming.captions.track import parse_webvtt
from millrace.streaming.config import Options

QUICK = ("--device", "cpu", "--dtype", "float32", "--threads", "1")
MODELS = """
import signal
from millrace.streaming.passthrough import Passthrough

class Negative(Passthrough):
    def step(self, batch):
        return [work.done(1 - work.frames) for work in batch]

class Talks(Negative):
    def step(self, batch):
        notes = {"understood": [["oil", 0.75], ["camera", 0.25]], "unknown": ["gloop"]}
        return [work.done(work.frames, **notes) for work in batch]

class Breaks(Negative):
    def step(self, batch):
        if batch[0].index == 7:
            raise RuntimeError("out of paint")
        return super().step(batch)

class Stopped(Negative):
    def step(self, batch):
        if batch[0].index == 7:
            signal.raise_signal(signal.SIGINT)
        return super().step(batch)
"""


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Twenty frames of 62x46 that step in brightness."""
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 62, 46, "yuvj420p"
        for number in range(20):
            pixels = np.full((46, 62, 3), 20 + 10 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def stylize(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Calls the command in this process; returns its exit code, output and errors."""
    (tmp_path / "stylize_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["millrace", "stylize", *QUICK, *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return call


Call = Callable[..., tuple[int, str, str]]


def levels(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(f.to_ndarray(format="rgb24").mean()) for f in container.decode(video=0)]


def left(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir() if p.is_file()} - {"stylize_models.py", "in.mkv"}


def test_every_picture_is_restyled_in_its_place(tmp_path: Path, video: Path, stylize: Call) -> None:
    code, out, _ = stylize(
        video, tmp_path / "out.mp4", "--model", "stylize_models:Negative", "--json"
    )
    report = json.loads(out)
    assert code == 0
    assert report["frames"] == 20 and report["size"] == [62, 46] and report["threads"] == 1
    expected = [255 - (20 + 10 * number) for number in range(20)]
    assert levels(tmp_path / "out.mp4") == pytest.approx(expected, abs=3)
    assert left(tmp_path) == {"out.mp4"}


def test_what_the_model_understood_is_told(tmp_path: Path, video: Path, stylize: Call) -> None:
    code, out, _ = stylize(video, tmp_path / "out.mp4", "--model", "stylize_models:Talks")
    assert code == 0
    assert "prompt understood as oil 75%, camera 25%" in out
    assert "words it does not know: gloop" in out
    assert "  drawn by passthrough on cpu in float32\n" in out


def test_settings_that_a_model_was_loaded_with_are_told() -> None:
    report = {"model": "wan", "device": "cpu", "dtype": "float32"}
    settings = {"weights": "/there", "random_weights": True, "vae": "wan"}
    told = drawn_by(report, Options(settings=settings))
    assert told.startswith("drawn by wan on cpu in float32 with vae=wan, random weights: ")
    assert understood({"prompt_cut": "'z'"}) == ["not all of the prompt is used: 'z'"]


def test_a_size_and_controls_are_taken(tmp_path: Path, video: Path, stylize: Call) -> None:
    code, out, _ = stylize(
        video, tmp_path / "out.webm", "--model", "passthrough",
        "--size", "32x32", "--set", "skip_still=no",
    )  # fmt: skip
    assert code == 0
    assert "20 frames of 32x32" in out and "cut" in out


def test_a_picture_is_restyled(tmp_path: Path, video: Path, stylize: Call) -> None:
    with av.open(str(video)) as container:
        next(container.decode(video=0)).save(str(tmp_path / "one.png"))
    code, _, _ = stylize(
        tmp_path / "one.png", tmp_path / "out.png", "--model", "stylize_models:Negative"
    )
    assert code == 0
    assert levels(tmp_path / "out.png") == pytest.approx([235], abs=3)


def test_the_shipped_clip_goes_through(tmp_path: Path, stylize: Call) -> None:
    code, out, _ = stylize(
        assets.path("clip.mp4"), tmp_path / "out.mp4", "--model", "passthrough", "--json"
    )
    assert (code, json.loads(out)["frames"]) == (0, 300)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone.mp4", "out.mp4"), "gone.mp4 does not exist"),
        (("in.mkv", "in.mkv"), "is the input itself"),
        (("in.mkv", "out.xyz"), "known are"),
        (("in.mkv", "gone/out.mp4"), "make it first"),
        (("in.mkv", "out.png"), "name a video"),
        (("in.mkv", "out.mp4", "--size", "31x32"), "30x32"),
        (("in.mkv", "out.mp4", "--size", "big"), "256x256"),
        (("in.mkv", "out.mp4", "--prompt", "oil"), "prompt: no such control"),
        (("in.mkv", "out.mp4", "--set", "skip_still=7"), "true or false"),
        (("in.mkv", "out.mp4", "--set", "oops"), "name=value"),
        (("in.mkv", "out.mp4", "--device", "tpu"), "tpu"),
    ],
)
def test_a_wrong_call_says_what_to_do(
    tmp_path: Path,
    video: Path,
    stylize: Call,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, errors = stylize("--model", "passthrough", *arguments)
    assert (code, message in errors) == (2, True), errors
    assert not left(tmp_path)


def test_a_corrupt_file_is_a_failure(tmp_path: Path, stylize: Call) -> None:
    (tmp_path / "in.mkv").write_bytes(bytes(5000))
    code, _, errors = stylize(tmp_path / "in.mkv", tmp_path / "out.mp4", "--model", "passthrough")
    assert (code, "not a video" in errors) == (1, True)
    assert not left(tmp_path)


def test_damage_in_the_middle_leaves_a_marked_part(
    tmp_path: Path, video: Path, stylize: Call
) -> None:
    with av.open(str(video)) as container:
        packets = [bytes(p) for p in container.demux(video=0) if p.size]
    data = video.read_bytes()
    video.write_bytes(data.replace(packets[10], bytes(len(packets[10]))))
    target = tmp_path / "out.mp4"
    target.write_text("kept")
    code, _, errors = stylize(video, target, "--model", "passthrough")
    assert code == 1
    assert "damaged after 0.36 s" in errors and "out.partial.mp4" in errors
    assert target.read_text() == "kept"
    assert len(levels(tmp_path / "out.partial.mp4")) == 10
    code, out, _ = stylize(video, target, "--model", "passthrough", "--keep-going")
    assert (code, len(levels(target))) == (0, 19)
    assert "1 damaged packets were left out" in out


def test_a_model_that_fails_leaves_nothing(tmp_path: Path, video: Path, stylize: Call) -> None:
    code, _, errors = stylize(video, tmp_path / "out.mp4", "--model", "stylize_models:Breaks")
    assert (code, "out of paint" in errors, "Traceback" in errors) == (1, True, False), errors
    assert not left(tmp_path)


def test_an_interrupt_keeps_what_was_done(tmp_path: Path, video: Path, stylize: Call) -> None:
    code, _, errors = stylize(video, tmp_path / "out.mp4", "--model", "stylize_models:Stopped")
    assert (code, "out.partial.mp4" in errors) == (130, True)
    assert left(tmp_path) == {"out.partial.mp4"}
    assert len(levels(tmp_path / "out.partial.mp4")) == 7


def test_a_full_disk_leaves_nothing(tmp_path: Path, video: Path) -> None:
    program = [sys.executable, "-c", "from millrace.app.cli import main; main()", "stylize"]
    done = subprocess.run(
        [*program, str(video), str(tmp_path / "out.mp4"), "--model", "passthrough", *QUICK],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "cannot be written: File too large" in done.stderr
    assert not left(tmp_path)


def test_captions_are_written_beside_the_result(
    video: Path, tmp_path: Path, stylize: Callable[..., tuple[int, str, str]]
) -> None:
    told = ("--captions", "--vlm", "caption_fakes:build")
    model = ("--model", "stylize_models:Negative")
    code, out, _ = stylize(video, tmp_path / "out.mp4", *model, *told)
    assert code == 0 and "captions in" in out
    (cue, *_) = parse_webvtt((tmp_path / "out.vtt").read_text("utf-8"))
    assert cue.start == 0 and cue.text.startswith("the picture is now level")
    code, _, errors = stylize(video, tmp_path / "out.png", *model, *told)
    assert code == 2 and "leave --captions out" in errors
