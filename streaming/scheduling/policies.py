"""The policies by name, and the simple ones among them: what the others are measured against."""

from __future__ import annotations

from .desk import Desk
from .edf_ladder import EdfLadder
from .millrace import Millrace
from .policy import Plain, Policy, assign, predict
from .tasks import Hold, Plan, Task


class Fifo(Plain):
    """First come, first served; nothing is ever given up. Past capacity it collapses."""

    name = "fifo"
    keeps_all = True

    def plan(self, now: float, desk: Desk) -> Plan:
        holds: list[tuple[Task, Hold]] = []
        first: Task | None = None
        for seat in desk.seats.values():
            moving = (task for task in seat.queue if not task.still)
            holds += [(task, "still") for task in seat.queue if task.still]
            head = next(moving, None)
            if head and (first is None or head.released < first.released):
                first = head
        launch = () if first is None else (assign(desk, first, self.effort),)
        return Plan(launch, tuple(holds), predict(desk, launch) if launch else 0.0)


class EdfDrop(Plain):
    """The earliest deadline first; what cannot be done in time is given up. Fixed effort."""

    name = "edf-drop"

    def plan(self, now: float, desk: Desk) -> Plan:
        holds: list[tuple[Task, Hold]] = []
        for task in desk.waiting():
            if task.still:
                holds.append((task, "still"))
                continue
            launch = (assign(desk, task, self.effort),)
            predicted = predict(desk, launch)
            # Alone it has nothing to give way to: a late picture is better than none.
            if now + predicted <= task.deadline or len(desk.seats) == 1:
                return Plan(launch, tuple(holds), predicted)
            holds.append((task, "late_drop"))
        return Plan(holds=tuple(holds))


def policy_named(name: str, effort: int = 0) -> Policy:
    """A new policy by its name.

    Args:
        name: "fifo", "edf-drop", "edf-ladder" or "millrace".
        effort: the rung at which the policies without a ladder work.

    Raises:
        ValueError: there is none of this name.
    """
    if name in ("fifo", "edf-drop"):
        return (Fifo if name == "fifo" else EdfDrop)(effort)
    for kind in (EdfLadder, Millrace):
        if kind.name == name:
            return kind()
    raise ValueError(f"there is no policy {name!r}; take fifo, edf-drop, edf-ladder or millrace")
