"""The made-up device: what things cost, and the order of a launch's stages."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
from millrace.streaming.pipeline import Effort
from millrace.streaming.scheduling.tasks import Assignment, Measured, Plan, Task
from millrace.streaming.simulation.arrivals import steady
from millrace.streaming.simulation.device import FakeDevice
from millrace.streaming.simulation.scenario import STEADY, with_commit

MODEL = STEADY.device
EXACT = replace(MODEL, noise=0.0, spike_share=0.0)
PROFILES = {v.session: STEADY.profile(v, ladder=True) for v in steady(3, 1)}


def plan(*passes: int, effort: int = 0) -> Plan:
    return Plan(
        tuple(
            Assignment(Task(f"s{n}", 0, 0.0, 1.0), effort, count) for n, count in enumerate(passes)
        )
    )


def play(device: FakeDevice, asked: Plan, prompts: int = 0) -> tuple[list[float], Measured]:
    wanted = {a.task.session: a.passes for a in asked.launch}
    stages = device.launch(
        asked, PROFILES, prompts, lambda done: frozenset(s for s, n in wanted.items() if n > done)
    )
    seconds = []
    while True:
        try:
            seconds.append(next(stages))
        except StopIteration as ended:
            return seconds, ended.value


def test_the_scenario_is_the_published_one() -> None:
    two, low = STEADY.efforts[1], STEADY.efforts[3]
    assert MODEL.chunk_seconds(STEADY.shape, two) == pytest.approx(0.039)
    assert STEADY.capacity() == pytest.approx(6.4, abs=0.1)
    one = MODEL.chunk_seconds(STEADY.shape, STEADY.efforts[2])
    assert one / MODEL.chunk_seconds(STEADY.shape, low) == pytest.approx(2.9, abs=0.05)
    nine, six = (MODEL.seconds("pass", STEADY.shape, 1, window) for window in (9, 6))
    assert six / nine == pytest.approx(0.83, abs=0.01)


def test_rows_share_a_part_of_the_cost() -> None:
    one, four = (MODEL.seconds("pass", STEADY.shape, rows, None) for rows in (1, 4))
    assert one < four < 4 * one


def test_a_launch_encodes_passes_and_decodes() -> None:
    device = FakeDevice(EXACT, 0)
    seconds, measured = play(device, plan(1, 2))
    assert [sample[0] for sample in measured.samples] == ["encode", "pass", "pass", "decode"]
    assert [sample[2] for sample in measured.samples] == [2, 2, 1, 2]
    assert measured.passes == {"s0": 1, "s1": 2}
    assert sum(seconds) == pytest.approx(device.busy)
    assert seconds == [sample[4] for sample in measured.samples]


def test_a_new_prompt_takes_time_that_no_stage_is_blamed_for() -> None:
    seconds, measured = play(FakeDevice(EXACT, 0), plan(1), prompts=2)
    assert seconds[0] - measured.samples[0][4] == pytest.approx(2 * EXACT.prompt)


def test_a_commit_comes_last_and_only_where_it_is_asked_for() -> None:
    device = FakeDevice(with_commit(STEADY, 0.015).device, 0)
    _, measured = play(device, plan(1, 1))
    assert [sample[0] for sample in measured.samples] == ["encode", "pass", "decode", "commit"]
    assert Effort("full").commit


def test_small_pictures_and_short_windows_cost_less() -> None:
    _, full = play(FakeDevice(EXACT, 0), plan(1))
    _, low = play(FakeDevice(EXACT, 0), plan(1, effort=3))
    assert full.samples[1][4] / low.samples[1][4] == pytest.approx(2.9, abs=0.05)
    assert low.samples[1][1].width < full.samples[1][1].width


def test_noise_and_spikes_are_as_stated() -> None:
    device = FakeDevice(MODEL, 1)
    mean = MODEL.seconds("pass", STEADY.shape, 1, None)
    found = [play(device, plan(1))[1].samples[1][4] / mean for _ in range(4000)]
    spikes = sum(value > 1.25 for value in found) / len(found)
    assert spikes == pytest.approx(0.01, abs=0.006)
    calm = [value for value in found if value < 1.25]
    assert statistics.mean(calm) == pytest.approx(1, abs=0.005)
    assert statistics.stdev(calm) == pytest.approx(0.03, abs=0.003)
