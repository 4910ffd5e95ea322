"""Captions in this process: the engine on a thread of its own. For tests, files and embedding.

Torch is loaded on that thread when the host starts, not on import.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from ..assemble import run_engine
from ..clock import Clock, SystemClock
from .host import (
    CaptionConfig,
    CaptionEvent,
    CaptionInfo,
    CaptionListener,
    CaptionOptions,
    CaptionRefused,
    Telling,
)
from .looks import Look
from .messages import Request
from .model import CaptionModel
from .roster import Roster
from .session import HostedCaptions

if TYPE_CHECKING:
    from .engine import CaptionEngine


class LocalCaptionHost:
    """Runs the captions of all viewers on a thread of this process; implements `CaptionHost`.

    Args:
        source: options to choose and load a model with, or a model that is ready.
        clock: whoever stamps the frames uses the same.
    """

    def __init__(
        self,
        source: CaptionOptions | CaptionModel | None = None,
        clock: Clock | None = None,
        max_sessions: int = 4,
    ) -> None:
        self._source = source or CaptionOptions()
        self._clock = clock or SystemClock()
        limit = source.max_sessions if isinstance(source, CaptionOptions) else max_sessions
        self._roster = Roster(limit, self._clock)
        self._wake = threading.Event()
        self._stopping = False
        self._ready: Future[CaptionEngine] = Future()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="millrace-captions")
        self._running: Future[None] | None = None

    def start(self) -> None:
        if self._running is None and not self._stopping:
            self._running = self._thread.submit(self._run)
            self._running.add_done_callback(self._ended)

    def ready(self, timeout: float | None = None) -> CaptionInfo:
        try:
            return self._ready.result(timeout).model.info
        except TimeoutError:
            if self._ready.done():
                raise
            raise TimeoutError(f"the captions were not ready within {timeout} s") from None

    def open(self, config: CaptionConfig, listener: CaptionListener) -> HostedCaptions:
        if not self._ready.done() or self._running is None or self._running.done():
            raise CaptionRefused("the captions are not running; start the host, wait for ready()")
        engine = self._ready.result()
        session = self._roster.new(config, engine.model.info, listener, self)
        for request in session.opening():
            engine.request(request, partial(self._deliver, session))
        return session

    def stats(self) -> Mapping[str, Any]:
        sessions = self._roster.all()
        return {
            "sessions": len(sessions),
            "worker": {"state": "live" if self._ready.done() else "starting", "restarts": 0},
            "by_session": {session.id: session.stats() for session in sessions},
        }

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        self._thread.shutdown(wait=True)
        self._end("the captions were switched off")

    # ---- Link ----------------------------------------------------------------------------------

    def send_look(self, session: HostedCaptions, look: Look) -> bool:
        # The engine itself counts the looks that others took the place of.
        self._ready.result().look(session.id, look)
        return True

    def send(self, session: HostedCaptions, request: Request) -> None:
        self._ready.result().request(request)

    def session_stats(self, session: HostedCaptions) -> Mapping[str, Any]:
        return self._ready.result().stats().get(session.id, {})

    # ---- the engine's thread -------------------------------------------------------------------

    def _run(self) -> None:
        # These load torch.
        from .engine import CaptionEngine
        from .registry import build

        model = self._source if isinstance(self._source, CaptionModel) else build(self._source)
        engine = CaptionEngine(model, self._clock, wake=self._wake.set)
        self._ready.set_result(engine)
        run_engine(engine, self._wake, lambda: self._stopping)

    def _deliver(self, session: HostedCaptions, telling: Telling) -> None:
        if isinstance(telling, CaptionEvent) and telling.kind == "closed":
            self._roster.remove(session.id)
        session.deliver(telling)

    def _ended(self, running: Future[None]) -> None:
        """The thread ended, by `stop` or because it failed. Nobody may wait for it any longer."""
        error = running.exception()
        if not self._ready.done():
            self._ready.set_exception(error or RuntimeError("the captions were switched off"))
        elif error is not None:
            self._end(f"the captions failed: {error}")

    def _end(self, reason: str) -> None:
        for session in self._roster.all():
            self._deliver(session, CaptionEvent("closed", reason))
