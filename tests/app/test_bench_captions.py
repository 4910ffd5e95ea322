"""What captions cost the video: counted on a clock that the test turns, and tried for real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from millrace.app import cli
from millrace.app.bench_captions import CaptionBench, Watched, clip, table
from millrace.app.errors import CallError
from millrace.streaming.captions.host import AnswerPart, Said, Seen
from millrace.streaming.captions.track import Cue
from millrace.streaming.clock import ManualClock
from millrace.streaming.frames import Frame, i420_shape
from typer.testing import CliRunner

from .caption_fakes import INFO, FakeCaptionHost, FakeCaptions
from .rig import EchoHost, EchoSession

SIZE = (32, 32)


class HalfHost(EchoHost):
    """A video host that loses every second picture while captions are told."""

    def __init__(self, teller: FakeCaptionHost) -> None:
        super().__init__()
        self.teller = teller
        self.seen = 0


def busy(host: HalfHost, session: EchoSession) -> Any:
    """`put` of a session that gives back half of what it gets while captions look on."""
    give = session.put

    def put(frame: Frame) -> None:
        looked = len(host.teller.sessions[0].seen)
        if looked == host.seen or frame.index % 2:
            give(frame)
        host.seen = looked

    return put


@pytest.fixture
def bench() -> CaptionBench:
    clock = ManualClock()
    teller = FakeCaptionHost()
    video = HalfHost(teller)
    pictures = [np.full(i420_shape(*SIZE), 128, np.uint8)]
    found = CaptionBench(video, teller, INFO, pictures, SIZE, 10.0, clock, clock.advance)
    session: Any = found._session
    session.put = busy(video, session)
    return found


def test_the_ratio_is_that_of_the_parts_with_and_without(bench: CaptionBench) -> None:
    found = bench.run(10.0, rounds=2)
    assert found["fps"]["off"] == pytest.approx(10, rel=0.02)
    assert found["fps_ratio"] == pytest.approx(0.5, abs=0.02)
    assert [len(parts) for parts in found["fps_parts"].values()] == [2, 2]
    assert found["questions"]["answered"] == 4, "one every five seconds of captions"
    assert found["questions"]["errors"] == []
    json.dumps(found)
    assert "50." in table(found)[0] or "51." in table(found)[0]
    bench.close()
    captions: Any = bench._captions
    assert isinstance(captions, FakeCaptions) and captions.closed.is_set()


def test_delays_gaps_and_first_words_are_told() -> None:
    clock = ManualClock(100.0)
    watched = Watched(clock)
    assert watched.asking() and not watched.asking(), "one question at a time"
    clock.advance(0.5)
    watched.hear(AnswerPart(1, "two"))
    clock.advance(0.5)
    watched.hear(AnswerPart(1, "squares", done=True))
    assert watched.first_words == [0.5] and watched.answered == 1
    for delay in (0.4, 0.8):
        watched.hear(Said(Cue(1, 0, 1, "x"), delay))
        clock.advance(2.0)
    assert (watched.delays, watched.said) == ([0.4, 0.8], [101.0, 103.0])
    for delay in (0.4, 0.8):
        watched.hear(Seen(clock.now() - delay, delay))
        clock.advance(1.0)
    assert watched.ages == [pytest.approx(1.4)], "just before the second one"
    watched.asking()
    watched.hear(AnswerPart(2, "", done=True, error="no"))
    assert watched.errors == ["no"] and watched.answered == 1
    watched.forget()
    assert watched.delays == [] and watched.asking()


def test_the_clip_is_the_source_in_the_size_asked() -> None:
    pictures = clip((64, 32))
    assert len(pictures) > 100 and pictures[0].shape == i420_shape(64, 32)


def test_captions_and_another_benchmark_are_a_wrong_call() -> None:
    error = CliRunner().invoke(cli.app, ["bench", "--captions", "--webrtc"]).exception
    assert isinstance(error, CallError) and "different benchmarks" in str(error)


@pytest.mark.slow
def test_a_run_with_real_workers_writes_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    report = tmp_path / "captions.json"
    arguments = ["--pipeline", "passthrough", "--size", "64x64", "--fps", "10", "--seconds", "2"]
    told = ["--captions", "--vlm", "caption_fakes:build", "--json", str(report)]
    result = CliRunner().invoke(cli.app, ["bench", *arguments, *told])
    assert result.exception is None, result.exception
    (run,) = json.loads(report.read_text())["runs"]
    assert run["fps"]["off"] > 0 and run["captions"] > 0 and run["teller"]["turns"] > 0
    assert run["caption_delay_ms"]["p50"] > 0
