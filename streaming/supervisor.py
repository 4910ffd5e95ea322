"""A host whose engine runs in a worker process that is watched and, when it dies, started again.

The web process never waits for the worker: frames go through shared-memory slots, everything else
is small messages. When the worker is gone its sessions stay: they are told "interrupted", opened
again in the next worker with their current controls, and told "live" when their stream is back.
"""

from __future__ import annotations

import atexit
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .clock import Clock, SystemClock
from .config import Options
from .frames import Frame, Stamp
from .host import Event, HostInfo, HostRefused, Listener, Output
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
    Started,
    Stay,
    Trust,
)
from .pipeline import StreamConfig
from .process import WorkerProcess
from .session import HostedSession, check_size, defaults
from .suspects import Blame
from .totals import Ledger
from .trace import Span, Trace
from .watcher import Restarts, Watcher


class WorkerHost:
    """Runs sessions in a worker process.

    Args:
        options: what to run; resolved in the worker, by measurement where they say auto.
        clock: whoever stamps the frames must use the same; `SystemClock` is shared by all
            processes of a machine.
        spare: keep a second worker in reserve, for a restart in well under a second.
        hang_s: a worker that does not answer for this long is killed; longer than any step takes.
    """

    def __init__(
        self,
        options: Options,
        clock: Clock | None = None,
        *,
        spare: bool = True,
        hang_s: float = 20.0,
    ) -> None:
        self._options = options
        self._clock = clock or SystemClock()
        self._blame = Blame()
        self._watcher = Watcher(options, self._clock, self, spare=spare, hang_s=hang_s)
        # Guards all below. Taken inside a session's own lock, never around it.
        self._changed = threading.Condition(threading.Lock())
        self._began = False
        self._stopped = False
        self._failure: str | None = None
        self._info: HostInfo | None = None
        self._worker: WorkerProcess | None = None
        """Who takes messages for sessions; None while there is nobody."""
        self._lines: dict[str, Line] = {}
        self._ids = itertools.count(1)
        self._deaths = 0
        self._process: Mapping[str, Any] = {}
        self.costs: tuple[Any, ...] = ()
        """What the worker last said about how long things take, see `CostTable.from_json`."""
        self._ledger = Ledger()
        self._trace = Trace()

    # ---- Host ----------------------------------------------------------------------------------

    def start(self) -> None:
        with self._changed:
            first = not self._began and not self._stopped
            self._began = True
        if first:
            self._watcher.start()
            # Ends the worker before multiprocessing does, which would look like a crash.
            atexit.register(self.stop)

    def ready(self, timeout: float | None = None) -> HostInfo:
        with self._changed:
            if not self._changed.wait_for(lambda: self._info or self._failure, timeout):
                raise TimeoutError(f"the worker was not ready within {timeout} s")
            if self._failure is not None or self._info is None:
                raise RuntimeError(self._failure)
            return self._info

    def open(
        self, config: StreamConfig, listener: Listener, changes: Mapping[str, object] | None = None
    ) -> HostedSession:
        info = self._known_info()
        check_size(info.pipeline, config)
        schema = info.pipeline.controls
        session = HostedSession(
            f"s{next(self._ids)}", config, schema, defaults(schema, changes), listener, self
        )
        self.attach(session, session.deliver)
        return session

    def attach(
        self, session: HostedSession, deliver: Callable[[Output | Event], None], parcel: str = ""
    ) -> None:
        """Take in a session whose handle exists already.

        Args:
            deliver: takes what comes for the viewer, a final "closed" event included.
            parcel: file with what the session was on another device, to go on from there.

        Raises:
            HostRefused: see `open`.
        """
        chunk = self._known_info().pipeline.chunk
        try:
            line = Line(session, chunk, self._announce, deliver)
        except OSError as error:
            raise HostRefused(
                f"no shared memory for another session ({error.strerror}); close one, or make "
                "/dev/shm larger (docker run --shm-size)"
            ) from error
        line.parcel = parcel
        with self._changed:
            refusal = self._failure or self._full()
            if refusal is None:
                self._lines[session.id] = line
                if self._worker is not None:
                    self._worker.send(line.opening())
        if refusal is not None:
            line.destroy()
            raise HostRefused(refusal)

    def detach(self, session: HostedSession) -> None:
        """Let a session go without a word: it lives on elsewhere."""
        with self._changed:
            line = self._lines.pop(session.id, None)
            if line is not None and self._worker is not None:
                self._worker.send(Close(session.id, "it moved"))
                self._worker.send(Forget(session.id))
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
        with self._changed:
            line = self._lines.get(session.id)
            if line is None or self._worker is None:
                raise HostRefused("its worker is being started again")
            kept = line.inbox.take_aside()
            line.saved = saved
            self._worker.send(Save(session.id, path))
            return kept

    def stay(self, session: HostedSession) -> None:
        """The move was called off: the session goes on here."""
        with self._changed:
            if session.id in self._lines and self._worker is not None:
                self._worker.send(Stay(session.id))

    def sessions(self) -> tuple[HostedSession, ...]:
        with self._changed:
            return tuple(line.session for line in self._lines.values())

    def stats(self) -> Mapping[str, Any]:
        sessions = self.sessions()
        worker = {"state": self._state(), "restarts": self._deaths, **self._process}
        return {
            "sessions": {"admitted": len(sessions)},
            "worker": worker,
            "totals": self._ledger.total(),
            "by_session": {session.id: session.stats() for session in sessions},
        }

    def record(self, on: bool) -> None:
        """Begin or end recording spans, at the worker's next answer (`watcher.BEAT_S`)."""
        self._watcher.record = on

    def recorded(self) -> tuple[Span, ...]:
        """The spans that came since the last call; a bounded number, the newest."""
        return self._trace.drain()

    def stop(self) -> None:
        with self._changed:
            if self._stopped:
                return
            self._stopped = True
            self._failure = self._failure or "the server stopped"
            self._changed.notify_all()
        if self._began:
            self._watcher.stop()
            atexit.unregister(self.stop)

    @property
    def state(self) -> str:
        """ "starting", "live", "restarting", "failed" (for good) or "stopped"."""
        return self._state()

    @property
    def interference(self) -> float:
        """How many times longer things take than the costs say, at present."""
        return float(self._process.get("interference", 1.0))

    @property
    def failure(self) -> str:
        """Why it will never be live again, or nothing."""
        return self._failure or ""

    @property
    def restarts(self) -> Restarts:
        """How often a worker may die before this host gives up."""
        return self._watcher.restarts

    @property
    def spare_ready(self) -> bool:
        """Whether a worker in reserve has loaded its libraries."""
        return self._watcher.spare_ready

    def _known_info(self) -> HostInfo:
        with self._changed:
            if self._failure is not None:
                raise HostRefused(self._failure)
            if self._info is None:
                raise HostRefused("the engine is still starting; please try again in a moment")
            return self._info

    def _full(self) -> str | None:
        places = self._options.max_sessions
        if len(self._lines) < places:
            return None
        return f"all {places} places are taken; please try again when somebody left"

    def _state(self) -> str:
        if self._failure is not None:
            return "stopped" if self._stopped else "failed"
        if self._info is None:
            return "starting"
        return "restarting" if self._worker is None else "live"

    # ---- Link: what sessions ask ---------------------------------------------------------------

    def send_frame(self, session: HostedSession, frame: Frame) -> None:
        line = self._lines.get(session.id)
        if line is None:
            return
        if self._worker is None:
            line.missed += 1
        else:
            line.inbox.put(frame.planes, Stamp.of(frame))

    def send_controls(self, session: HostedSession) -> None:
        with self._changed:
            line = self._lines.get(session.id)
            if line is not None and self._worker is not None and line.may_send_controls():
                self._worker.send(SetControls(session.id, ControlValues.of(session.controls)))

    def send_close(self, session: HostedSession, reason: str) -> None:
        with self._changed:
            line = self._lines.get(session.id)
            if line is None:
                return
            line.closing = reason
            if self._worker is not None and self._worker.send(Close(session.id, reason)):
                return
        self._finish(line, reason)

    def session_stats(self, session: HostedSession) -> Mapping[str, Any]:
        line = self._lines.get(session.id)
        if line is None:
            return {}
        return {**line.stats(), "memory_mb": self._process.get("memory_mb")}

    def _announce(self, id: str, slot: int, stamp: Stamp) -> bool:
        worker = self._worker
        return worker is not None and worker.send(FrameIn(id, slot, stamp))

    # ---- Handler: what becomes of the worker, on the watcher's thread --------------------------

    def started(self, worker: WorkerProcess, message: Started) -> None:
        with self._changed:
            self._info = message.info
            for line in self._lines.values():
                worker.send(line.opening(self._blame.suspects(line.session.id)))
            # Only now may others send: their messages come after the openings.
            self._worker = worker
            self._changed.notify_all()

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
            case Saved(id, problem):
                line = self._lines.get(id)
                if line is not None and line.saved is not None:
                    saved, line.saved = line.saved, None
                    saved(problem)
            case Pong():
                self._answered(worker, message)

    def _answered(self, worker: WorkerProcess, message: Pong) -> None:
        if message.costs is not None:
            self.costs = message.costs
        self._process = message.process
        for id in self._blame.lapsed(self._clock.now()):
            worker.send(Trust(id))
        self._ledger.report(message.totals)
        self._trace.add(*message.spans)
        for id, own in message.sessions.items():
            if line := self._lines.get(id):
                line.numbers = own

    def accuse(self, how: str, at_work: Sequence[str]) -> bool:
        with self._changed:
            here = [id for id in at_work if id in self._lines]
            guilty = [self._lines[id] for id in self._blame.died(self._clock.now(), here)]
        for line in guilty:
            self._finish(
                line,
                f"the worker died twice within {self._blame.window_s:g} s while at work on this "
                f"session ({how}), so it is not opened again; start a new one with other settings",
            )
        return bool(guilty)

    def died(self, how: str, final: bool) -> None:
        with self._changed:
            self._worker = None
            self._deaths += 1
            self._ledger.ended()
            if final:
                self._failure = self._last_words(how)
            self._changed.notify_all()
            lines = list(self._lines.values())
        for line in lines:
            if line.closing is not None:
                self._finish(line, line.closing)
            elif not final:
                words = f"the worker is being started again: {how}"
                line.parcel, line.saved = "", None
                line.deliver(Event("interrupted", words))

    def stopped(self) -> None:
        with self._changed:
            self._worker = None
            reason = self._failure or ""
            lines = list(self._lines.values())
        for line in lines:
            self._finish(line, reason)

    def _last_words(self, how: str) -> str:
        if self._info is None:
            return f"the worker could not start: {how}"
        return (
            f"the worker ended {self.restarts.limit} times within {self.restarts.window_s:g} s, "
            f"last because {how}; giving up"
        )

    def _output(self, worker: WorkerProcess, id: str, message: FrameOut) -> None:
        line = self._lines.get(id)
        output = line.output(message) if line else None
        worker.send(OutputTaken(id, message.slot))
        if line is not None and output is not None:
            line.deliver(output)

    def _controls_seen(self, worker: WorkerProcess, id: str) -> None:
        with self._changed:
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
        with self._changed:
            if self._lines.pop(line.session.id, None) is None:
                return
            self._blame.forget(line.session.id)
        line.destroy()
        line.deliver(Event("closed", reason))
