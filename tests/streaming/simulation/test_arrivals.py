"""Synthetic visits: rates, means, shares, and that one visit more changes none of the others."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.streaming.simulation import arrivals
from millrace.streaming.simulation.arrivals import bursty, furnish, mean_length, steady


def gaps(starts: list[float]) -> list[float]:
    return [b - a for a, b in zip(starts, starts[1:], strict=False)]


def test_the_same_seed_brings_the_same_visits() -> None:
    assert bursty(0.5, 100, 3) == bursty(0.5, 100, 3)
    assert bursty(0.5, 100, 3) != bursty(0.5, 100, 4)


@settings(max_examples=6, deadline=None)
@given(
    per_second=st.floats(0.2, 1), scale=st.floats(2, 20), seed=st.integers(0, 2**31)
)  # fmt: skip
def test_arrivals_come_at_the_rate_asked_for(per_second: float, scale: float, seed: int) -> None:
    # At least 1000 arrivals and 60 windows: overdispersed, so the margin is three deviations.
    seconds = max(1000 / per_second, 60 * arrivals.WINDOW_S / scale)
    before = arrivals.LONGEST_S / scale
    visits = bursty(per_second, seconds, seed, scale=scale)
    fresh = [visit.start for visit in visits if visit.start > 0]
    assert len(fresh) / seconds == pytest.approx(per_second, rel=0.25)
    assert fresh == sorted(fresh) and fresh[-1] < seconds and before > 0


def test_gaps_are_burstier_than_chance() -> None:
    starts = [visit.start for visit in bursty(1, 3000, 1) if visit.start > 0]
    found = gaps(starts)
    variation = statistics.stdev(found) / statistics.mean(found)
    assert 1.3 < variation < 2.6


def test_the_crowd_is_there_from_the_start() -> None:
    """Little's law: as many at 0 as later, arrivals a second times mean length."""
    crowds = {0.5: [], 400.0: []}  # type: dict[float, list[int]]
    for seed in range(12):
        visits = bursty(1, 401, seed, scale=4)
        for at, found in crowds.items():
            found.append(sum(visit.start <= at < visit.end for visit in visits))
    expected = mean_length() / 4
    for found in crowds.values():
        assert statistics.mean(found) == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("length", ["log-normal", "zipf"])
def test_lengths_have_the_mean_that_loads_are_derived_from(length: arrivals.Length) -> None:
    visits = [furnish(f"s{n}", "u", 0, None, 7, length=length) for n in range(4000)]
    assert statistics.mean(v.end for v in visits) == pytest.approx(mean_length(length), rel=0.1)


def test_the_median_session_lasts_ninety_seconds() -> None:
    ends = [furnish(f"s{n}", "u", 0, None, 5).end for n in range(4000)]
    assert statistics.median(ends) == pytest.approx(arrivals.MEDIAN_S, rel=0.1)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), start=st.floats(-100, 100), scale=st.floats(0.5, 30))
def test_pauses_and_prompts_lie_within_the_visit(seed: int, start: float, scale: float) -> None:
    visit = furnish("s", "u", start, 300, seed, scale)
    assert visit.end == pytest.approx(start + 300 / scale)
    edges = [edge for pause in visit.pauses for edge in pause]
    assert edges == sorted(edges)
    assert all(start <= edge <= visit.end for edge in [*edges, *visit.prompts])


def test_shares_are_as_documented() -> None:
    visits = [furnish(f"s{n}", "u", 0, 200, 9) for n in range(2000)]
    paused = sum(b - a for visit in visits for a, b in visit.pauses)
    assert paused / (200 * len(visits)) == pytest.approx(arrivals.PAUSED_SHARE, rel=0.1)
    prompts = sum(len(visit.prompts) for visit in visits) / len(visits)
    assert prompts == pytest.approx(200 / arrivals.PROMPT_EVERY_S, rel=0.05)
    assert sum(v.abrupt for v in visits) / len(visits) == pytest.approx(0.1, abs=0.02)
    for fps, share in arrivals.RATES:
        assert sum(v.fps == fps for v in visits) / len(visits) == pytest.approx(share, abs=0.04)


def test_a_visit_does_not_depend_on_the_others() -> None:
    few, many = bursty(0.5, 50, 2), bursty(0.5, 100, 2)
    assert few == tuple(visit for visit in many if visit.start < 50)


def test_steady_visitors_stay() -> None:
    visits = steady(3, 60, fps=24)
    assert [(v.start, v.end, v.fps) for v in visits] == [(0, 60, 24)] * 3
    assert len({v.user for v in visits}) == 3


@pytest.mark.parametrize(("rate", "scale"), [(0, 1), (-1, 1), (float("nan"), 1), (1, 0)])
def test_rates_that_make_no_sense_are_refused(rate: float, scale: float) -> None:
    with pytest.raises(ValueError, match="must be a positive number"):
        bursty(rate, 10, 0, scale=scale)
