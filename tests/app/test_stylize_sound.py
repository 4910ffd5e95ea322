"""`millrace stylize` keeps the sound of a file, where it belongs."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from millrace.app import cli

FPS, SECONDS = 25, 3
BEEP_S = 0.1


def make(path: Path, codec: str, picture_from: float, sound_from: float, rate: int) -> Path:
    """A picture that flashes and a sound that beeps as each second of the file begins."""
    times = np.arange(SECONDS * rate) / rate + sound_from
    wave = (0.5 * np.sin(2 * np.pi * 1000 * times) * (times % 1 < BEEP_S)).astype(np.float32)
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = video.time_base = Fraction(1, 1000)
        audio: Any = container.add_stream(codec, rate=rate)
        audio.codec_context.layout = "mono"
        fitted = av.AudioResampler(audio.codec_context.format.name, "mono", rate)
        for number in range(SECONDS * FPS):
            time = picture_from + number / FPS
            planes = np.full((72, 64), 128, np.uint8)
            planes[:48] = 220 if round(time % 1, 6) < BEEP_S else 40
            frame = av.VideoFrame.from_ndarray(planes, "yuv420p")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for at in range(0, len(wave), 1024):
            piece = av.AudioFrame.from_ndarray(wave[None, at : at + 1024].copy(), "fltp", "mono")
            piece.sample_rate, piece.time_base = rate, Fraction(1, rate)
            piece.pts = round(sound_from * rate) + at
            for ready in fitted.resample(piece):
                container.mux(audio.encode(ready))
        container.mux(audio.encode(None))
    return path


def onsets(times: list[float], levels: list[float]) -> list[float]:
    half = (max(levels) + min(levels)) / 2
    steps = zip(times[1:], levels[1:], levels, strict=False)
    return [time for time, now, before in steps if now > half >= before]


def flashes(path: Path) -> tuple[list[float], float]:
    """When they begin, and how long the picture lasts."""
    with av.open(str(path)) as container:
        frames = [(f.time, float(f.to_ndarray()[:48].mean())) for f in container.decode(video=0)]
    times, levels = map(list, zip(*frames, strict=True))
    return onsets(times, levels), times[-1] - times[0]


def beeps(path: Path) -> tuple[list[float], float]:
    """When they begin, and how long the sound lasts."""
    times: list[float] = []
    levels: list[float] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = np.abs(frame.to_ndarray().astype(np.float64)).reshape(-1)
            for at in range(0, len(samples) - 47, 48):
                times.append((frame.time or 0.0) + at / frame.sample_rate)
                levels.append(float(samples[at : at + 48].max()))
    return onsets(times, levels), times[-1] - times[0]


@pytest.fixture
def stylize(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: object) -> dict[str, Any]:
        fixed = ["--device", "cpu", "--threads", "1", "--model", "passthrough", "--json"]
        monkeypatch.setattr(sys, "argv", ["millrace", "stylize", *fixed, *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        printed = capsys.readouterr()
        assert not caught.value.code, printed.err
        report: dict[str, Any] = json.loads(printed.out)
        return report

    return call


@pytest.mark.parametrize(
    ("source", "codec", "picture_from", "sound_from", "rate", "target"),
    [
        ("in.mp4", "aac", 0.0, 0.0, 48_000, "out.mp4"),
        ("in.mp4", "aac", 0.0, 0.0, 44_100, "out.webm"),
        ("in.mp4", "aac", 0.0, 0.72, 48_000, "out.mkv"),
        ("in.mkv", "libopus", 0.72, 0.0, 48_000, "out.mp4"),
        ("in.mkv", "pcm_s16le", 0.0, 0.72, 44_100, "out.webm"),
        ("in.ts", "aac", 0.0, 0.0, 48_000, "out.mp4"),
    ],
)
def test_sound_stays_with_its_picture(
    tmp_path: Path, stylize: Any, source: str, codec: str, picture_from: float, sound_from: float,
    rate: int, target: str,
) -> None:  # fmt: skip
    made = make(tmp_path / source, codec, picture_from, sound_from, rate)
    report = stylize(made, tmp_path / target)
    assert "sound" in report["notes"][0]
    seen, before = flashes(made), flashes(tmp_path / target)
    heard, after = beeps(made), beeps(tmp_path / target)
    frame = 1 / FPS
    assert abs(seen[1] - before[1]) < frame and abs(heard[1] - after[1]) < frame
    # Where one of both has begun or ended already, there is no other to compare with.
    apart = [min(abs(beep - flash) for beep in after[0]) for flash in before[0]]
    assert sum(seconds < frame for seconds in apart) >= 2
    assert all(seconds < frame or seconds > 0.5 for seconds in apart)


def test_sound_can_be_left_out(tmp_path: Path, stylize: Any) -> None:
    made = make(tmp_path / "in.mp4", "aac", 0.0, 0.0, 48_000)
    report = stylize(made, tmp_path / "out.mp4", "--no-audio")
    assert report["notes"] == ["sound left out, as asked for"]
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(container.streams.audio) == 0 and len(container.streams.video) == 1
