"""A host whose engine runs in a worker process that is watched and, when it dies, started again.

The web process never waits for the worker: frames go through shared-memory slots, everything else
is small messages. When the worker is gone its sessions stay: they are told "interrupted", opened
again in the next worker with their current controls, and told "live" when their stream is back.
"""

from __future__ import annotations

import atexit
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .clock import Clock, SystemClock
from .config import Options
from .exchange import Exchange
from .host import Event, HostInfo, HostRefused, Listener, Output
from .line import Kept
from .messages import FromWorker, Started
from .pipeline import StreamConfig
from .process import WorkerProcess
from .session import HostedSession, check_size, defaults
from .trace import Span
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
        self._watcher = Watcher(options, self._clock, self, spare=spare, hang_s=hang_s)
        self.exchange = Exchange(self._clock)
        self._changed = self.exchange.changed
        self._began = False
        self._stopped = False
        self._failure: str | None = None
        self._info: HostInfo | None = None
        self._ids = itertools.count(1)
        self._deaths = 0

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
            f"s{next(self._ids)}",
            config,
            schema,
            defaults(schema, changes),
            listener,
            self.exchange,
        )
        self.attach(session, session.deliver)
        return session

    def attach(
        self, session: HostedSession, deliver: Callable[[Output | Event], None], parcel: str = ""
    ) -> None:
        """Take in a session whose handle exists already, see `Exchange.attach`.

        Raises:
            HostRefused: see `open`.
        """
        chunk = self._known_info().pipeline.chunk
        self.exchange.attach(session, chunk, deliver, parcel, self._refuses)

    def detach(self, session: HostedSession) -> None:
        """Let a session go without a word: it lives on elsewhere."""
        self.exchange.detach(session)

    def save(self, session: HostedSession, path: str, saved: Callable[[str], None]) -> list[Kept]:
        """Pack a session into a file, see `Exchange.save`."""
        return self.exchange.save(session, path, saved)

    def stay(self, session: HostedSession) -> None:
        """The move was called off: the session goes on here."""
        self.exchange.stay(session)

    def sessions(self) -> tuple[HostedSession, ...]:
        return self.exchange.sessions()

    def stats(self) -> Mapping[str, Any]:
        sessions = self.sessions()
        worker = {"state": self._state(), "restarts": self._deaths, **self.exchange.process}
        return {
            "sessions": {"admitted": len(sessions)},
            "worker": worker,
            "totals": self.exchange.ledger.total(),
            "by_session": {session.id: session.stats() for session in sessions},
        }

    def record(self, on: bool) -> None:
        """Begin or end recording spans, at the worker's next answer (`watcher.BEAT_S`)."""
        self._watcher.record = on

    def recorded(self) -> tuple[Span, ...]:
        """The spans that came since the last call; a bounded number, the newest."""
        return self.exchange.trace.drain()

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
    def costs(self) -> tuple[Any, ...]:
        """What the worker last said about how long things take, see `CostTable.from_json`."""
        return self.exchange.costs

    @property
    def interference(self) -> float:
        """How many times longer things take than the costs say, at present."""
        return float(self.exchange.process.get("interference", 1.0))

    @property
    def memory_free(self) -> float:
        """Share of the device's memory that is free, as the worker last said."""
        return float(self.exchange.process.get("memory_free", 1.0))

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

    def _refuses(self, count: int) -> str | None:
        places = self._options.max_sessions
        if self._failure is not None or count < places:
            return self._failure
        return f"all {places} places are taken; please try again when somebody left"

    def _state(self) -> str:
        if self._failure is not None:
            return "stopped" if self._stopped else "failed"
        if self._info is None:
            return "starting"
        return "restarting" if self.exchange.worker is None else "live"

    # ---- Handler: what becomes of the worker, on the watcher's thread --------------------------

    def started(self, worker: WorkerProcess, message: Started) -> None:
        assert isinstance(message.info, HostInfo), "this worker makes pictures"
        with self._changed:
            self._info = message.info
            self.exchange.connect(worker)
            self._changed.notify_all()

    def said(self, worker: WorkerProcess, message: FromWorker) -> None:
        self.exchange.said(worker, message)

    def accuse(self, how: str, at_work: Sequence[str]) -> bool:
        return self.exchange.accuse(how, at_work)

    def died(self, how: str, final: bool) -> None:
        with self._changed:
            lines = self.exchange.disconnect()
            self._deaths += 1
            if final:
                self._failure = self._last_words(how)
            self._changed.notify_all()
        self.exchange.interrupt(lines, how, final)

    def stopped(self) -> None:
        self.exchange.close(self._failure or "")

    def _last_words(self, how: str) -> str:
        if self._info is None:
            return f"the worker could not start: {how}"
        return (
            f"the worker ended {self.restarts.limit} times within {self.restarts.window_s:g} s, "
            f"last because {how}; giving up"
        )
