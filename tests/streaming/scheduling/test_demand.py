"""Who passes the demand test is never late: against a simulation, with any phases and gaps."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from millrace.streaming.scheduling.demand import Claim, first_overload

claims = st.builds(
    Claim,
    seconds=st.floats(0.001, 0.06),
    period=st.floats(0.03, 0.4),
    deadline=st.floats(0.02, 0.5),
)


def latest(tasks: list[Claim], phases: list[float], gaps: list[float], seconds: float) -> float:
    """How late the latest chunk is, earliest deadline first and never interrupted, brute force."""
    chunks: list[tuple[float, float, float]] = []
    for number, one in enumerate(tasks):
        at, step = phases[number % len(phases)], number
        while at < seconds:
            chunks.append((at + one.deadline, at, one.seconds))
            # Sporadic: a chunk may come later than its period says, never sooner.
            at += one.period * (1.0 + gaps[step % len(gaps)])
            step += 1
    now, worst = 0.0, 0.0
    while chunks:
        ready = [chunk for chunk in chunks if chunk[1] <= now]
        if not ready:
            now = min(chunk[1] for chunk in chunks)
            continue
        first = min(ready)
        chunks.remove(first)
        now += first[2]
        worst = max(worst, now - first[0])
    return worst


@settings(max_examples=150, deadline=None)
@given(
    st.lists(claims, min_size=1, max_size=5),
    st.lists(st.floats(0.0, 0.4), min_size=1, max_size=5),
    st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.3]), min_size=1, max_size=4),
)
@example([Claim(0.03, 0.1, 0.1), Claim(0.03, 0.2, 0.4)], [0.001, 0.0], [0.0])
def test_who_passes_is_never_late(
    tasks: list[Claim], phases: list[float], gaps: list[float]
) -> None:
    longest = max(one.seconds for one in tasks)
    if first_overload(tasks, longest) is None:
        assert latest(tasks, phases, gaps, 2.0) <= 1e-6


def test_a_long_launch_under_way_is_reckoned_with() -> None:
    """0.02 of every 0.05 seconds is little, but not behind a launch of 0.1 seconds."""
    quick = Claim(0.02, 0.05, 0.05)
    slow = Claim(0.1, 1.0, 1.0)
    assert latest([quick, slow], [0.001, 0.0], [0.0], 2.0) > 0.0
    assert first_overload([quick, slow], 0.1) == pytest.approx(0.05)
    assert first_overload([quick], 0.02) is None


def test_a_full_device_is_refused_however_far_the_deadlines_are() -> None:
    assert first_overload([Claim(0.11, 0.1, 5.0)], 0.0) is not None


def test_an_overload_is_found_however_late_it_comes() -> None:
    """One per cent too much is first felt at the four hundredth chunk."""
    late = first_overload([Claim(0.101, 0.1, 0.5)], 0.0)
    assert late == pytest.approx(40.4, abs=0.2)
    assert first_overload([], 1.0) is None
