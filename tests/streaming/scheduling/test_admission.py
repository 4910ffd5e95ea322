"""Room on a device, and which device: by numbers, without a device."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.streaming.pipeline import Effort
from millrace.streaming.scheduling.admission import Claim, admit, first_overload
from millrace.streaming.scheduling.costs import CostTable
from millrace.streaming.scheduling.placement import Balance, Movable, Offer, best
from millrace.streaming.scheduling.quotes import Quotes
from millrace.streaming.scheduling.tasks import Profile, ServiceClass, Shape

SHAPE = Shape(256, 256, 1)
EFFORTS = (Effort("full"), Effort("half rate", 0.5, rate=0.5))


def profile(name: str, service: ServiceClass = "standard", fps: float = 16.0) -> Profile:
    return Profile(name, name, SHAPE, fps, 0.2, 1, EFFORTS, service=service)


def quotes(seconds: float) -> Quotes:
    """A device on which a chunk takes so long, and two take twice as long."""
    table = CostTable()
    table.seed("pass", SHAPE, None, 0.0, seconds)
    return Quotes(table)


def most(service: ServiceClass) -> int:
    """Sessions that a device takes, at 10 ms a chunk and 16 frames a second."""
    device, present = quotes(0.010), [profile("0", service)]
    while admit(device, present, profile(str(len(present)), service)).admitted:
        present.append(profile(str(len(present)), service))
    return len(present)


def test_a_device_is_filled_to_its_limit() -> None:
    # 0.16 of the device each (and a tail of 12 % for caution), half of that at half rate.
    assert most("guaranteed") == 4 and most("standard") == 9


def test_a_lone_viewer_of_a_slow_device_is_taken_and_a_second_is_not() -> None:
    slow = quotes(0.5)
    assert admit(slow, [], profile("a")).admitted
    second = admit(slow, [profile("a")], profile("b"))
    assert "busy, 85% is the most" in second.reason


def test_full_memory_takes_nobody() -> None:
    assert "memory" in admit(quotes(0.001), [], profile("a"), memory_free=0.05).reason


def test_work_that_is_little_on_average_can_still_be_late() -> None:
    rare = Claim(0.15, period=2.0, deadline=0.2)
    assert rare.share + rare.share < 0.85
    assert first_overload([rare, rare], 0.15) == pytest.approx(0.2)
    assert first_overload([rare], 0.04) is None


claims = st.builds(
    Claim,
    seconds=st.floats(0.001, 0.03),
    period=st.floats(0.03, 0.2),
    deadline=st.floats(0.03, 0.2),
)


def simulated_late(tasks: Sequence[Claim], seconds: float) -> float:
    """How late the latest chunk is when all begin together, earliest deadline first."""
    chunks = sorted(
        (one.deadline + n * one.period, n * one.period, one.seconds)
        for one in tasks
        for n in range(int(seconds / one.period))
    )
    now, latest = 0.0, 0.0
    while chunks:
        ready = [chunk for chunk in chunks if chunk[1] <= now]
        if not ready:
            now = min(chunk[1] for chunk in chunks)
            continue
        chunks.remove(ready[0])
        now += ready[0][2]
        latest = max(latest, now - ready[0][0])
    return latest


@settings(max_examples=60, deadline=None)
@given(st.lists(claims, min_size=1, max_size=5))
def test_who_passes_the_test_is_never_late(tasks: list[Claim]) -> None:
    longest = max(one.seconds for one in tasks)
    if sum(one.share for one in tasks) <= 0.85 and first_overload(tasks, longest) is None:
        assert simulated_late(tasks, 1.5) <= 1e-9


def test_the_emptier_device_wins_and_a_shared_prompt_decides() -> None:
    assert best({"a": Offer(0.5), "b": Offer(0.3)}) == "b"
    assert best({"a": Offer(0.5), "b": Offer(0.3)}, even=False) == "a"
    assert best({"a": Offer(0.32), "b": Offer(0.28, prompts=1)}) == "b"
    assert best({"a": Offer(0.28), "b": Offer(0.32, prompts=1)}) == "b"
    assert best({"a": Offer(0.0, sessions=1), "b": Offer(0.0)}) == "b"
    assert best({}) is None


def test_the_smallest_best_effort_session_moves_after_five_seconds_and_then_no_other() -> None:
    balance = Balance()
    loads = {
        "a": [
            Movable("big", 0.1, 900, "best-effort"),
            Movable("small", 0.1, 100, "best-effort"),
            Movable("smallest", 0.1, 10, "standard"),
        ],
        "b": [],
    }
    busy = {"a": 0.6, "b": 0.1}
    assert [balance.move(now, loads, busy) for now in (0.0, 4.9)] == [None, None]
    assert balance.move(5.0, loads, busy) == ("small", "b")
    assert [balance.move(now, loads, busy) for now in (6.0, 9.0)] == [None, None]
    assert balance.move(11.0, loads, busy) == ("small", "b")
    assert balance.move(30.0, loads, {"a": 0.3, "b": 0.1}) is None
    assert balance.move(31.0, loads, busy) is None, "it has to last again"


def test_a_session_that_would_only_turn_the_tables_stays() -> None:
    balance = Balance()
    loads = {"a": [Movable("only", 0.6, 1)], "b": []}
    assert [balance.move(now, loads, {"a": 0.6, "b": 0.0}) for now in (0.0, 6.0)] == [None, None]
