"""The policy that Millrace is named for: meet every deadline by plan, and spend what is left on
quality where it buys most."""

from __future__ import annotations

from collections.abc import Sequence

from .choosing import Choice, Chooser
from .desk import Desk, Seat
from .fairness import Fairness
from .horizon import GUARD_S, due_of, in_time
from .ladder import groups_of, reason_of
from .load import Place, SteadyLoad
from .outlook import Outlook
from .policy import assign, planned_passes, predict
from .quotes import CAUTIOUS, passes_of, row_of
from .tasks import Assignment, Hold, Measured, Plan, Profile, Standing, Task

BOOKED = 0.28
"""Of the seconds that a chunk shows. Time on the screen is booked, not time on the device: else a
viewer with a faster camera is for ever ahead of the others, and its chunks are dropped for more
passes of theirs (bursty arrivals with rates of 30, 24 and 16 at 1.4 of the capacity: 7.2 % of all
deadlines missed, against 0.7 % with this). The factor keeps the scale of `fairness`."""
FORGIVEN = 0.05
"""Of the lags, with every launch for which nobody had to give way."""
CLASS_WORTH = {"best-effort": 1e-9, "standard": 1.0, "guaranteed": 1e9}
"""Factors so far apart that a class gives way wholly before the next one does at all: further than
lags (e^12) and the prices within a menu (some 40) together."""
PRESSED_S = 0.5
"""How long a launch for which somebody had to give way, or a chunk that came too late, counts."""
STARVED_S = 1.0
"""After so long without a launch the device is tried again, whatever its costs are said to be."""
BEHIND_S = 0.003
"""A launch that is late by less than this against its plan goes on as planned."""


class Millrace:
    """Newest wins, EDF with a look ahead over what waits and what is to be expected, effort and
    batch by worth for device time, early exit, fairness between users."""

    name = "millrace"
    keeps_all = False

    def __init__(self) -> None:
        self._fairness = Fairness()
        self._places: dict[str, Place] = {}
        self._outlook = Outlook(self._places)
        self._chooser = Chooser(self._outlook)
        self._load = SteadyLoad(self._places, self._worth)
        self._began = 0.0
        self._contended = False
        self._pressed_until = 0.0

    # ---- who is there --------------------------------------------------------------------------

    def joined(self, now: float, desk: Desk, seat: Seat) -> None:
        profile = seat.profile
        self._fairness.join(now, profile.user, profile.session, profile.weight)
        if self._outlook.joined(profile):
            self._places[profile.session] = Place.of(profile, _ladder(profile))

    def left(self, now: float, desk: Desk, seat: Seat) -> None:
        profile = seat.profile
        self._fairness.leave(profile.user, profile.session)
        if profile.session not in desk.seats:
            del self._places[profile.session]
            self._outlook.left(profile.session)

    def released(self, now: float, desk: Desk, task: Task) -> None:
        profile = desk.seats[task.session].profile
        if not task.still:
            self._fairness.heard(now, profile.user, task.session)
        self._places[task.session].came(profile)

    def _worth(self, seat: Seat) -> float:
        profile = seat.profile
        return CLASS_WORTH[profile.service] * self._fairness.worth(profile.user, profile.session)

    # ---- the plan ------------------------------------------------------------------------------

    def plan(self, now: float, desk: Desk) -> Plan:
        plan = self._decide(now, desk)
        if plan.launch or now - self._began < STARVED_S:
            return plan
        return self._probe(now, desk, plan)

    def _probe(self, now: float, desk: Desk, plan: Plan) -> Plan:
        """Nothing could be done in time for long. What is known of the costs may be wrong, and only
        a launch can tell: the most urgent chunk with the least effort, late as it may be."""
        waiting = [
            task
            for task in desk.waiting()
            if not task.still and self._places[task.session].group and task.released <= now
        ]
        if not waiting:
            return plan
        task = min(waiting, key=lambda task: task.deadline)
        launch = (assign(desk, task, self._places[task.session].group[-1]),)
        holds = tuple(hold for hold in plan.holds if hold[0] is not task)
        self._began = now
        return Plan(launch, holds, predict(desk, launch))

    def _decide(self, now: float, desk: Desk) -> Plan:
        asking = [seat for seat in desk.seats.values() if seat.asks(now)]
        rows = self._outlook.usual_rows(asking)
        self._load.review(now, desk, asking, rows, now < self._pressed_until)
        alone = len(asking) <= 1
        waiting, holds = self._sort_out(now, desk, alone)
        if not waiting:
            return Plan(holds=holds)
        if alone and len(waiting) == 1:
            return self._alone(now, desk, waiting[0], holds)
        worths = {seat.profile.session: self._worth(seat) for seat in desk.seats.values()}
        queued = self._outlook.waiting(desk, waiting, rows, worths)
        coming = self._outlook.coming(now, desk, asking, rows, worths)
        choice = self._chooser.choose(now, desk, queued, coming)
        if choice is None:
            return Plan(holds=holds, look_again=max(now, min(p.due for p in queued)) + GUARD_S)
        partner = self._chooser.partner(now, desk, choice, coming)
        if partner is not None:
            return Plan(holds=holds, look_again=partner)
        return self._carry_out(now, desk, choice, holds)

    def _sort_out(
        self, now: float, desk: Desk, alone: bool
    ) -> tuple[list[Task], tuple[tuple[Task, Hold], ...]]:
        """What waits and can be done in time, and what is held."""
        waiting: list[Task] = []
        holds: list[tuple[Task, Hold]] = []
        for task in desk.waiting():
            why = self._hold(now, desk, task, alone)
            if why is None:
                waiting.append(task)
            else:
                holds.append((task, why))
        return waiting, tuple(holds)

    def _hold(self, now: float, desk: Desk, task: Task, alone: bool) -> Hold | None:
        place = self._places[task.session]
        if task.still:
            return "still"
        if not place.group:
            return "suspended"
        if place.rests:
            return "half_rate"
        least = self._outlook.menu(desk, task.session, 1).costs[-2]
        if not alone and now + least > self._outlook.due(desk, task):
            return "late_drop"
        return None

    def _alone(
        self, now: float, desk: Desk, task: Task, holds: tuple[tuple[Task, Hold], ...]
    ) -> Plan:
        """Nobody else is there: the newest picture as well as it can be made, even if that takes
        longer than the source takes for the next one. That is no load, and lowers nothing."""
        self._contended = False
        self._began = now
        launch = (assign(desk, task, self._places[task.session].group[0]),)
        return Plan(launch, holds, predict(desk, launch))

    def _carry_out(
        self, now: float, desk: Desk, choice: Choice, holds: tuple[tuple[Task, Hold], ...]
    ) -> Plan:
        self._chooser.took(choice)
        self._contended = choice.filled.price > 0
        if self._contended or any(why == "late_drop" for _, why in holds):
            self._pressed_until = now + PRESSED_S
        self._began = now
        effort = choice.launched.menu.efforts[choice.launched.choice]
        tasks = [part.task for part in choice.rows if part.task is not None]
        launch = tuple(assign(desk, task, effort) for task in tasks)
        return Plan(launch, holds, predict(desk, launch))

    # ---- the launch ----------------------------------------------------------------------------

    def more(self, now: float, desk: Desk, plan: Plan, passes: int) -> frozenset[str]:
        going = planned_passes(plan, passes)
        there = [a for a in plan.launch if a.task.session in desk.seats]
        if not self._contended or not going or not there:
            return going
        left = self._left(desk, there, passes)
        if now <= self._began + plan.predicted - left + BEHIND_S:
            return going
        asking = [seat for seat in desk.seats.values() if seat.asks(now)]
        tasks = [t for t in desk.waiting() if not t.still and self._places[t.session].group]
        rows = self._outlook.usual_rows(asking)
        worths = dict.fromkeys(desk.seats, 1.0)
        parts = self._outlook.waiting(desk, tasks, rows, worths)
        parts += self._outlook.coming(now, desk, asking, rows, worths)
        for part in parts:
            part.choice = max(0, part.menu.nothing - 1)
        due = min(self._outlook.due(desk, a.task) for a in there)
        if now + left > due or not in_time(now + left, sorted(parts, key=due_of)):
            return frozenset()
        return going

    def _left(self, desk: Desk, launch: Sequence[Assignment], passes: int) -> float:
        """Seconds that a launch still takes when it goes on as planned."""
        profiles = [desk.seats[a.task.session].profile for a in launch]
        rows = [row_of(p, p.efforts[a.effort]) for p, a in zip(profiles, launch, strict=True)]
        return desk.quotes.launch(rows, CAUTIOUS, done=passes)

    def finished(self, now: float, desk: Desk, plan: Plan, measured: Measured) -> None:
        for assignment in plan.launch:
            seat = desk.seats.get(assignment.task.session)
            if seat is None:
                continue
            place = self._places[assignment.task.session]
            reached = _reached(seat, assignment, measured)
            self._book(now, desk, assignment.task.session, seat.profile.efforts[reached].quality)
            # Slack is spent on quality down to the deadline; what counts is the slack there was.
            spent = plan.predicted - self._outlook.menu(desk, assignment.task.session, 1).costs[-2]
            place.rung.done(assignment.task.deadline - now + spent, seat.profile.period)
            place.shown.note(reached)
        if not self._contended:
            self._fairness.forgive(FORGIVEN)

    def _book(self, now: float, desk: Desk, session: str, quality: float) -> None:
        profile = desk.seats[session].profile
        self._fairness.book(now, profile.user, session, quality * profile.period * BOOKED)

    def standing(self, desk: Desk, seat: Seat) -> Standing:
        place = self._places[seat.profile.session]
        efforts = seat.profile.efforts
        lag = self._fairness.lag(seat.profile.user)
        if not place.group:
            why = "the device is full and this session is best effort"
            return Standing(len(efforts), "suspended", why, lag)
        rung = min(place.shown.effort, len(efforts) - 1)
        return Standing(rung, efforts[rung].name, reason_of(rung, len(desk.seats)), lag)


def _ladder(profile: Profile) -> tuple[tuple[int, ...], ...]:
    """The groups that a session can be in; a best-effort one has an empty one at the end."""
    groups = groups_of(profile)
    return (*groups, ()) if profile.service == "best-effort" else groups


def _reached(seat: Seat, assignment: Assignment, measured: Measured) -> int:
    """The rung whose passes a chunk really got; early exit makes it a lower one than planned."""
    profile = seat.profile
    planned = min(assignment.effort, len(profile.efforts) - 1)
    done = measured.passes.get(assignment.task.session, assignment.passes)
    if done >= assignment.passes:
        return planned
    own = profile.efforts[planned]
    for index in range(planned, len(profile.efforts)):
        effort = profile.efforts[index]
        if (effort.scale, effort.rate) != (own.scale, own.rate):
            return index - 1
        if passes_of(profile, effort) <= done:
            return index
    return len(profile.efforts) - 1
