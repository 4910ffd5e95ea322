"""Between the sessions of a worker host and whoever is their worker now.

The web process never waits for a worker: frames go through shared-memory slots, everything else is
small messages. While there is no worker the sessions stay, and the next one opens them again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .clock import Clock
from .frames import Frame, Stamp
from .host import Event, HostRefused, Output
from .line import Kept, Line
from .messages import (
    Close,
    ControlsSeen,
    ControlValues,
    Forget,
    FrameIn,
    FrameOut,
    FrameTaken,
    FromWorker,
    Happened,
    OutputTaken,
    Pong,
    Save,
    Saved,
    SetControls,
    Stay,
    Trust,
)
from .process import WorkerProcess
from .session import HostedSession
from .suspects import Blame
from .totals import Ledger
from .trace import Trace


class Exchange:
    """Lines of the sessions, the worker that serves them, and what it tells of itself.

    Attributes:
        changed: guards all here and whatever of its host hangs together with it. Taken inside a
            session's own lock, never around it.
        worker: who takes messages for sessions; None while there is nobody.
        process: what the worker last said of its process.
        costs: what it last said about how long things take, see `CostTable.from_json`.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._blame = Blame()
        self.changed = threading.Condition(threading.Lock())
        self.worker: WorkerProcess | None = None
        self._lines: dict[str, Line] = {}
        self.process: Mapping[str, Any] = {}
        self.costs: tuple[Any, ...] = ()
        self.ledger = Ledger()
        self.trace = Trace()

    # ---- sessions come and go ------------------------------------------------------------------

    def attach(
        self,
        session: HostedSession,
        chunk: int,
        deliver: Callable[[Output | Event], None],
        parcel: str,
        refuses: Callable[[int], str | None],
    ) -> None:
        """Take in a session whose handle exists already.

        Args:
            chunk: T, frames of its chunks.
            deliver: takes what comes for the viewer, a final "closed" event included.
            parcel: file with what the session was on another device, to go on from there.
            refuses: given how many there are, says why no more are taken, or None. Called under
                the lock.

        Raises:
            HostRefused: it was refused, or there is no shared memory for it.
        """
        try:
            line = Line(session, chunk, self._announce, deliver)
        except OSError as error:
            raise HostRefused(
                f"no shared memory for another session ({error.strerror}); close one, or make "
                "/dev/shm larger (docker run --shm-size)"
            ) from error
        line.parcel = parcel
        with self.changed:
            refusal = refuses(len(self._lines))
            if refusal is None:
                self._lines[session.id] = line
                if self.worker is not None:
                    self.worker.send(line.opening())
        if refusal is not None:
            line.destroy()
            raise HostRefused(refusal)

    def detach(self, session: HostedSession) -> None:
        """Let a session go without a word: it lives on elsewhere."""
        with self.changed:
            line = self._lines.pop(session.id, None)
            if line is not None and self.worker is not None:
                self.worker.send(Close(session.id, "it moved"))
                self.worker.send(Forget(session.id))
        if line is not None:
            line.destroy()

    def save(self, session: HostedSession, path: str, saved: Callable[[str], None]) -> list[Kept]:
        """Pack a session into a file. It then waits for `detach` or `stay`.

        No frame may come before one of them is called.

        Args:
            saved: told what went wrong, or nothing; on a thread of this host. Never called when
                the worker dies meanwhile: then the session is interrupted and opened again.

        Returns:
            The frames that were not handed over yet.

        Raises:
            HostRefused: there is no worker at this moment.
        """
        with self.changed:
            line = self._lines.get(session.id)
            if line is None or self.worker is None:
                raise HostRefused("its worker is being started again")
            kept = line.inbox.take_aside()
            line.saved = saved
            self.worker.send(Save(session.id, path))
            return kept

    def follow(self, session: HostedSession, other: Exchange) -> None:
        """A session came here from another host, which has not let go of it yet: go on from the
        numbers that it had there."""
        line, before = self._lines.get(session.id), other._lines.get(session.id)
        if line is not None and before is not None:
            line.follow(before)

    def stay(self, session: HostedSession) -> None:
        """The move was called off: the session goes on here."""
        with self.changed:
            if session.id in self._lines and self.worker is not None:
                self.worker.send(Stay(session.id))

    def sessions(self) -> tuple[HostedSession, ...]:
        with self.changed:
            return tuple(line.session for line in self._lines.values())

    # ---- Link: what sessions ask ---------------------------------------------------------------

    def send_frame(self, session: HostedSession, frame: Frame) -> None:
        line = self._lines.get(session.id)
        if line is None:
            return
        if self.worker is None:
            line.missed += 1
        else:
            line.inbox.put(frame.planes, Stamp.of(frame))

    def send_controls(self, session: HostedSession) -> None:
        with self.changed:
            line = self._lines.get(session.id)
            if line is not None and self.worker is not None and line.may_send_controls():
                self.worker.send(SetControls(session.id, ControlValues.of(session.controls)))

    def send_close(self, session: HostedSession, reason: str) -> None:
        with self.changed:
            line = self._lines.get(session.id)
            if line is None:
                return
            line.closing = reason
            if self.worker is not None and self.worker.send(Close(session.id, reason)):
                return
        self._finish(line, reason)

    def session_stats(self, session: HostedSession) -> Mapping[str, Any]:
        line = self._lines.get(session.id)
        if line is None:
            return {}
        return {**line.stats(), "memory_mb": self.process.get("memory_mb")}

    def _announce(self, id: str, slot: int, stamp: Stamp) -> bool:
        worker = self.worker
        return worker is not None and worker.send(FrameIn(id, slot, stamp))

    # ---- the worker, on the watcher's thread ---------------------------------------------------

    def connect(self, worker: WorkerProcess) -> None:
        """A worker is ready: open all sessions in it. The lock is held."""
        for line in self._lines.values():
            worker.send(line.opening(self._blame.suspects(line.session.id)))
        # Only now may others send: their messages come after the openings.
        self.worker = worker

    def said(self, worker: WorkerProcess, message: FromWorker) -> None:
        match message:
            case FrameOut(id):
                self._output(worker, id, message)
            case FrameTaken(id, slot):
                if line := self._lines.get(id):
                    line.inbox.release(slot)
            case ControlsSeen(id):
                self._controls_seen(worker, id)
            case Happened(id, event):
                self._event(worker, id, event)
            case Saved(id, problem, dropped):
                line = self._lines.get(id)
                if line is not None and line.saved is not None:
                    line.unsent = dropped
                    saved, line.saved = line.saved, None
                    saved(problem)
            case Pong():
                self._answered(worker, message)

    def _answered(self, worker: WorkerProcess, message: Pong) -> None:
        if message.costs is not None:
            self.costs = message.costs
        self.process = message.process
        for id in self._blame.lapsed(self._clock.now()):
            worker.send(Trust(id))
        self.ledger.report(message.totals)
        self.trace.add(*message.spans)
        for id, own in message.sessions.items():
            if line := self._lines.get(id):
                line.numbers = own

    def accuse(self, how: str, at_work: Sequence[str]) -> bool:
        with self.changed:
            here = [id for id in at_work if id in self._lines]
            guilty = [self._lines[id] for id in self._blame.died(self._clock.now(), here)]
        for line in guilty:
            self._finish(
                line,
                f"the worker died twice within {self._blame.window_s:g} s while at work on this "
                f"session ({how}), so it is not opened again; start a new one with other settings",
            )
        return bool(guilty)

    def disconnect(self) -> list[Line]:
        """The worker is gone; whose lines it served. The lock is held."""
        self.worker = None
        self.ledger.ended()
        return list(self._lines.values())

    def interrupt(self, lines: Sequence[Line], how: str, final: bool) -> None:
        """Tell those who wait for the next worker; end those who were leaving anyway."""
        for line in lines:
            if line.closing is not None:
                self._finish(line, line.closing)
            elif not final:
                words = f"the worker is being started again: {how}"
                line.parcel, line.saved = "", None
                line.deliver(Event("interrupted", words))

    def close(self, reason: str) -> None:
        """End all sessions: there will be no worker again."""
        with self.changed:
            self.worker = None
            lines = list(self._lines.values())
        for line in lines:
            self._finish(line, reason)

    def _output(self, worker: WorkerProcess, id: str, message: FrameOut) -> None:
        line = self._lines.get(id)
        output = line.output(message) if line else None
        worker.send(OutputTaken(id, message.slot))
        if line is not None and output is not None:
            line.deliver(output)

    def _controls_seen(self, worker: WorkerProcess, id: str) -> None:
        with self.changed:
            line = self._lines.get(id)
            if line is not None and line.controls_seen():
                worker.send(SetControls(id, ControlValues.of(line.session.controls)))

    def _event(self, worker: WorkerProcess, id: str, event: Event) -> None:
        line = self._lines.get(id)
        if line is None:
            return
        if event.kind == "closed":
            worker.send(Forget(id))
            self._finish(line, event.message)
        else:
            if event.kind == "live":
                line.parcel = ""
            line.deliver(event)

    def _finish(self, line: Line, reason: str) -> None:
        with self.changed:
            if self._lines.pop(line.session.id, None) is None:
                return
            self._blame.forget(line.session.id)
        line.destroy()
        line.deliver(Event("closed", reason))
