"""A host in this process: the engine on a thread of its own. For tests, files and embedding.

Torch is loaded on that thread when the host starts, not on import.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from .assemble import Assembled, assemble, assemble_around, run_engine
from .clock import Clock, SystemClock
from .config import EngineConfig, Options
from .frames import Frame
from .host import HostInfo, HostRefused, Listener
from .pipeline import Pipeline, StreamConfig
from .session import EngineSession, HostedSession, defaults
from .telemetry import process_stats
from .totals import Tally
from .trace import Span, Trace

if TYPE_CHECKING:
    from .engine import Engine


class LocalHost:
    """Runs sessions on a thread of this process.

    Args:
        source: options to choose and build a pipeline with, or a pipeline that exists.
        config: device and limits of the engine around an existing pipeline.
        clock: whoever stamps the frames must use the same.
    """

    def __init__(
        self,
        source: Options | Pipeline,
        config: EngineConfig | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._source = source
        self._config = config or EngineConfig()
        self._clock = clock or SystemClock()
        self._wake = threading.Event()
        self._stopping = False
        self._ready: Future[Assembled] = Future()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="millrace-engine")
        self._running: Future[None] | None = None
        self._lock = threading.Lock()
        self._sessions: dict[str, HostedSession] = {}
        self._records: dict[str, EngineSession] = {}
        self._ids = itertools.count(1)
        self._trace = Trace()

    def start(self) -> None:
        if self._running is None:
            self._running = self._thread.submit(self._run)
            self._running.add_done_callback(self._ended)

    def ready(self, timeout: float | None = None) -> HostInfo:
        try:
            return self._ready.result(timeout).info
        except TimeoutError:
            if self._ready.done():
                raise
            raise TimeoutError(f"the engine was not ready within {timeout} s") from None

    def open(
        self, config: StreamConfig, listener: Listener, changes: Mapping[str, object] | None = None
    ) -> HostedSession:
        if not self._ready.done() or self._running is None or self._running.done():
            raise HostRefused("the engine is not running; start the host and wait for ready()")
        engine = self._ready.result().engine
        schema = engine.info.controls
        session = HostedSession(
            f"s{next(self._ids)}", config, schema, defaults(schema, changes), listener, self
        )
        with self._lock:
            self._forget_closed()
            self._records[session.id] = engine.open(
                session.id, config, session.controls, session.deliver
            )
            self._sessions[session.id] = session
        return session

    def sessions(self) -> tuple[HostedSession, ...]:
        with self._lock:
            self._forget_closed()
            return tuple(self._sessions.values())

    def _forget_closed(self) -> None:
        gone = [id for id, session in self._sessions.items() if session.state == "closed"]
        for id in gone:
            del self._sessions[id], self._records[id]

    def stats(self) -> Mapping[str, Any]:
        live = self.sessions()
        return {
            "sessions": {"admitted": len(live)},
            "worker": {"state": self._state(), "restarts": 0, **process_stats()},
            "totals": self._totals(),
            "by_session": {s.id: s.stats() for s in live},
        }

    def record(self, on: bool) -> None:
        """Begin or end recording spans."""
        if (engine := self._engine) is not None:
            engine.trace = (engine.trace or self._trace) if on else None

    def recorded(self) -> tuple[Span, ...]:
        """The spans since the last call; a bounded number, the newest."""
        return self._trace.drain()

    def _state(self) -> str:
        """As `WorkerHost.state` has it; nothing is ever started again here."""
        if self._running is not None and self._running.done():
            return "stopped" if self._running.exception() is None else "failed"
        return "live" if self._ready.done() else "starting"

    def _totals(self) -> Tally:
        return {} if self._engine is None else self._engine.totals.plain()

    @property
    def _engine(self) -> Engine | None:
        """None until it is there, and for good when it could not be built."""
        if not self._ready.done() or self._ready.exception() is not None:
            return None
        return self._ready.result().engine

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        self._thread.shutdown(wait=True)

    # ---- Link ----------------------------------------------------------------------------------

    def send_frame(self, session: HostedSession, frame: Frame) -> None:
        record = self._records.get(session.id)
        if record is not None:
            record.mailbox.put(frame)

    def send_controls(self, session: HostedSession) -> None:
        record = self._records.get(session.id)
        if record is not None:
            record.controls = session.controls

    def send_close(self, session: HostedSession, reason: str) -> None:
        record = self._records.get(session.id)
        if record is not None:
            self._ready.result().engine.close(record, reason)

    def session_stats(self, session: HostedSession) -> Mapping[str, Any]:
        record = self._records.get(session.id)
        if record is None:
            return {}
        numbers = self._ready.result().engine.session_stats(record)
        return {**numbers, "memory_mb": process_stats()["memory_mb"]}

    # ---- the engine's thread -------------------------------------------------------------------

    def _run(self) -> None:
        if isinstance(self._source, Options):
            built = assemble(self._source, self._clock, self._wake.set)
        else:
            built = assemble_around(self._source, self._config, self._clock, self._wake.set)
        self._ready.set_result(built)
        run_engine(built.engine, self._wake, lambda: self._stopping)

    def _ended(self, running: Future[None]) -> None:
        """The thread ended: by `stop`, or because it failed. Nobody may wait for it any longer."""
        error = running.exception()
        if not self._ready.done():
            self._ready.set_exception(error or RuntimeError("the host was stopped"))
        elif error is not None:
            self._ready.result().engine.shutdown(f"the engine failed: {error}")
