"""Speech recognition as the web process sees it: a watched worker that hears all viewers.

Sound waits in a bounded queue for each session: when more comes than the worker hears, the oldest
goes and is counted. When the worker dies it is started again, and what was not final stays so.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..clock import Clock, SystemClock
from ..messages import FromWorker, Pong, Started, ToWorker
from ..process import WorkerProcess
from ..watched import Named, WatchedHost
from ..watcher import Watcher
from .speech import SPEECH_RATE, Piece, Words
from .speech_messages import CloseSpeech, Heard, NewPiece, OpenSpeech, PieceTaken
from .speech_model import SpeechInfo, SpeechOptions
from .speech_worker import main

NAMED = Named("the speech model", "the worker that hears", "it was switched off")
WAITING = 30
"""Pieces of a session that wait at most, 3 s when each is a tenth of one; the oldest goes."""
AWAY = 10
"""Pieces of a session that the worker has not taken: a second."""
HANG_S = 60.0
LAST_WORDS = 400
"""Characters of the loader's own words that are passed on."""

Listener = Callable[[Words], None]
"""Called on a thread of the host; must return at once."""


class SpeechSession:
    """One viewer's ear. Methods return at once and may be called from any thread."""

    def __init__(self, id: str, host: SpeechHost, listener: Listener) -> None:
        self.id = id
        self.listener = listener
        self.waiting: deque[Piece] = deque()
        self.away = 0
        self.next_id = 0
        self.dropped = 0
        """Samples that were let go because too many waited."""
        self.heard = 0
        self.closed = False
        self._host = host

    def hear(self, piece: Piece) -> None:
        """Sound, in the order of its times."""
        self._host.hear(self, piece)

    def close(self) -> None:
        self._host.close(self)

    def stats(self) -> Mapping[str, Any]:
        return {
            "heard_s": round(self.heard / SPEECH_RATE, 1),
            "waiting": len(self.waiting) + self.away,
            "dropped_s": round(self.dropped / SPEECH_RATE, 1),
            "utterances": self.next_id,
        }


class SpeechHost(WatchedHost[SpeechInfo]):
    """Hears all viewers in one worker process."""

    def __init__(self, options: SpeechOptions, clock: Clock | None = None) -> None:
        super().__init__(NAMED)
        handle, log = tempfile.mkstemp(prefix="millrace-speech-", suffix=".log")
        os.close(handle)
        self._log = Path(log)
        self._options = options
        self._watcher = Watcher(
            replace(options, log=log),
            clock or SystemClock(),
            self,
            spare=False,
            hang_s=HANG_S,
            spawn=partial(WorkerProcess, main, "millrace-speech"),
        )
        self._sessions: dict[str, SpeechSession] = {}
        self._ids = itertools.count(1)
        self._out: deque[ToWorker] = deque()
        """What is to be said besides pieces: bounded by the sessions' comings and goings."""
        self._worker: WorkerProcess | None = None
        self._process: Mapping[str, Any] = {}
        self._courier = threading.Thread(target=self._carry, name="speech-courier", daemon=True)

    @property
    def sentence(self) -> str:
        """What a viewer is told about it."""
        if self._failure:
            return f"Speech is not heard: {self._failure}"
        return self._info.sentence if self._info else "The speech model is being loaded."

    def open(self, listener: Listener) -> SpeechSession:
        """An ear for one viewer; it hears as soon as the model is there."""
        with self._changed:
            session = SpeechSession(f"v{next(self._ids)}", self, listener)
            self._sessions[session.id] = session
            self._say(OpenSpeech(session.id, 0))
        return session

    def stats(self) -> Mapping[str, Any]:
        return {"state": self.state, "restarts": self._deaths, **self._process}

    def _begin(self) -> None:
        self._courier.start()

    def stop(self) -> None:
        super().stop()
        self._log.unlink(missing_ok=True)

    def _end(self) -> None:
        self._courier.join()

    # ---- sessions ------------------------------------------------------------------------------

    def hear(self, session: SpeechSession, piece: Piece) -> None:
        with self._changed:
            if session.closed or self._failure:
                return
            if len(session.waiting) >= WAITING:
                session.dropped += len(session.waiting.popleft().samples)
            session.waiting.append(piece)
            self._changed.notify_all()

    def close(self, session: SpeechSession) -> None:
        with self._changed:
            session.closed = True
            session.waiting.clear()
            session.away = 0
            if self._sessions.pop(session.id, None) is not None:
                self._say(CloseSpeech(session.id))

    # ---- the courier's thread, the only one that waits for the pipe ------------------------------

    def _say(self, message: ToWorker) -> None:
        """Without a worker nothing needs saying: the next one is told of all sessions."""
        if self._worker is not None:
            self._out.append(message)
            self._changed.notify_all()

    def _carry(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._due() is not None)
                if self._stopped:
                    return
                message, worker = self._next(), self._worker
            if worker is not None:
                worker.send(message)

    def _due(self) -> ToWorker | SpeechSession | None:
        if self._worker is None:
            return None
        if self._out:
            return self._out[0]
        able = (s for s in self._sessions.values() if s.waiting and s.away < AWAY)
        return next(able, None)

    def _next(self) -> ToWorker:
        due = self._due()
        assert due is not None, "woken for nothing"
        if not isinstance(due, SpeechSession):
            return self._out.popleft()
        piece = due.waiting.popleft()
        due.away += 1
        due.heard += len(piece.samples)
        # The others' turn comes before this one's next.
        self._sessions[due.id] = self._sessions.pop(due.id)
        return NewPiece(due.id, piece)

    # ---- what becomes of the worker, on the watcher's thread -------------------------------------

    def started(self, worker: WorkerProcess, message: Started) -> None:
        assert isinstance(message.info, SpeechInfo), "this worker hears"
        with self._changed:
            self._worker = worker
            self._out.clear()
            for session in self._sessions.values():
                session.away = 0
                self._out.append(OpenSpeech(session.id, session.next_id))
            self._came(message.info)

    def said(self, worker: WorkerProcess, message: FromWorker) -> None:
        match message:
            case Heard(id, words):
                session = self._sessions.get(id)
                if session is not None:
                    session.next_id = words.id + 1
                    session.listener(words)
            case PieceTaken(id):
                with self._changed:
                    session = self._sessions.get(id)
                    if session is not None:
                        session.away -= 1
                        self._changed.notify_all()
            case Pong():
                self._process = message.process

    def died(self, how: str, final: bool) -> None:
        with self._changed:
            self._worker = None
            self._went(how, final)

    def stopped(self) -> None:
        with self._changed:
            self._worker = None

    def _last_words(self, how: str) -> str:
        if self._info is not None:
            return super()._last_words(how)
        said = self._log.read_text("utf-8", "replace").strip() if self._log.exists() else ""
        words = f"; its loader said: {said[-LAST_WORDS:]}" if said else ""
        if not how.startswith("it "):  # a reason of ours says it all
            return how
        return (
            f"the model in {self._options.path} could not be loaded ({how}); it is not a streaming "
            f"model, or its files do not belong together{words}"
        )
