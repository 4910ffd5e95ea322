"""Stages of launches, put together from both views, with a clock that is turned by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from millrace.streaming.clock import ManualClock
from millrace.streaming.controls import Controls
from millrace.streaming.measuring.ceiling import Ceiling
from millrace.streaming.measuring.launches import Pass, Recorder, Totals, Watched
from millrace.streaming.pipeline import Effort, PipelineInfo, Result, StreamConfig, Work

CPU = torch.device("cpu")


class Slow:
    """Takes a known time for each stage; one that does not tell its stages when `mute`."""

    info = PipelineInfo("slow", "Slow")

    def __init__(self, clock: ManualClock, mute: bool = False) -> None:
        self._clock, self._mute = clock, mute
        self.closed: list[Any] = []

    def open(self, config: StreamConfig) -> object:
        return config

    def step(self, batch: Sequence[Work]) -> Sequence[Result]:
        for stage, seconds in (("encode", 1.0), ("pass", 4.0), ("pass", 5.0), ("decode", 2.0)):
            self._clock.advance(seconds)
            if not self._mute:
                batch[0].mark(stage, 3, None)
        self._clock.advance(0.5)
        return []

    def close(self, stream: Any) -> None:
        self.closed.append(stream)


def work(heard: list[str], effort: str = "full") -> Work:
    frames = torch.zeros(1, 3, 8, 8)
    return Work(
        "stream",
        0,
        frames,
        Controls({}),
        Effort(effort),
        mark=lambda stage, rows, window: heard.append(stage),
    )


def test_a_launch_is_split_into_stages_copies_and_the_rest() -> None:
    clock, heard = ManualClock(), list[str]()
    watched, totals = Watched(Slow(clock), clock, CPU), Totals()
    recorder = Recorder(watched, totals)
    watched.step([work(heard)])
    totals.launch("cpu", [], 10.0, [("encode", 11.0), ("decode", 10.0 + 15.5)])
    (launch,) = recorder.drain()
    assert (launch.encode, launch.decode, launch.rest) == (1.0, 2.0, 0.5)
    assert launch.passes == (Pass(3, None, 4.0), Pass(3, None, 5.0))
    assert launch.copies == 3.0 and launch.total == 15.5
    assert launch.efforts == ("full",)
    assert heard == ["encode", "pass", "pass", "decode"], "the engine hears them too"
    assert recorder.drain() == []


def test_a_pipeline_that_tells_nothing_is_one_pass() -> None:
    clock = ManualClock()
    watched, totals = Watched(Slow(clock, mute=True), clock, CPU), Totals()
    recorder = Recorder(watched, totals)
    watched.step([work([])])
    totals.launch("cpu", [], 0.0, [("pass", 13.0)])
    (launch,) = recorder.drain()
    assert launch.passes == (Pass(1, None, 12.5),) and launch.copies == 0.5
    assert (launch.encode, launch.decode, launch.rest) == (0.0, 0.0, 0.0)


def test_a_launch_that_has_not_left_comes_with_the_next_ones() -> None:
    clock = ManualClock()
    watched, totals = Watched(Slow(clock), clock, CPU), Totals()
    recorder = Recorder(watched, totals)
    watched.step([work([], "full")])
    watched.step([work([], "one pass")])
    totals.launch("cpu", [], 0.0, [("decode", 13.0)])
    assert [one.efforts for one in recorder.drain()] == [("full",)]
    totals.launch("cpu", [], 20.0, [("decode", 33.0)])
    assert [one.efforts for one in recorder.drain()] == [("one pass",)]


def test_what_was_before_the_recorder_is_not_in_it() -> None:
    clock = ManualClock()
    watched, totals = Watched(Slow(clock), clock, CPU), Totals()
    watched.step([work([])])
    recorder = Recorder(watched, totals)
    watched.step([work([], "later")])
    totals.launch("cpu", [], 0.0, [("decode", 13.0)])
    assert [one.efforts for one in recorder.drain()] == [("later",)]


def test_only_the_step_of_a_pipeline_is_taken_over() -> None:
    clock, heard = ManualClock(), list[str]()
    slow = Slow(clock)
    watched = Watched(slow, clock, CPU)
    slow.step([work(heard)])
    assert len(watched.steps) == 1 and heard == ["encode", "pass", "pass", "decode"]
    stream = slow.open(StreamConfig(8, 8))
    slow.close(stream)
    assert slow.closed == [stream]


class Ticking:
    """A clock on which every look takes its time."""

    def __init__(self, step: float) -> None:
        self._step, self._at = step, 0.0

    def now(self) -> float:
        self._at += self._step
        return self._at


@pytest.mark.parametrize(("step", "side"), [(0.1, 8), (0.001, 16)])
def test_the_ceiling_is_of_a_product_that_takes_long_enough(step: float, side: int) -> None:
    ceiling = Ceiling(CPU, torch.float32, Ticking(step), copied=4096, sides=(8, 16))
    reading = ceiling.read()
    assert ceiling.side == side and ceiling.copied == 4096
    # A stopwatch looks once to begin, once for its own use, and once at the mark.
    assert reading.flops == pytest.approx(2 * side**3 / step)
    assert reading.bandwidth == pytest.approx(2 * 4096 / step)


PEAKS = """
import torch
from millrace.streaming.measuring.ceiling import Ceiling
from millrace.streaming.measuring.memory import PeakMemory

class Ticking:
    at = 0.0
    def now(self):
        self.at += 0.1
        return self.at

cpu = torch.device("cpu")
peaks = PeakMemory(cpu)
ceiling = Ceiling(cpu, torch.float32, Ticking(), copied=200 << 20, sides=(8,))
print(peaks.of)
peaks.begin()
print(peaks.peak_mb())
held = torch.ones(100 << 18)
print(peaks.peak_mb())
del held
ceiling.read()
print(peaks.peak_mb())
peaks.begin()
print(peaks.peak_mb())
"""


def test_the_peak_is_of_the_windows_and_the_ceiling_is_in_none() -> None:
    """In a process of its own: a process that has run other tests holds memory to give out again,
    and then nothing is seen to grow."""
    ran = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    of, *figures = ran.stdout.splitlines()
    if of != "process, its windows":
        pytest.skip("this system cannot begin a process's peak anew")
    before, held, measured, after = (float(figure) - float(figures[0]) for figure in figures)
    assert before == 0
    assert held > 90, "a hundred MiB are seen"
    assert measured > 350, "while it is measured it is there, twice 200 MiB"
    assert after < 150, "and then it is gone"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_the_ceiling_of_a_gpu_is_far_above_that_of_a_processor() -> None:
    reading = Ceiling(torch.device("cuda"), torch.bfloat16, Ticking(0.1)).read()
    assert reading.flops > 1e12 and reading.bandwidth > 1e11
