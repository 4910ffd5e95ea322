"""The scheduler of one device: sessions come and go, chunks are released, plans are made.

The engine calls it with its clock, the simulator with a made-up one; there is no other difference.
"""

from __future__ import annotations

from .costs import CostTable
from .desk import Desk, Seat
from .policy import Policy
from .tasks import Costs, Measured, Plan, Profile, Standing, Task


class Scheduler:
    """Plans for one device. All methods are called from one thread.

    Args:
        policy: what decides; one object for one scheduler.
        costs: how long things take here; a `CostTable` learns from what is measured.
    """

    def __init__(self, policy: Policy, costs: Costs) -> None:
        self._policy = policy
        self._costs = costs
        self._desk = Desk(costs)

    def join(self, now: float, profile: Profile) -> None:
        """A session comes, or changes its profile; what waits and where it stands is kept."""
        seat = self._desk.seats.get(profile.session)
        if seat is None:
            seat = self._desk.seats[profile.session] = Seat(profile)
        else:
            if seat.profile.user != profile.user:
                self._policy.left(now, self._desk, seat)
            seat.profile = profile
        self._policy.joined(now, self._desk, seat)

    def leave(self, now: float, session: str) -> None:
        """A session goes and takes what waits with it. One that is not there is no error."""
        seat = self._desk.seats.pop(session, None)
        if seat is not None:
            self._policy.left(now, self._desk, seat)

    def release(self, now: float, task: Task) -> Task | None:
        """A chunk is complete.

        Returns:
            the chunk that it replaces, to be counted as superseded; None when there is none.

        Raises:
            KeyError: its session has not joined.
        """
        seat = self._desk.seats[task.session]
        old = seat.queue.popleft() if seat.queue and not self._policy.keeps_all else None
        seat.queue.append(task)
        seat.came(task)
        self._policy.released(now, self._desk, task)
        return old

    def plan(self, now: float) -> Plan:
        """What to do now. What the plan launches or holds waits no longer."""
        plan = self._policy.plan(now, self._desk)
        for assignment in plan.launch:
            self._desk.take(assignment.task)
        for task, _ in plan.holds:
            self._desk.take(task)
        return plan

    def more(self, now: float, plan: Plan, passes: int) -> frozenset[str]:
        """After pass number `passes` of a launch: the sessions that go on to the next one."""
        return self._policy.more(now, self._desk, plan, passes)

    def finished(self, now: float, plan: Plan, measured: Measured) -> None:
        """A launch is done: learn what it took and book who was served."""
        if isinstance(self._costs, CostTable):
            for stage, shape, rows, window, seconds in measured.samples:
                self._costs.observe(stage, shape, rows, window, seconds)
            self._costs.launched()
        self._desk.quotes.changed()
        for assignment in plan.launch:
            seat = self._desk.seats.get(assignment.task.session)
            if seat is not None:
                seat.effort = assignment.effort
        self._policy.finished(now, self._desk, plan, measured)

    def standing(self, session: str) -> Standing:
        """Where a session stands on its ladder, for its viewer.

        Raises:
            KeyError: it has not joined.
        """
        return self._policy.standing(self._desk, self._desk.seats[session])
