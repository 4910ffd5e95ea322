"""A host whose engine runs in a worker process that is watched and, when it dies, started again.

The web process never waits for the worker: frames go through shared-memory slots, everything else
is small messages. When the worker is gone its sessions stay: they are told "interrupted", opened
again in the next worker with their current controls, and told "live" when their stream is back.

A second worker, in reserve, has loaded its libraries already and waits on its pipe. It makes up
most of the restart time (loading torch takes 1.5 s on a quiet machine and several on a busy one)
and costs memory, mostly pages of libraries that both share. `spare=False` does without.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Pipe, wait
from typing import Any

from .clock import Clock, SystemClock
from .config import Options
from .frames import Frame, Stamp
from .host import Event, HostInfo, HostRefused, Listener
from .line import Line
from .messages import (
    Close,
    ControlsSeen,
    ControlValues,
    Failed,
    Forget,
    FrameIn,
    FrameOut,
    FrameTaken,
    FromWorker,
    Happened,
    OutputTaken,
    Ping,
    Pong,
    SetControls,
    Start,
    Started,
    Stop,
)
from .pipeline import StreamConfig
from .process import WorkerProcess
from .session import HostedSession, check_size, defaults

BEAT_S = 0.5
"""Between two pings while somebody watches; statistics come with the answers."""
SLOW_BEAT_S = 2.0
"""Between two pings while nobody does."""
SPARE_AFTER_S = 3.0
"""A worker in reserve is started this long after a start, so as not to slow down the first view."""
STOP_S = 3.0
"""How long a worker may take to close its streams before it is killed."""


@dataclass
class Restarts:
    """When to start again after a death, and when to give up: pure, time is an argument."""

    limit: int = 5
    window_s: float = 60.0
    _deaths: deque[float] = field(default_factory=deque)

    def died(self, now: float) -> float | None:
        """Seconds to wait before the next start; None to give up."""
        self._deaths.append(now)
        while self._deaths[0] < now - self.window_s:
            self._deaths.popleft()
        count = len(self._deaths)
        if count >= self.limit:
            return None
        return 0.0 if count == 1 else 0.25 * 2.0 ** (count - 2)


class WorkerHost:
    """Runs sessions in a worker process.

    Args:
        options: what to run; resolved in the worker, by measurement where they say auto.
        clock: whoever stamps the frames must use the same; `SystemClock` is shared by all
            processes of a machine.
        spare: keep a second worker in reserve.
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
        self._hang_s = hang_s
        self._changed = threading.Condition(threading.Lock())
        self._info: HostInfo | None = None
        self._failure: str | None = None
        self._worker: WorkerProcess | None = None
        self._lines: dict[str, Line] = {}
        self._ids = itertools.count(1)
        self._process_numbers: Mapping[str, Any] = {}
        self._bell, self._ring = Pipe(duplex=False)
        self._thread: threading.Thread | None = None
        self._stopped = False
        # From here on: the supervising thread's own.
        self._restarts = Restarts()
        self._deaths = 0
        self._spare_wanted = spare
        self._spare: WorkerProcess | None = None
        self._spare_at = 0.0
        self._beat_at = 0.0
        self._pinged_at: float | None = None
        self._start_failure = ""

    # ---- Host ----------------------------------------------------------------------------------

    def start(self) -> None:
        with self._changed:
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(
                    target=self._supervise, name="millrace-supervisor", daemon=True
                )
                self._thread.start()

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
        info = self._opened_info()
        check_size(info.pipeline, config)
        schema = info.pipeline.controls
        session = HostedSession(
            f"s{next(self._ids)}", config, schema, defaults(schema, changes), listener, self
        )
        try:
            line = Line(session, info.pipeline.chunk, self._announce)
        except OSError as error:
            raise HostRefused(
                f"no shared memory for another session ({error.strerror}); close one, or make "
                "/dev/shm larger (docker run --shm-size)"
            ) from error
        with self._changed:
            if len(self._lines) >= self._options.max_sessions:
                line.destroy()
                raise HostRefused(
                    f"all {self._options.max_sessions} places are taken; "
                    "please try again when somebody left"
                )
            self._lines[session.id] = line
            if self._worker is not None:
                self._worker.send(line.opening())
        return session

    def sessions(self) -> tuple[HostedSession, ...]:
        with self._changed:
            return tuple(line.session for line in self._lines.values())

    def stats(self) -> Mapping[str, Any]:
        lines = list(self._lines.values())
        return {
            "sessions": {"admitted": len(lines)},
            "worker": {
                "state": self._state(),
                "restarts": self._deaths,
                **self._process_numbers,
            },
            "by_session": {line.session.id: line.session.stats() for line in lines},
        }

    def stop(self) -> None:
        with self._changed:
            first, self._stopped = not self._stopped, True
            if self._failure is None:
                self._failure = "the server stopped"
            thread = self._thread
            self._changed.notify_all()
        if first:
            self._ring.send(None)
        if thread is not None:
            thread.join()

    # ---- Link ----------------------------------------------------------------------------------

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
        return line.stats() if line else {}

    def _announce(self, id: str, slot: int, stamp: Stamp) -> bool:
        worker = self._worker
        return worker is not None and worker.send(FrameIn(id, slot, stamp))

    def _opened_info(self) -> HostInfo:
        with self._changed:
            if self._failure is not None:
                raise HostRefused(self._failure)
            if self._info is None:
                raise HostRefused("the engine is still starting; please try again in a moment")
            return self._info

    def _state(self) -> str:
        if self._failure is not None:
            return "stopped" if self._stopped else "failed"
        if self._info is None:
            return "starting"
        return "restarting" if self._worker is None else "live"

    # ---- the supervising thread ----------------------------------------------------------------

    def _supervise(self) -> None:
        """One worker after another, until told to stop or until starting again is hopeless."""
        worker = WorkerProcess()
        while (how := self._attend(worker)) is not None:
            pause = self._died(how)
            if pause is None or wait([self._bell], pause):
                break
            worker = self._next_worker()
        self._wind_up(worker)

    def _attend(self, worker: WorkerProcess) -> str | None:
        """Serve one worker. Returns how it ended, or None when this host is to stop."""
        self._start_failure = ""
        self._pinged_at = None
        self._beat_at = self._spare_at = float("inf")
        worker.send(Start(self._options))
        while True:
            now = self._clock.now()
            timeout = min(self._beat_at, self._spare_at, self._hung_at()) - now
            ready = wait(
                [worker.connection, worker.sentinel, self._bell],
                None if timeout == float("inf") else max(0.0, timeout),
            )
            if self._bell in ready:
                return None
            if worker.connection in ready:
                if not self._drain(worker):
                    how = worker.end(None)
                    return self._start_failure or how
            elif worker.sentinel in ready:
                return worker.end(None)
            self._keep_up(worker, self._clock.now())
            if self._hung_at() <= self._clock.now():
                return worker.end(0.0, f"it did not answer for {self._hang_s:g} s")

    def _drain(self, worker: WorkerProcess) -> bool:
        """Handle all messages that are here; False when the worker's end is closed."""
        while worker.connection.poll():
            try:
                message: FromWorker = worker.connection.recv()
            except (EOFError, OSError):
                return False
            self._handle(worker, message)
        return True

    def _keep_up(self, worker: WorkerProcess, now: float) -> None:
        """What is due by time: the next ping, and a worker in reserve."""
        if self._beat_at <= now and self._pinged_at is None:
            worker.send(Ping(0))
            self._pinged_at = now
            self._beat_at = float("inf")
        if self._spare_at <= now:
            self._spare_at = float("inf")
            if self._spare is None and self._spare_wanted:
                self._spare = WorkerProcess()

    def _hung_at(self) -> float:
        return float("inf") if self._pinged_at is None else self._pinged_at + self._hang_s

    def _next_worker(self) -> WorkerProcess:
        spare, self._spare = self._spare, None
        if spare is not None and spare.alive:
            return spare
        if spare is not None:
            spare.end(0.0)
        return WorkerProcess()

    # ---- what a worker says --------------------------------------------------------------------

    def _handle(self, worker: WorkerProcess, message: FromWorker) -> None:
        match message:
            case FrameOut():
                self._output(worker, message)
            case FrameTaken(id, slot):
                if line := self._lines.get(id):
                    line.inbox.release(slot)
            case ControlsSeen(id):
                with self._changed:
                    line = self._lines.get(id)
                    if line is not None and line.controls_seen():
                        newest = ControlValues.of(line.session.controls)
                        worker.send(SetControls(id, newest))
            case Happened(id, event):
                self._event(worker, id, event)
            case Pong():
                self._answered(message)
            case Started(info):
                self._started(worker, info)
            case Failed(reason):
                self._start_failure = reason

    def _output(self, worker: WorkerProcess, message: FrameOut) -> None:
        line = self._lines.get(message.session)
        output = line.output(message) if line else None
        worker.send(OutputTaken(message.session, message.slot))
        if line is not None and output is not None:
            line.session.deliver(output)

    def _event(self, worker: WorkerProcess, id: str, event: Event) -> None:
        line = self._lines.get(id)
        if line is None:
            return
        if event.kind == "closed":
            worker.send(Forget(id))
            self._finish(line, event.message)
        else:
            line.session.deliver(event)

    def _answered(self, pong: Pong) -> None:
        self._pinged_at = None
        self._beat_at = self._clock.now() + (BEAT_S if self._lines else SLOW_BEAT_S)
        self._process_numbers = pong.process
        for id, numbers in pong.sessions.items():
            if line := self._lines.get(id):
                line.numbers = numbers

    def _started(self, worker: WorkerProcess, info: HostInfo) -> None:
        with self._changed:
            self._info = info
            for line in self._lines.values():
                worker.send(line.opening())
            # Only now may others send: their messages come after the openings.
            self._worker = worker
            self._changed.notify_all()
        now = self._clock.now()
        self._beat_at = now
        self._spare_at = now + SPARE_AFTER_S

    # ---- ends ----------------------------------------------------------------------------------

    def _died(self, how: str) -> float | None:
        """The worker is gone: tell everyone. Returns the pause before the next; None to give up."""
        pause = self._restarts.died(self._clock.now())
        with self._changed:
            self._worker = None
            self._deaths += 1
            if self._info is None:
                self._failure = how if self._start_failure else f"the worker did not start: {how}"
                pause = None
            elif pause is None:
                self._failure = (
                    f"the worker ended {self._restarts.limit} times within "
                    f"{self._restarts.window_s:g} s, last because {how}; giving up"
                )
            self._changed.notify_all()
            lines = list(self._lines.values())
        for line in lines:
            if line.closing is not None:
                self._finish(line, line.closing)
            elif pause is not None:
                line.session.deliver(
                    Event("interrupted", f"the worker is being started again: {how}")
                )
        return pause

    def _finish(self, line: Line, reason: str) -> None:
        with self._changed:
            if self._lines.pop(line.session.id, None) is None:
                return
        line.destroy()
        line.session.deliver(Event("closed", reason))

    def _wind_up(self, worker: WorkerProcess) -> None:
        with self._changed:
            self._worker = None
            reason = self._failure or "the server stopped"
            lines = list(self._lines.values())
        worker.send(Stop())
        for line in lines:
            self._finish(line, reason)
        if self._spare is not None:
            self._spare.end(0.0)
        worker.end(STOP_S)
