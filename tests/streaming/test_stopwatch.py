"""What a stage took, where launches follow each other and where they overlap."""

from __future__ import annotations

import pytest
import torch
from millrace.streaming.clock import ManualClock
from millrace.streaming.stopwatch import Moment, Stopwatch

CPU = torch.device("cpu")


def test_stages_follow_each_other_and_decoding_in_parts_counts_as_one() -> None:
    clock = ManualClock(1.0)
    watch = Stopwatch(clock, CPU)
    for stage, rows, after in (("encode", 2, 0.5), ("pass", 2, 1.0), ("decode", 1, 0.25)):
        clock.advance(after)
        watch.mark(stage, rows, None)
    clock.advance(0.25)
    watch.mark("decode", 2, None)
    assert watch.laps() == [
        ("encode", 2, None, 0.5),
        ("pass", 2, None, 1.0),
        ("decode", 2, None, 0.5),
    ]


def test_a_stage_begins_when_its_queue_has_done_with_the_launch_before() -> None:
    """The second launch was begun at 1.0; its queue was busy with the first one until 3.0."""
    ends: dict[int, Moment] = {}
    clock = ManualClock(1.0)
    first, second = Stopwatch(clock, CPU, ends), None
    clock.advance(2.0)
    first.mark("pass", 1, None)
    early = ManualClock(1.0)
    second = Stopwatch(early, CPU, ends)
    early.advance(2.5)
    second.mark("pass", 1, None)
    assert second.laps() == [("pass", 1, None, pytest.approx(0.5))]
    assert ends == {0: 3.5}, "for the launch after it"
