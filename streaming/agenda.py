"""The engine's side of the scheduler: who is there, what came, and whose turn it is.

Live chunks have deadlines, and the scheduler decides about them. Files and flushes have none and
always get their turn. Pure scheduling: time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from .config import EngineConfig
from .expectations import busy_share, expect
from .frames import Frame
from .pipeline import NOMINAL, Effort, PipelineInfo
from .scheduling.costs import CostTable
from .scheduling.quotes import passes_of
from .scheduling.scheduler import Scheduler
from .scheduling.tasks import Assignment, Hold, Measured, Plan, Profile, Shape, Standing, Task
from .session import SKIP_STILL, EngineSession, HostedSession
from .similarity import Verdict

PATIENCE = 2.5
"""Chunk intervals without input after which the chunks in flight are brought out."""
MIN_PATIENCE_S = 0.1
"""A camera that is late by less than this does not cause a flush."""
DEADLINE_SHARE = 0.8
"""A chunk's own deadline where none is given: this share of its period, or the device's least."""
LOADED = 0.5
"""Share of the device's time in use from which on throughput counts for more than latency."""
WORTH_SPREADING = 0.9
"""Joining a chunk's passes with other chunks' must save at least a tenth of their time."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One session's part in a round: take a chunk and work on it, take one and hold it back, flush
    one, or end because all is out."""

    session: EngineSession
    action: Literal["take", "hold", "flush", "end"]
    effort: Effort = NOMINAL
    task: Task | None = None
    cause: Hold | None = None
    spread: bool | None = None


@dataclass(slots=True)
class Round:
    """What is done in one tick.

    Attributes:
        plan: the scheduler's, behind the turns of live sessions.
        going: who goes on after a pass, by its number; asked once for the whole batch.
        stopped: passes of the chunks that ended early, by session.
    """

    plan: Plan
    turns: list[Turn]
    going: dict[int, frozenset[str]] = field(default_factory=dict)
    stopped: dict[str, int] = field(default_factory=dict)


class Agenda:
    """Who is there, by their profiles; turns engine sessions into tasks and plans into turns.

    Args:
        info: of the pipeline.
        scheduler: decides about live chunks.
        costs: what the scheduler counts with.
        config: of the engine: whether the order of passes is chosen here, and the least deadline.
    """

    def __init__(
        self, info: PipelineInfo, scheduler: Scheduler, costs: CostTable, config: EngineConfig
    ) -> None:
        self._info = self._offered = info
        self._scheduler = scheduler
        self._costs = costs
        self._choose_order = config.choose_order
        self._least_deadline = config.least_deadline
        self._live: dict[str, EngineSession] = {}
        self._alone = False
        self._profiles: dict[str, Profile] = {}
        self._epochs: dict[str, int] = {}
        self._known: dict[str, int] = {}
        self._verdicts: dict[str, tuple[int, Verdict]] = {}
        self.look_again: float | None = None

    def fix_quality(self, on: bool) -> None:
        """Whether who joins from here on has no effort but the nominal one."""
        efforts = self._info.efforts
        self._offered = replace(self._info, efforts=efforts[:1] if on else efforts)

    # ---- who is there --------------------------------------------------------------------------

    def join(self, now: float, session: EngineSession) -> None:
        """A session came, or its controls changed."""
        if session.mailbox.lossless:
            return
        self._live[session.id] = session
        self._profile(now, session)
        self._agree(now)

    def _agree(self, now: float) -> None:
        """Whoever is alone has no ladder: there is nobody to give way to, and the newest picture
        at full effort is worth more than the rate of the source. A second viewer brings it back."""
        alone = len(self._live) == 1
        if alone != self._alone:
            self._alone = alone
            for session in self._live.values():
                self._profile(now, session)

    def _profile(self, now: float, session: EngineSession) -> None:
        profile = profile_of(self._offered, session, self._least_deadline)
        if self._alone:
            profile = replace(profile, efforts=profile.efforts[:1])
        self._epochs[session.id] = session.controls.epoch
        if self._profiles.get(session.id) != profile:
            self._profiles[session.id] = profile
            expect(self._costs, profile, Shape(*self._info.size, self._info.chunk))
            self._scheduler.join(now, profile)

    def leave(self, now: float, session: EngineSession) -> None:
        """A session ended; one that never joined is no error."""
        if self._profiles.pop(session.id, None) is not None:
            self._scheduler.leave(now, session.id)
        for kept in (self._live, self._epochs, self._known, self._verdicts):
            kept.pop(session.id, None)
        self._agree(now)

    def standing(self, session: EngineSession) -> Standing | None:
        """Where a live session stands on the ladder."""
        return self._scheduler.standing(session.id) if session.id in self._profiles else None

    # ---- one round -----------------------------------------------------------------------------

    def round(self, now: float, sessions: Iterable[EngineSession]) -> Round:
        """Whose turn it is, and how much effort their chunks get."""
        there = {session.id: session for session in sessions}
        for session in there.values():
            if session.id in self._profiles:
                self._release(now, session)
        plan = self._scheduler.plan(now)
        self.look_again = plan.look_again
        turns = [self._take(there[a.task.session], a) for a in plan.launch]
        turns += [
            Turn(there[task.session], "hold", task=task, cause=cause)
            for task, cause in plan.holds
            if cause != "superseded"
        ]
        busy = {turn.session.id for turn in turns}
        for session in there.values():
            turn = None if session.id in busy else self._without_deadline(now, session)
            if turn is not None:
                turns.append(turn)
        return Round(plan, turns)

    def _release(self, now: float, session: EngineSession) -> None:
        """Tell the scheduler of a chunk that it does not know yet."""
        head = session.mailbox.head(self._known.get(session.id, 0))
        if head is None:
            return
        if self._epochs[session.id] != session.controls.epoch:
            self._profile(now, session)
        still = False
        if session.controls.values.get(SKIP_STILL.name, False):
            verdict = session.filter.judge(head.frames, session.controls.epoch)
            self._verdicts[session.id] = head.number, verdict
            still = verdict.still
        self._known[session.id] = head.number
        due = head.arrived + self._profiles[session.id].deadline
        self._scheduler.release(now, Task(session.id, head.number, head.arrived, due, still))

    def _take(self, session: EngineSession, assignment: Assignment) -> Turn:
        effort = self._profiles[session.id].efforts[assignment.effort]
        spread = self._spread(session, effort)
        return Turn(session, "take", effort, assignment.task, spread=spread)

    def _without_deadline(self, now: float, session: EngineSession) -> Turn | None:
        """Files take what is there. Whoever has no chunk but some in flight flushes one when its
        input ended, is held by the similarity filter, or stays out too long."""
        ready = session.mailbox.ready()
        if ready and session.mailbox.lossless:
            return Turn(session, "take")
        if not ready and session.in_flight and flush_at(session) <= now:
            return Turn(session, "flush")
        if session.mailbox.drained and not session.in_flight:
            return Turn(session, "end")
        return None

    def verdict(
        self, session: EngineSession, number: int, frames: Sequence[Frame], epoch: int
    ) -> Verdict:
        """What the similarity filter said of this very chunk, or says now."""
        known = self._verdicts.pop(session.id, None)
        if known is not None and known[0] == number == session.mailbox.taken:
            return known[1]
        return session.filter.judge(frames, epoch)

    def took(self, session: EngineSession) -> None:
        """The session's chunk was taken; it may be newer than the one that was planned for."""
        known = self._known.get(session.id, 0)
        self._known[session.id] = max(known, session.mailbox.taken)

    def next_due(self, sessions: Iterable[EngineSession]) -> float | None:
        """The next moment at which something is due without new input; None when nothing is."""
        due = [flush_at(session) for session in sessions if session.in_flight]
        if self.look_again is not None:
            due.append(self.look_again)
        return min(due, default=None)

    # ---- the launch ----------------------------------------------------------------------------

    def goes_on(self, now: float, round: Round, session: EngineSession, passes: int) -> bool:
        """Whether a chunk goes on after so many passes."""
        if all(a.task.session != session.id for a in round.plan.launch):
            return True
        if passes not in round.going:
            round.going[passes] = self._scheduler.more(now, round.plan, passes)
        if session.id in round.going[passes]:
            return True
        round.stopped[session.id] = passes
        return False

    def finished(self, now: float, round: Round, samples: Sequence[Sample]) -> None:
        """A launch is done."""
        planned = {a.task.session: a.passes for a in round.plan.launch}
        measured = Measured(tuple(samples), {**planned, **round.stopped})
        self._scheduler.finished(now, round.plan, measured)

    def _spread(self, session: EngineSession, effort: Effort) -> bool | None:
        """Whether a chunk's passes are spread over rounds, joined with those of the chunks after
        it: only where that saves time, time is scarce, and the deadline allows the wait."""
        profile = self._profiles[session.id]
        passes = passes_of(profile, effort)
        if not self._choose_order:
            return None
        profiles = list(self._profiles.values())
        if passes == 1 or busy_share(self._costs, profiles) < LOADED:
            return False
        one = self._costs.seconds("pass", profile.shape, 1, effort.window, 0.5)
        joined = self._costs.seconds("pass", profile.shape, passes, effort.window, 0.5)
        wait = (passes - 1) * profile.period + passes * joined
        return joined < WORTH_SPREADING * passes * one and wait <= profile.deadline


Sample = tuple[Literal["encode", "pass", "decode", "commit"], Shape, int, int | None, float]
"""Stage, shape, rows, window and seconds, as `Measured` takes them."""


def profile_of(
    info: PipelineInfo, session: EngineSession | HostedSession, least_deadline: float
) -> Profile:
    """What the scheduler should know of a session, from what it was opened with and its controls.

    A session without a user is a user of its own. `least_deadline`: see `config.least_deadline`.
    """
    config = session.config
    steps = session.controls.values.get("steps", 1)
    passes = steps if isinstance(steps, int) else 1
    own = config.deadline_ms / 1e3
    return Profile(
        session=session.id,
        user=config.user or f"session {session.id}",
        shape=Shape(config.width, config.height, info.chunk),
        fps=config.fps,
        deadline=own or max(DEADLINE_SHARE * info.chunk / config.fps, least_deadline),
        passes=passes,
        efforts=useful(info.efforts, passes),
        weight=config.weight,
        service=config.service,
    )


def useful(efforts: Sequence[Effort], passes: int) -> tuple[Effort, ...]:
    """The efforts that differ for a viewer who asks for so many passes: one that only limits the
    passes to what is not exceeded anyway would be a step down that saves nothing."""
    kept: list[Effort] = []
    before: tuple[object, ...] = ()
    for effort in efforts:
        most = passes if effort.passes is None else min(effort.passes, passes)
        kind = (most, effort.window, effort.scale, effort.commit, effort.rate)
        if kind != before:
            kept.append(effort)
        before = kind
    return tuple(kept)


def flush_at(session: EngineSession) -> float:
    """When the chunks in flight should come out if no further chunk arrives (monotonic seconds)."""
    if session.mailbox.ended or session.holding:
        return session.last_take
    patience = PATIENCE * max(session.interval, session.nominal_interval)
    return session.last_take + max(patience, MIN_PATIENCE_S)
