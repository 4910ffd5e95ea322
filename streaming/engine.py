"""The engine: the only user of its device. `Engine.tick` is the main path of the whole system."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch

from .agenda import Agenda, Round
from .batch import Emission, Job, decode, encode, flush_job, take_repeats
from .books import Books, Flight, draw
from .clock import Clock
from .config import EngineConfig
from .controls import Controls
from .door import Door
from .handoff import Mailbox
from .host import Event
from .intake import job_of
from .moving import Parcel, portable
from .pipeline import Pipeline, StreamConfig
from .publish import publish, tell_rung
from .queues import queues_of
from .room import free_share
from .scheduling.costs import CostTable
from .scheduling.policies import policy_named
from .scheduling.scheduler import Scheduler
from .scheduling.tasks import Plan
from .session import Emit, EngineSession, check_size, full_schema, usual_size
from .similarity import SimilarityFilter
from .stage_runs import StageBook
from .stopwatch import Moment, Stopwatch
from .streams import Streams
from .telemetry import SessionTelemetry
from .totals import Totals
from .trace import Trace
from .warmup import warm_up

_log = logging.getLogger(__name__)
Value = TypeVar("Value")
INPUT_ENDED = "the input ended"


class Engine:
    """Runs the sessions of one device, all of them in one step of the pipeline where possible.

    `open` and `close` may be called from any thread; `tick`, `warm_up`, `wait_time` and `shutdown`
    from one, the engine's own.

    Args:
        pipeline: what turns frames into frames.
        config: device and limits.
        clock: monotonic time, shared with whoever stamps the frames.
        wake: called when there may be something to do, from any thread.
        costs: what is known of how long things take here; None begins with nothing.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        config: EngineConfig,
        clock: Clock,
        wake: Callable[[], None] = lambda: None,
        costs: CostTable | None = None,
    ) -> None:
        own = pipeline.info
        size = usual_size(own, config.size)
        self.info = replace(own, controls=full_schema(own), size=size)
        self._pipeline = pipeline
        self._config = config
        self._device = torch.device(config.device)
        self._clock = clock
        self._wake = wake
        self._sessions = Door(config.max_sessions)
        self._streams = Streams(pipeline, self.info, reads=self._device.type == "cpu")
        self._flying: list[Flight] = []
        self.costs = CostTable() if costs is None else costs
        """How long things take here; refined with every launch."""
        scheduler = Scheduler(policy_named(config.policy), self.costs)
        self._agenda = Agenda(self.info, scheduler, self.costs, config)
        self._books = Books(self.info)
        self.totals = Totals()
        """Counted over all sessions since the engine was made."""
        self._stages = StageBook(pipeline, self.totals)
        self._queues = queues_of(pipeline)
        self._ends: dict[int, Moment] = {}
        self.trace: Trace | None = None
        """Where spans go while somebody records."""
        self.watch_launches: Callable[[Sequence[str]], None] = _unwatched
        """Told who is in the step that begins, and () when it is over; so that a process that dies
        in a step can be traced to its sessions."""

    # ---- the main path -------------------------------------------------------------------------

    @torch.inference_mode()
    def tick(self) -> bool:
        """One round: who may work, take their chunks, run them together, send out what is done.

        Returns False when there was nothing to do; `wait_time` then says how long that holds.
        """
        now = self._clock.now()
        self._admit(now)
        self._park()
        round = self._agenda.round(now, self._sessions)
        jobs, repeats = self._take(round, now)
        self._retire(self._launch(jobs, round, repeats))
        return bool(round.turns) or bool(self._flying)

    def _admit(self, now: float) -> None:
        """Open who came and close who left; only here do streams begin and end by request."""
        for session in self._sessions.let_in():
            opening = partial(self._streams.open, session, self._sessions)
            if session.closing is None and self._guard([session], "open", opening):
                session.telemetry.opened(now)
                session.emit(Event("live"))
                self._agenda.join(now, session)
        for session in [s for s in self._sessions if s.closing is not None]:
            self._end(session, session.closing or "")

    def _park(self) -> None:
        """Bring out what is in flight of those who move to another device, and pack their things.
        They stay here, with nothing to do, until they are closed or come back."""
        for session in [s for s in self._sessions if s.parking is not None]:
            parking, session.parking = session.parking, None
            while session.in_flight and session.stream is not None:
                flush = flush_job(session, session.controls)
                self._retire(self._launch([flush], Round(Plan(), [])))
            self._retire()
            if session not in self._sessions:
                continue  # it failed on the way
            parcel = self._guard([session], "save", partial(self._streams.save, session))
            if parking is not None and parcel is not None:
                parking(parcel)

    def _take(self, round: Round, now: float) -> tuple[list[Job], list[Emission]]:
        """The chunks to work on, and the repeats of those that are held back."""
        jobs: list[Job] = []
        repeats: list[Emission] = []
        for turn in round.turns:
            if turn.action == "end":
                self._retire()
                self._end(turn.session, INPUT_ENDED)
                continue
            job = job_of(turn, self._agenda, self.info.chunk, now)
            if job is not None:
                jobs.append(job)
            repeats += take_repeats(turn.session)
        return jobs, repeats

    def _launch(
        self, jobs: list[Job], round: Round, repeats: Sequence[Emission] = ()
    ) -> Flight | None:
        """Run the batch. Nothing here waits for the device (except the first range check)."""
        if not jobs:
            return Flight(list(repeats), round) if round.turns else None
        watch = Stopwatch(self._clock, self._device, self._ends)
        start = self._clock.now()
        goes_on = partial(self._goes_on, round)
        works = encode(jobs, self.info.chunk, self._device, goes_on, watch.mark, self._queues)
        encoded = self._clock.now()
        sessions = [job.session for job in jobs]
        stepping = partial(self._streams.step, sessions, works, self.watch_launches)
        done = self._guard(sessions, "step", stepping)
        if done is None:
            return Flight(list(repeats), round)
        stepped = self._clock.now()
        watch.unusual = self._stages.book()
        if not watch:
            watch.mark("pass", len(jobs), None)
        emissions = decode(done, self._queues)
        if done:
            with self._queues.on("download"):
                watch.mark("decode", len(done), None)
        decoded = self._clock.now()
        self.totals.count("busy_seconds", "all", decoded - start)
        for session in sessions:
            session.telemetry.stage(decoded, "encode", encoded - start)
            session.telemetry.stage(decoded, "model", stepped - encoded)
            session.telemetry.stage(decoded, "decode", decoded - stepped)
        return Flight([*repeats, *emissions], round, jobs, watch)

    def _retire(self, flight: Flight | None = None) -> None:
        """Send out what is done. With `overlap` the batch just launched stays until the next tick,
        so the device works while the one before it is sent out."""
        if flight is not None:
            self._flying.append(flight)
        keep = 1 if flight is not None and flight.emissions and self._config.overlap else 0
        while len(self._flying) > keep:
            done = self._flying.pop(0)
            if self.trace is not None:
                draw(self.trace, self._config.device, done)
            for emission in done.emissions:
                if emission.session in self._sessions:
                    publish(emission, self._clock.now(), self.trace)
            self._agenda.finished(self._clock.now(), done.round, self._books.samples(done))
            for session in {turn.session.id: turn.session for turn in done.round.turns}.values():
                tell_rung(session, self._agenda.standing(session))

    def _goes_on(self, round: Round, session: EngineSession, passes: int) -> bool:
        return self._agenda.goes_on(self._clock.now(), round, session, passes)

    # ---- parts of it ---------------------------------------------------------------------------

    def _guard(
        self, sessions: Sequence[EngineSession], what: str, call: Callable[[], Value]
    ) -> Value | None:
        """Call foreign code. When it raises, the sessions that it was about are closed with the
        reason (their memory may be half written) and None is returned."""
        try:
            return call()
        except torch.AcceleratorError:
            # The device's context is lost for everyone: end this process, the host starts another.
            raise
        except Exception as error:
            _log.exception("%s of pipeline %s failed", what, self.info.name)
            self._retire()
            reason = f"{self.info.name}: {error or type(error).__name__}"
            for session in sessions:
                self._end(session, reason)
            return None

    def _end(self, session: EngineSession, reason: str) -> None:
        if not self._sessions.leave(session):
            return
        session.mailbox.close()
        self._agenda.leave(self._clock.now(), session)
        if session.stream is not None:
            self._guard([], "close", partial(self._streams.close, session))
        session.emit(Event("closed", reason))

    # ---- from any thread -----------------------------------------------------------------------

    def open(
        self,
        id: str,
        config: StreamConfig,
        controls: Controls,
        emit: Emit,
        *,
        lossless: bool = False,
        parcel: Parcel | None = None,
    ) -> EngineSession:
        """A new session; its stream is opened at the next tick (`Event("live")`, or "closed" with
        the reason when the pipeline has no room).

        Args:
            controls: with a value for each control of `info.controls`.
            emit: takes outputs and events, on the engine's thread; returns at once.
            lossless: the mailbox refuses frames instead of dropping any.
            parcel: what another engine packed of this session, to go on from there.

        Raises:
            HostRefused: all places are taken, or a size that the pipeline does not take.
        """
        check_size(self.info, config)
        mailbox = Mailbox(
            self.info.chunk, lossless=lossless, on_change=self._wake, now=self._clock.now
        )

        def make(number: int) -> EngineSession:
            session = EngineSession(id, config, controls, mailbox, emit, SimilarityFilter(number))
            session.telemetry = SessionTelemetry(self.totals)
            session.parcel = parcel
            return session

        session = self._sessions.come(make)
        self._wake()
        return session

    def close(self, session: EngineSession, reason: str = "") -> None:
        """End a session at the next tick; chunks in flight are let go."""
        session.closing = reason
        session.mailbox.close()

    @property
    def portable(self) -> bool:
        """Whether sessions can move to another engine (see `pipeline.Portable`)."""
        return portable(self._pipeline)

    def park(self, session: EngineSession, parked: Callable[[Parcel], None]) -> None:
        """Get a session ready to move, at the next tick; `parked` gets all that it is, on the
        engine's thread. No frame may be put in afterwards, until `unpark`.

        The engine must be `portable`. A session that ends before is never parked.
        """
        session.parking = parked
        self._wake()

    def unpark(self, session: EngineSession, parcel: Parcel) -> None:
        """The move was called off: go on where it stopped."""
        for frame in parcel.frames(session.config):
            session.mailbox.put(frame)

    def fix_quality(self, on: bool) -> None:
        """Whether sessions that join from here on get the nominal effort or nothing: to measure the
        model and not the ladder."""
        self._agenda.fix_quality(on)

    def memory_free(self) -> float:
        """Share of the device's memory that is free, see `room.free_share`."""
        return free_share(self._config.device)

    def stats(self) -> dict[str, dict[str, Any]]:
        """Numbers of each session, by its id."""
        return {session.id: self.session_stats(session) for session in self._sessions}

    def session_stats(self, session: EngineSession) -> dict[str, Any]:
        """One session's numbers."""
        return {"device": self._config.device, **session.stats(self._clock.now())}

    # ---- around the main path ------------------------------------------------------------------

    def wait_time(self) -> float | None:
        """Seconds until something is due without new input; None when nothing is."""
        due = self._agenda.next_due(self._sessions)
        return None if due is None else max(0.0, due - self._clock.now())

    def warm_up(self) -> None:
        """Run the pipeline before the first viewer does (see `warmup.warm_up`).

        Raises:
            PipelineError: with the pipeline's reason.
        """
        warm_up(self, self._clock, self._config.max_sessions, INPUT_ENDED)

    @torch.inference_mode()
    def shutdown(self, reason: str) -> None:
        """Close all sessions."""
        for session in self._sessions.everybody():
            self.close(session, reason)
        self._admit(self._clock.now())


def _unwatched(ids: Sequence[str]) -> None:
    return None
