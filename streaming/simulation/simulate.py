"""The discrete-event loop: the engine's scheduler against arrivals and a device that are made up.

Only the clock and the device are fake. What is decided, and when it is asked for, is as in the
engine: a plan whenever the device is free and something happened, `more` between passes.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from ..clock import ManualClock
from ..scheduling.scheduler import Scheduler
from ..scheduling.tasks import Measured, Plan, Profile, Task
from .arrivals import Visit
from .device import FakeDevice
from .metrics import Ledger

TIMEOUT_S = 5.0
"""How long a viewer that vanished is still counted as one that is there."""

MOST_WAITING = 16
"""Viewers in the line; who comes after that is refused."""

ProfileOf = Callable[[Visit], Profile]
Admits = Callable[[Sequence[Profile], Profile], bool]
"""Whether there is room for a newcomer beside those that are there."""


@dataclass(slots=True, eq=False)
class _Source:
    """The camera of one visit: when its next chunk is whole."""

    visit: Visit
    profile: Profile
    random: Random
    number: int = 0
    due: float = 0.0
    pause: int = 0
    changed: bool = False
    gone: bool = False

    def next_release(self, now: float) -> float | None:
        """When the chunk after this one arrives; None when the visit ends before it does."""
        self.due += self.profile.period
        pauses = self.visit.pauses
        while self.pause < len(pauses) and self.due > pauses[self.pause][0]:
            # A chunk that a hidden tab cuts short is filled with frames from after it.
            self.due = max(self.due, pauses[self.pause][1] + self.profile.period)
            self.pause += 1
        late = abs(self.random.gauss(0, self.visit.jitter)) if self.visit.jitter else 0.0
        at = max(now, self.due + late)
        return at if at < self.visit.end else None


@dataclass(slots=True)
class _Run:
    """What the device is working on."""

    plan: Plan
    profiles: dict[str, Profile]
    stages: Generator[float, None, Measured]
    began: float


class Simulation:
    """One device, its scheduler and its viewers.

    Args:
        scheduler: the object under test, fresh.
        device: what takes the time.
        visits: who comes.
        profile_of: what the scheduler is told of a visit.
        seed: of the cameras.
        admits: the door; None lets everyone in. Who finds no room waits in line for somebody to
            leave; whom the line does not take, or who is still in it when the visit would have
            ended, counts as rejected.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        device: FakeDevice,
        visits: Iterable[Visit],
        profile_of: ProfileOf,
        seed: int,
        admits: Admits | None = None,
    ) -> None:
        self.ledger = Ledger()
        self._scheduler = scheduler
        self._device = device
        self._clock = ManualClock()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._sources: dict[str, _Source] = {}
        self._admits = admits
        self._line: deque[_Source] = deque()
        self._run: _Run | None = None
        self._wake: float | None = None
        for visit in visits:
            profile = profile_of(visit)
            source = _Source(visit, profile, Random(f"camera {seed} {visit.session}"))
            self._at(visit.start, lambda source=source: self._arrive(source))  # type: ignore[misc]

    def run(self, seconds: float) -> Ledger:
        """Let `seconds` of simulated time pass; to be called once."""
        while self._events and self._events[0][0] <= seconds:
            at = self._events[0][0]
            self._clock.advance(at - self._clock.now())
            while self._events and self._events[0][0] <= at:
                heapq.heappop(self._events)[2]()
            if self._run is None:
                self._plan()
        self._clock.advance(seconds - self._clock.now())
        self.ledger.end(seconds)
        return self.ledger

    def _at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), what))

    # --- viewers ---

    def _arrive(self, source: _Source) -> None:
        if not self._line and self._has_room(source):
            self._join(self._clock.now(), source)
        elif len(self._line) < MOST_WAITING:
            self.ledger.sessions["queued"] += 1
            self._line.append(source)
            self._at(source.visit.end, lambda: self._give_up(source))
        else:
            self.ledger.sessions["rejected"] += 1

    def _has_room(self, source: _Source) -> bool:
        if self._admits is None:
            return True
        present = [other.profile for other in self._sources.values() if not other.gone]
        return self._admits(present, source.profile)

    def _give_up(self, source: _Source) -> None:
        """The visit would have ended by now; it may never have begun."""
        if source in self._line:
            self._line.remove(source)
            self.ledger.sessions["rejected"] += 1
            self._call_in()

    def _call_in(self) -> None:
        """Those in front of the line for whom there is room now."""
        while self._line and self._has_room(self._line[0]):
            self._join(self._clock.now(), self._line.popleft())

    def _join(self, now: float, source: _Source) -> None:
        visit = source.visit
        self.ledger.sessions["admitted"] += 1
        self._sources[visit.session] = source
        self.ledger.joined(now, source.profile)
        self._scheduler.join(now, source.profile)
        # Cameras are not in step with each other.
        source.due = now - source.random.random() * source.profile.period
        self._next(source)
        for prompt in visit.prompts:
            if prompt > now:
                self._at(prompt, lambda: self._change(source))
        self._at(visit.end + TIMEOUT_S * visit.abrupt, lambda: self._leave(source))

    def _next(self, source: _Source) -> None:
        at = source.next_release(self._clock.now())
        if at is not None:
            self._at(at, lambda: self._release(source))

    def _release(self, source: _Source) -> None:
        if source.gone:
            return
        now = self._clock.now()
        still = source.random.random() < source.visit.still and not source.changed
        profile = source.profile
        task = Task(profile.session, source.number, now, now + profile.deadline, still)
        source.number += 1
        self.ledger.released(task)
        replaced = self._scheduler.release(now, task)
        if replaced is not None:
            self.ledger.held(now, replaced, "superseded")
        self._next(source)

    def _change(self, source: _Source) -> None:
        if not source.gone:
            source.changed = True
            self._scheduler.join(self._clock.now(), source.profile)

    def _leave(self, source: _Source) -> None:
        now = self._clock.now()
        source.gone = True
        self._scheduler.leave(now, source.visit.session)
        self.ledger.left(now, source.visit.session)
        self._call_in()

    # --- device ---

    def _plan(self) -> None:
        now = self._clock.now()
        plan = self._scheduler.plan(now)
        for task, why in plan.holds:
            self.ledger.held(now, task, why)
        if plan.launch:
            self._launch(now, plan)
        elif plan.look_again is not None and (self._wake is None or plan.look_again < self._wake):
            assert plan.look_again > now, "a plan that waits must not wait for now"
            self._wake = plan.look_again
            self._at(self._wake, self._woken)

    def _woken(self) -> None:
        self._wake = None

    def _launch(self, now: float, plan: Plan) -> None:
        sources = [self._sources[assignment.task.session] for assignment in plan.launch]
        prompts = sum(source.changed for source in sources)
        for source in sources:
            source.changed = False
        profiles = {source.visit.session: source.profile for source in sources}

        def more(done: int) -> frozenset[str]:
            return self._scheduler.more(self._clock.now(), plan, done)

        stages = self._device.launch(plan, profiles, prompts, more)
        self._run = _Run(plan, profiles, stages, now)
        self._advance()

    def _advance(self) -> None:
        run = self._run
        assert run is not None
        try:
            self._at(self._clock.now() + next(run.stages), self._advance)
        except StopIteration as ended:
            self._run = None
            self._finish(run, ended.value)

    def _finish(self, run: _Run, measured: Measured) -> None:
        now = self._clock.now()
        self._scheduler.finished(now, run.plan, measured)
        self.ledger.worked(list(run.profiles), now - run.began)
        for assignment in run.plan.launch:
            task = assignment.task
            # Its session may have left while it was in work.
            if self.ledger.waits(task):
                effort = run.profiles[task.session].efforts[assignment.effort]
                self.ledger.finished(now, task, effort, measured.passes[task.session])
