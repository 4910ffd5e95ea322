"""Captions in a worker process that is watched and, when it dies, started again. No torch here.

The worker runs below everything else (nice 10, one thread), so the video comes first. When it is
gone its sessions stay: they are told "interrupted", are opened again in the next worker with their
alerts and an empty memory, and are told "live". A session whose work ends one worker after another
is ended alone, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ..clock import Clock, SystemClock
from ..messages import FromWorker, Pong, Started
from ..process import WorkerProcess
from ..suspects import Blame
from ..watched import Named, WatchedHost
from ..watcher import Watcher
from .courier import Courier
from .host import (
    AnswerPart,
    CaptionConfig,
    CaptionEvent,
    CaptionInfo,
    CaptionListener,
    CaptionOptions,
    CaptionRefused,
)
from .looks import Look
from .messages import Acquit, Ask, CloseCaptions, LookTaken, Request, Told
from .roster import Roster
from .session import HostedCaptions
from .worker import main

NAMED = Named("the captions", "the captions' worker", "the captions were switched off")
HANG_S = 60.0
"""A large model may take long for one pass on a busy machine."""


class CaptionWorkerHost(WatchedHost[CaptionInfo]):
    """Runs the captions of all viewers in a worker process; implements `CaptionHost`.

    Args:
        clock: whoever stamps the frames uses the same; `SystemClock` is shared by all processes.
        hang_s: a worker that does not answer for this long is killed.
    """

    def __init__(
        self,
        options: CaptionOptions | None = None,
        clock: Clock | None = None,
        *,
        hang_s: float = HANG_S,
    ) -> None:
        super().__init__(NAMED)
        self._options = options or CaptionOptions()
        self._clock = clock or SystemClock()
        self._roster = Roster(self._options.max_sessions, self._clock)
        self._courier = Courier(self._lost)
        self._blame = Blame()
        self._watcher = Watcher(
            self._options,
            self._clock,
            self,
            spare=False,
            hang_s=hang_s,
            spawn=partial(WorkerProcess, main, "millrace-captions"),
        )
        self._process: Mapping[str, Any] = {}
        self._numbers: Mapping[str, Mapping[str, Any]] = {}

    # ---- CaptionHost ---------------------------------------------------------------------------

    def open(self, config: CaptionConfig, listener: CaptionListener) -> HostedCaptions:
        with self._changed:
            info, failure = self._info, self._failure
        if failure:
            raise CaptionRefused(failure)
        if info is None:
            raise CaptionRefused("the captions are still starting; please try again in a moment")
        session = self._roster.new(config, info, listener, self)
        for request in session.opening():
            self._courier.post(request)
        return session

    def stats(self) -> Mapping[str, Any]:
        sessions = self._roster.all()
        return {
            "sessions": len(sessions),
            "worker": {"state": self.state, "restarts": self._deaths, **self._process},
            "by_session": {session.id: session.stats() for session in sessions},
        }

    def _begin(self) -> None:
        self._courier.start()

    def _end(self) -> None:
        self._courier.stop()

    # ---- Link ----------------------------------------------------------------------------------

    def send_look(self, session: HostedCaptions, look: Look) -> bool:
        return self._courier.look(session.id, look)

    def send(self, session: HostedCaptions, request: Request) -> None:
        self._courier.post(request)

    def session_stats(self, session: HostedCaptions) -> Mapping[str, Any]:
        return self._numbers.get(session.id, {})

    def _lost(self, request: Request) -> None:
        """There is no worker. What it should know of its sessions it will be told when it is
        there; what cannot wait is answered here."""
        session = self._roster.get(request.session)
        if session is None:
            return
        if isinstance(request, Ask):
            why = self._failure or "the worker is being started again; please ask in a moment"
            session.deliver(AnswerPart(request.number, "", True, error=why))
        elif isinstance(request, CloseCaptions):
            self._finish(session, request.reason)

    # ---- Handler: what becomes of the worker, on the watcher's thread --------------------------

    def started(self, worker: WorkerProcess, message: Started) -> None:
        assert isinstance(message.info, CaptionInfo), "this worker tells"
        with self._changed:
            self._process = {"pid": worker.pid}
            self._came(message.info)
        first = [
            request
            for session in self._roster.all()
            for request in session.opening(self._blame.suspects(session.id))
        ]
        self._courier.connect(worker, first)

    def said(self, worker: WorkerProcess, message: FromWorker) -> None:
        match message:
            case Told(id, telling):
                session = self._roster.get(id)
                if session is None:
                    return
                if isinstance(telling, CaptionEvent) and telling.kind == "closed":
                    self._finish(session, telling.message)
                else:
                    session.deliver(telling)
            case LookTaken(id):
                self._courier.taken(id)
            case Pong():
                self._numbers, self._process = message.sessions, message.process
                for id in self._blame.lapsed(self._clock.now()):
                    self._courier.post(Acquit(id))

    def accuse(self, how: str, at_work: Sequence[str]) -> bool:
        here = [id for id in at_work if self._roster.get(id) is not None]
        guilty = self._blame.died(self._clock.now(), here)
        for id in guilty:
            if (session := self._roster.get(id)) is not None:
                self._finish(
                    session,
                    f"the captions' worker died twice within {self._blame.window_s:g} s while at "
                    f"work on this session ({how}), so its captions are not begun again",
                )
        return bool(guilty)

    def died(self, how: str, final: bool) -> None:
        self._courier.disconnect()
        with self._changed:
            self._went(how, final)
        for session in self._roster.all():
            if final or session.closing is not None:
                self._finish(session, session.closing or self._failure)
            else:
                words = f"the captions are being started again: {how}"
                session.deliver(CaptionEvent("interrupted", words))
        self._numbers = {}

    def stopped(self) -> None:
        for session in self._roster.all():
            self._finish(session, self._failure)

    def _finish(self, session: HostedCaptions, reason: str) -> None:
        self._roster.remove(session.id)
        self._blame.forget(session.id)
        self._courier.forget(session.id)
        session.deliver(CaptionEvent("closed", reason))
