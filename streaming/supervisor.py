"""A host whose engine runs in a worker process that is watched and, when it dies, started again.

The web process never waits for the worker: frames go through shared-memory slots, everything else
is small messages. When the worker is gone its sessions stay: they are told "interrupted", opened
again in the next worker with their current controls, and told "live" when their stream is back.
"""

from __future__ import annotations

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
from .watched import Named, WatchedHost
from .watcher import Watcher

NAMED = Named("the worker", "the worker", "the server stopped")


class WorkerHost(WatchedHost[HostInfo]):
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
        self.exchange = Exchange(self._clock)
        super().__init__(NAMED, self.exchange.changed)
        self._watcher = Watcher(options, self._clock, self, spare=spare, hang_s=hang_s)
        self._ids = itertools.count(1)

    # ---- Host ----------------------------------------------------------------------------------

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
        worker = {"state": self.state, "restarts": self._deaths, **self.exchange.process}
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
    def spare_ready(self) -> bool:
        """Whether a worker in reserve has loaded its libraries."""
        return self._watcher.spare_ready

    def _known_info(self) -> HostInfo:
        with self._changed:
            if self._failure:
                raise HostRefused(self._failure)
            if self._info is None:
                raise HostRefused("the engine is still starting; please try again in a moment")
            return self._info

    def _refuses(self, count: int) -> str | None:
        places = self._options.max_sessions
        if self._failure or count < places:
            return self._failure or None
        return f"all {places} places are taken; please try again when somebody left"

    # ---- Handler: what becomes of the worker, on the watcher's thread --------------------------

    def started(self, worker: WorkerProcess, message: Started) -> None:
        assert isinstance(message.info, HostInfo), "this worker makes pictures"
        with self._changed:
            self.exchange.connect(worker)
            self._came(message.info)

    def said(self, worker: WorkerProcess, message: FromWorker) -> None:
        self.exchange.said(worker, message)

    def accuse(self, how: str, at_work: Sequence[str]) -> bool:
        return self.exchange.accuse(how, at_work)

    def died(self, how: str, final: bool) -> None:
        with self._changed:
            lines = self.exchange.disconnect()
            self._went(how, final)
        self.exchange.interrupt(lines, how, final)

    def stopped(self) -> None:
        self.exchange.close(self._failure)
