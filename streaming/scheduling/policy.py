"""The policy's side of the scheduler: what it is asked, and what all policies use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .desk import Desk, Seat
from .quotes import passes_of, row_of
from .tasks import Assignment, Measured, Plan, Standing, Task


class Policy(Protocol):
    """What decides. It sees the desk, and takes nothing from it: the scheduler does."""

    name: str
    keeps_all: bool
    """Whether chunks queue up; otherwise a newer one replaces the one that waits."""

    def plan(self, now: float, desk: Desk) -> Plan: ...

    def more(self, now: float, desk: Desk, plan: Plan, passes: int) -> frozenset[str]: ...

    def finished(self, now: float, desk: Desk, plan: Plan, measured: Measured) -> None: ...

    def joined(self, now: float, desk: Desk, seat: Seat) -> None: ...

    def left(self, now: float, desk: Desk, seat: Seat) -> None: ...

    def released(self, now: float, desk: Desk, task: Task) -> None: ...

    def standing(self, desk: Desk, seat: Seat) -> Standing: ...


def planned_passes(plan: Plan, passes: int) -> frozenset[str]:
    """The sessions whose plan has more passes than these."""
    return frozenset(a.task.session for a in plan.launch if a.passes > passes)


def assign(desk: Desk, task: Task, effort: int) -> Assignment:
    """This chunk at this rung, or at the last one there is."""
    profile = desk.seats[task.session].profile
    effort = min(effort, len(profile.efforts) - 1)
    return Assignment(task, effort, passes_of(profile, profile.efforts[effort]))


def predict(desk: Desk, launch: Sequence[Assignment]) -> float:
    """Seconds that a launch will take."""
    profiles = [desk.seats[a.task.session].profile for a in launch]
    rows = [row_of(p, p.efforts[a.effort]) for p, a in zip(profiles, launch, strict=True)]
    return desk.quotes.launch(rows)


class Plain:
    """What policies without memory have in common: one chunk at a time, at a fixed rung.

    Args:
        effort: index of the rung; the last one where a session has fewer.
    """

    keeps_all = False

    def __init__(self, effort: int = 0) -> None:
        self.effort = effort

    def more(self, now: float, desk: Desk, plan: Plan, passes: int) -> frozenset[str]:
        return planned_passes(plan, passes)

    def finished(self, now: float, desk: Desk, plan: Plan, measured: Measured) -> None:
        pass

    def joined(self, now: float, desk: Desk, seat: Seat) -> None:
        pass

    def left(self, now: float, desk: Desk, seat: Seat) -> None:
        pass

    def released(self, now: float, desk: Desk, task: Task) -> None:
        pass

    def standing(self, desk: Desk, seat: Seat) -> Standing:
        efforts = seat.profile.efforts
        rung = min(seat.effort, len(efforts) - 1)
        return Standing(rung, efforts[rung].name, seat.reason)
