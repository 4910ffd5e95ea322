"""EDF with a ladder for the load that lasts: the textbook remedy, for comparison."""

from __future__ import annotations

from .desk import Desk, Seat
from .load import Place, SteadyLoad
from .policy import Plain, assign, predict
from .tasks import Hold, Measured, Plan, Task

CAP = 0.85
"""Share of the device that the sessions may take at their rungs (as at admission)."""


class EdfLadder(Plain):
    """The earliest deadline first; each session at a rung for which the load fits under a cap, one
    chunk at a time; what cannot be done in time is given up."""

    name = "edf-ladder"

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[str, Place] = {}
        self._load = SteadyLoad(self._places, lambda seat: 1.0, down_above=CAP, up_below=CAP)

    def joined(self, now: float, desk: Desk, seat: Seat) -> None:
        profile = seat.profile
        before = self._places.get(profile.session)
        groups = tuple((index,) for index in range(len(profile.efforts)))
        if before is None or before.groups != groups:
            self._places[profile.session] = Place.of(profile, groups)

    def left(self, now: float, desk: Desk, seat: Seat) -> None:
        self._places.pop(seat.profile.session, None)

    def released(self, now: float, desk: Desk, task: Task) -> None:
        self._places[task.session].came(desk.seats[task.session].profile)

    def plan(self, now: float, desk: Desk) -> Plan:
        asking = [seat for seat in desk.seats.values() if seat.asks(now)]
        self._load.review(now, desk, asking)
        holds: list[tuple[Task, Hold]] = []
        for task in desk.waiting():
            place = self._places[task.session]
            if task.still or place.rests or not place.group:
                why: Hold = "still" if task.still else "half_rate" if place.group else "suspended"
                holds.append((task, why))
                continue
            launch = (assign(desk, task, place.group[0]),)
            predicted = predict(desk, launch)
            if now + predicted <= task.deadline or len(desk.seats) == 1:
                return Plan(launch, tuple(holds), predicted)
            holds.append((task, "late_drop"))
        return Plan(holds=tuple(holds))

    def finished(self, now: float, desk: Desk, plan: Plan, measured: Measured) -> None:
        for assignment in plan.launch:
            place = self._places.get(assignment.task.session)
            if place is not None:
                period = desk.seats[assignment.task.session].profile.period
                place.rung.done(assignment.task.deadline - now, period)
