"""The order of runs, their middle and spread, and the numbers that are made of windows."""

from __future__ import annotations

import math

import pytest
from millrace.models.flops import Cost
from millrace.streaming.measuring import figures
from millrace.streaming.measuring.ceiling import Reading
from millrace.streaming.measuring.contender import Window
from millrace.streaming.measuring.costs import StageCosts
from millrace.streaming.measuring.energy import Meter
from millrace.streaming.measuring.launches import Launch, Pass
from millrace.streaming.measuring.trial import Run, run_trial
from millrace.streaming.measuring.windows import Spread, significant, turns


def test_rounds_go_forwards_and_backwards() -> None:
    assert [list(order) for _, order in turns("abc", 3)] == [
        ["a", "b", "c"],
        ["c", "b", "a"],
        ["a", "b", "c"],
    ]


def test_middle_and_spread() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert Spread.of([1.0, 2.0, 4.0, 9.0]) == Spread(3.0, 1.0, 9.0)
    assert Spread.of([]) is None


@pytest.mark.parametrize(
    ("value", "told"), [(1234.5, 1230.0), (0.0012345, 0.00123), (0.0, 0.0), (-0.98765, -0.988)]
)
def test_digits_that_count(value: float, told: float) -> None:
    assert significant(value) == told


class Runner:
    """A contender that says when it was asked what."""

    def __init__(self, name: str, diary: list[str], fps: float) -> None:
        self.name, self._diary, self._fps = name, diary, fps

    def first(self, steps: int | None) -> float:
        self._diary.append(f"{self.name}{steps} first")
        return 0.5

    def settle(self, steps: int | None) -> None:
        self._diary.append(f"{self.name}{steps} settle")

    def window(self, seconds: float, meter: Meter | None) -> Window:
        self._diary.append(f"{self.name} window")
        return Window(int(self._fps * seconds), seconds)

    def close(self) -> None:
        self._diary.append("close")


class Peaks:
    def __init__(self) -> None:
        self.values = iter([3.0, 9.0, 1.0, 2.0])

    def begin(self) -> None:
        return None

    def peak_mb(self) -> float:
        return next(self.values)


class Ceilings:
    def __init__(self, diary: list[str]) -> None:
        self._diary = diary

    def read(self) -> Reading:
        self._diary.append("ceiling")
        return Reading(1e12, 1e9)


def test_contenders_take_turns_and_each_round_has_its_own_ceiling() -> None:
    diary: list[str] = []
    ours, theirs = Runner("a", diary, 20.0), Runner("b", diary, 10.0)
    told: list[None] = []
    given = (2, 3.0, Ceilings(diary), None, Peaks(), lambda: told.append(None))
    trial = run_trial([ours, theirs], [2], *given)
    assert diary == [
        "a2 first", "b2 first",
        "ceiling", "a2 settle", "a window", "b2 settle", "b window",
        "ceiling", "b2 settle", "b window", "a2 settle", "a window",
    ]  # fmt: skip
    first, second = trial.runs
    assert (first.fps, second.fps) == (20.0, 10.0) and len(trial.ceilings) == 2
    assert (first.peak_mb, second.peak_mb) == (3.0, 9.0)
    assert len(told) == 2 + 4
    assert figures.ratios(first, second)["fps"] == {"median": 2.0, "min": 2.0, "max": 2.0}


def launch(scale: float = 1.0, passes: int = 2) -> Launch:
    each = tuple(Pass(1, None, 0.02 * scale) for _ in range(passes))
    return Launch(0.01 * scale, each, 0.03 * scale, 0.005 * scale, 0.001 * scale, ("full",))


def run_of(*windows: Window) -> Run:
    run = Run(Runner("a", [], 1.0), 2, 0.25)
    run.windows.extend(windows)
    return run


def test_rates_and_energy_are_of_all_windows() -> None:
    numbers = figures.rates(run_of(Window(10, 2.0, 5.0), Window(30, 3.0, 30.0)))
    assert numbers["raw_fps"] == 8.0, "pictures over time, not the mean of rates"
    assert numbers["raw_fps_windows"] == [5.0, 10.0] and numbers["raw_fps_spread"] == 5.0
    assert numbers["energy_j_per_frame"] == 0.75 and numbers["ttff_ms"] == 250.0
    unknown = figures.rates(run_of(Window(10, 2.0)))
    assert unknown["energy_j_per_frame"] is None, "nothing told it, so there is no figure"


def test_stages_are_of_the_launches_and_what_lies_between_them() -> None:
    found = figures.stages([Window(8, 0.3, launches=(launch(), launch(2.0)))])
    assert found["encode"]["p50"] == 10.0 and found["encode"]["p95"] == 20.0
    assert found["pass 1"] == found["pass 2"] == {"p50": 20.0, "p95": 40.0}
    assert found["decode"]["p50"] == 30.0 and found["copies"]["p50"] == 5.0
    whole = launch().total + launch(2.0).total
    assert found["between"]["p50"] == significant(1e3 * (0.3 - whole) / 2, 4)
    assert figures.stages([Window(8, 0.3)]) == {}, "a rival tells no stages"


def test_service_counts_chunks_by_their_effort() -> None:
    window = Window(2, 1.0, launches=(launch(),), delays=(0.1, 0.2), gaps=(0.05, 0.15))
    numbers = figures.service(run_of(window), fps=10.0)
    assert numbers["rungs"] == {"full": 1} and numbers["e2e_ms"]["p50"] == 100.0
    assert numbers["jitter_ms"] == pytest.approx(50.0)
    assert figures.service(run_of(Window(2, 1.0)), 10.0)["jitter_ms"] is None


def test_shares_of_the_ceiling_are_of_what_was_computed_in_that_time() -> None:
    costs = StageCosts(
        Cost(flops=10, weights=4), Cost(flops=30, weights=6), lambda rows, window: Cost(20 * rows)
    )
    windows = [Window(4, 0.5, launches=(launch(),)), Window(4, 0.25, launches=(launch(0.5),))]
    found = figures.utilisation(windows, [Reading(800.0, 100.0), Reading(1600.0, 200.0)], costs)
    assert found["flops_per_chunk"] == 10 + 2 * 20 + 30 and found["bytes_per_chunk"] == 10
    # 80 FLOPs in 0.5 s are 160 FLOP/s of 800, and 320 of 1600 in the second window.
    assert found["mfu"]["min"] == found["mfu"]["max"] == 0.2
    assert found["pass_mfu"]["median"] == pytest.approx(40 / 0.04 / 800, rel=1e-2)
    assert found["encode_mfu"]["median"] == pytest.approx(10 / 0.01 / 800, rel=1e-2)
    assert found["bandwidth_share"]["median"] == pytest.approx(10 / 0.5 / 100, rel=1e-2)
    assert figures.utilisation([Window(4, 0.5)], [Reading(1.0, 1.0)], costs) == {}


def test_a_stage_that_was_not_seen_has_no_share() -> None:
    costs = StageCosts(Cost(flops=10), Cost(flops=30), lambda rows, window: Cost(20))
    bare = Launch(0.0, (Pass(1, None, 0.1),), 0.0, 0.0, 0.0)
    window = Window(4, 0.5, launches=(bare,))
    found = figures.utilisation([window], [Reading(1e3, 1e3)], costs)
    assert found["encode_mfu"] is None and found["flops_per_chunk"] == 20
    mixed = Window(4, 0.5, launches=(launch(), bare))
    found = figures.utilisation([mixed], [Reading(1e3, 1e3)], costs)
    assert found["encode_mfu"]["median"] == 1.0, "10 FLOPs in 0.01 s, once"


def test_nothing_measured_is_no_number() -> None:
    assert figures._ms(math.nan) is None
