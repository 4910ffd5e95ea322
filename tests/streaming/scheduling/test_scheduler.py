"""The scheduler's contract, whatever the policy."""

from __future__ import annotations

import pytest
from millrace.streaming.pipeline import Effort
from millrace.streaming.scheduling.costs import CostTable
from millrace.streaming.scheduling.policies import policy_named
from millrace.streaming.scheduling.scheduler import Scheduler
from millrace.streaming.scheduling.tasks import Measured, Profile, Shape, Task

SHAPE = Shape(128, 128, 4)
EFFORTS = (Effort("full"), Effort("one", 0.75, passes=1))


def profile(session: str, deadline: float = 0.2) -> Profile:
    return Profile(session, session, SHAPE, 16.0, deadline, 2, EFFORTS)


def costs(stage_s: float = 0.01) -> CostTable:
    table = CostTable()
    for stage in ("encode", "pass", "decode"):
        table.seed(stage, SHAPE, None, 0.0, stage_s)
    return table


def chunk(session: str, number: int, released: float, still: bool = False) -> Task:
    return Task(session, number, released, released + 0.2, still)


@pytest.mark.parametrize("name", ["edf-drop"])
def test_newest_wins(name: str) -> None:
    scheduler = Scheduler(policy_named(name), costs())
    scheduler.join(0.0, profile("a"))
    first, second = chunk("a", 0, 0.0), chunk("a", 1, 0.1)
    assert scheduler.release(0.0, first) is None
    assert scheduler.release(0.1, second) is first
    plan = scheduler.plan(0.1)
    assert [a.task for a in plan.launch] == [second]
    assert scheduler.plan(0.1).launch == ()


def test_fifo_keeps_everything_in_order() -> None:
    scheduler = Scheduler(policy_named("fifo"), costs())
    for session in "ab":
        scheduler.join(0.0, profile(session))
    tasks = [chunk("b", 0, 0.0), chunk("a", 0, 0.1), chunk("b", 1, 0.2)]
    assert [scheduler.release(t.released, t) for t in tasks] == [None] * 3
    taken = []
    for _ in tasks:
        plan = scheduler.plan(9.0)
        taken.append(plan.launch[0].task)
        scheduler.finished(9.0, plan, Measured())
    assert taken == tasks


def test_edf_takes_the_earliest_deadline_and_drops_what_is_too_late() -> None:
    scheduler = Scheduler(policy_named("edf-drop"), costs())
    for session in "abc":
        scheduler.join(0.0, profile(session))
    late, early, still = chunk("a", 0, 0.0), chunk("b", 0, 0.1), chunk("c", 0, 0.1, still=True)
    for task in (early, late, still):
        scheduler.release(task.released, task)
    plan = scheduler.plan(0.19)
    assert set(plan.holds) <= {(late, "late_drop"), (still, "still")}
    assert (late, "late_drop") in plan.holds
    assert [a.task for a in plan.launch] == [early]
    assert 0.04 <= plan.predicted <= 0.05


def test_whoever_leaves_takes_its_chunk_along() -> None:
    scheduler = Scheduler(policy_named("edf-drop"), costs())
    scheduler.join(0.0, profile("a"))
    scheduler.release(0.0, chunk("a", 0, 0.0))
    scheduler.leave(0.0, "a")
    scheduler.leave(0.0, "a")
    assert scheduler.plan(0.0).launch == ()
    with pytest.raises(KeyError):
        scheduler.release(0.0, chunk("a", 1, 0.0))


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(ValueError, match="lifo"):
        policy_named("lifo")
