"""Keeps one worker running: starts it, listens to it, notices its end, starts the next.

A second worker, in reserve, has loaded its libraries already and waits on its pipe. It takes away
most of the time of a restart, loading torch: 1.5 s on a quiet machine, more than ten on a busy one
(measured: 11 s without and 0.9 s with it while six other processes wanted the same two cores). It
costs memory, mostly pages of libraries that both share.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Pipe, wait
from typing import Protocol

from .captions.host import CaptionOptions
from .captions.speech_model import SpeechOptions
from .clock import Clock
from .config import Options
from .messages import Failed, FromWorker, Loaded, Ping, Pong, Start, Started, Stop
from .process import WorkerProcess

BEAT_S = 0.5
"""From an answer to the next ping; statistics come with the answers."""
SPARE_AFTER_S = 3.0
"""A worker in reserve is started this long after a start, so as not to slow down the first view."""
STOP_S = 3.0
"""How long a worker may take to close its streams before it is killed."""
NEVER = float("inf")


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

    def explained(self) -> None:
        """The last two deaths have a culprit who is gone: they say nothing about the rest."""
        for _ in range(min(2, len(self._deaths))):
            self._deaths.pop()


@dataclass
class Heartbeat:
    """When to ask whether the worker's engine is alive: pure, time is an argument.

    One question is open at a time, so a worker that hangs does not find a queue of them.
    """

    hang_s: float
    _next: float = NEVER
    _asked: float | None = None

    def begin(self, now: float) -> None:
        self._next, self._asked = now, None

    def stop(self) -> None:
        self._next, self._asked = NEVER, None

    def asks(self, now: float) -> bool:
        """Whether to send a ping now; it counts as sent."""
        if now < self._next:
            return False
        self._next, self._asked = NEVER, now
        return True

    def answered(self, now: float) -> None:
        self._next, self._asked = now + BEAT_S, None

    @property
    def hangs_at(self) -> float:
        """When the worker counts as hung if no answer comes."""
        return NEVER if self._asked is None else self._asked + self.hang_s

    @property
    def due(self) -> float:
        return min(self._next, self.hangs_at)


class Handler(Protocol):
    """Who wants to know; called on the watcher's thread."""

    def started(self, worker: WorkerProcess, message: Started) -> None:
        """A worker is ready for sessions."""
        ...

    def said(self, worker: WorkerProcess, message: FromWorker) -> None: ...

    def accuse(self, how: str, at_work: Sequence[str]) -> bool:
        """The worker died in a step about these sessions. True when those to blame were found and
        closed; then this death counts no longer."""
        ...

    def died(self, how: str, final: bool) -> None:
        """The worker is gone. `final`: no other will be started."""
        ...

    def stopped(self) -> None:
        """`Watcher.stop` was called; the worker is about to end."""
        ...


class Watcher:
    """Runs workers one after another on a thread of its own.

    Args:
        options: what each worker is started with.
        spare: keep a second worker in reserve.
        hang_s: a worker that does not answer for this long is killed; longer than any step takes.
        spawn: starts the process of a worker.
    """

    def __init__(
        self,
        options: Options | CaptionOptions | SpeechOptions,
        clock: Clock,
        handler: Handler,
        *,
        spare: bool,
        hang_s: float,
        spawn: Callable[[], WorkerProcess] = WorkerProcess,
    ) -> None:
        self._spawn = spawn
        self._options = options
        self._clock = clock
        self._handler = handler
        self.restarts = Restarts()
        self._spare_wanted = spare
        self._heartbeat = Heartbeat(hang_s)
        self._spare: WorkerProcess | None = None
        self._spare_at = NEVER
        self._was_ready = False
        self._failure = ""
        self.record = False
        """Whether workers shall record spans; said with each ping."""
        self._bell, self._ring = Pipe(duplex=False)
        self._thread = threading.Thread(target=self._run, name="millrace-watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the worker and the thread; returns when both are gone."""
        self._ring.send(None)
        self._thread.join()

    @property
    def spare_ready(self) -> bool:
        """Whether a worker in reserve has loaded its libraries."""
        spare = self._spare
        return spare is not None and spare.loaded

    # ---- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        worker = self._spawn()
        while (how := self._attend(worker)) is not None:
            pause = self._pause(how, worker.at_work)
            self._handler.died(how, pause is None)
            if pause is None or wait([self._bell], pause):
                break
            worker = self._next_worker()
        self._handler.stopped()
        worker.send(Stop())
        if self._spare is not None:
            self._spare.end(0.0)
        worker.end(STOP_S)

    def _pause(self, how: str, at_work: Sequence[str]) -> float | None:
        """Seconds until the next start; None to give up."""
        if not self._was_ready:
            return None
        pause = self.restarts.died(self._clock.now())
        if self._handler.accuse(how, at_work):
            self.restarts.explained()
            return 0.0
        return pause

    def _attend(self, worker: WorkerProcess) -> str | None:
        """Serve one worker. Returns how it ended, or None when `stop` was called."""
        self._failure = ""
        self._heartbeat.stop()
        self._spare_at = NEVER
        worker.send(Start(self._options))
        while True:
            due = min(self._heartbeat.due, self._spare_at)
            ready = wait(
                [worker.connection, worker.sentinel, self._bell],
                None if due == NEVER else max(0.0, due - self._clock.now()),
            )
            if self._bell in ready:
                return None
            if worker.connection in ready:
                if not self._listen(worker):
                    how = worker.end(None)
                    return self._failure or how
            elif worker.sentinel in ready:
                return worker.end(None)
            now = self._clock.now()
            if self._heartbeat.hangs_at <= now:
                return worker.end(0.0, f"it did not answer for {self._heartbeat.hang_s:g} s")
            if self._heartbeat.asks(now):
                worker.send(Ping(self.record))
            self._stock(now)

    def _listen(self, worker: WorkerProcess) -> bool:
        """Handle all messages that are here; False when the worker's end is closed."""
        while worker.connection.poll():
            try:
                message: FromWorker = worker.connection.recv()
            except (EOFError, OSError):
                return False
            match message:
                case Loaded():
                    pass
                case Started():
                    self._was_ready = True
                    now = self._clock.now()
                    self._heartbeat.begin(now)
                    self._spare_at = now + SPARE_AFTER_S
                    self._handler.started(worker, message)
                case Failed(reason):
                    self._failure = reason
                case _:
                    if isinstance(message, Pong):
                        self._heartbeat.answered(self._clock.now())
                    self._handler.said(worker, message)
        return True

    def _stock(self, now: float) -> None:
        if self._spare_at <= now:
            self._spare_at = NEVER
            if self._spare is None and self._spare_wanted:
                self._spare = self._spawn()

    def _next_worker(self) -> WorkerProcess:
        spare, self._spare = self._spare, None
        if spare is not None and spare.alive:
            return spare
        if spare is not None:
            spare.end(0.0)
        return self._spawn()
