"""Whole inputs through the engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes import FakePipeline, make_frame, make_frames
from millrace.streaming import offline
from millrace.streaming.clock import ManualClock
from millrace.streaming.config import EngineConfig
from millrace.streaming.controls import ControlError
from millrace.streaming.engine import Engine
from millrace.streaming.frames import Frame
from millrace.streaming.host import HostRefused
from millrace.streaming.results import PipelineError


def test_nothing_in_gives_nothing_out() -> None:
    assert list(offline.run(FakePipeline(), [])) == []


def test_frames_are_asked_for_as_they_are_needed() -> None:
    asked: list[int] = []

    def endless() -> Iterator[Frame]:
        for frame in make_frames(10_000):
            asked.append(frame.index)
            yield frame

    outputs = offline.run(FakePipeline(chunk=2, delay=1), endless())
    for expected in range(20):
        assert next(outputs).frame.index == expected
        assert len(asked) < expected + 12


def test_leaving_early_frees_the_place() -> None:
    pipeline = FakePipeline()
    engine = Engine(pipeline, EngineConfig(max_sessions=1), ManualClock())
    for _ in range(2):
        outputs = offline.run(engine, make_frames(100))
        next(outputs)
        outputs.close()  # type: ignore[attr-defined]
        assert not pipeline.streams


def test_a_failing_source_frees_the_place_too() -> None:
    pipeline = FakePipeline()

    def corrupt() -> Iterator[Frame]:
        yield make_frame(0)
        raise OSError("the file ends here")

    with pytest.raises(OSError, match="ends here"):
        list(offline.run(pipeline, corrupt()))
    assert not pipeline.streams


def test_what_goes_wrong_is_raised() -> None:
    with pytest.raises(PipelineError, match="chunk 3 is cursed"):
        list(offline.run(FakePipeline(raise_at=3), make_frames(5)))
    with pytest.raises(ControlError, match="gain"):
        list(offline.run(FakePipeline(), make_frames(5), {"gain": 7}))
    with pytest.raises(HostRefused, match="up to 2048"):
        list(offline.run(FakePipeline(), make_frames(1, (4096, 16))))
    mixed = [make_frame(0), make_frame(1, (32, 16))]
    with pytest.raises(ValueError, match="32x16 and the first was 16x16"):
        list(offline.run(FakePipeline(), mixed))
