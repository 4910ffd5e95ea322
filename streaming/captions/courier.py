"""Carries what sessions say to the worker, on a thread of its own. No torch here.

A pipe may be full while the worker is busy; only this thread ever waits for it. Wishes go in order.
Of looks one a session is on its way at a time, and while it is, the newest of the others waits.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from ..process import WorkerProcess
from .looks import Look
from .messages import NewLook, Request, ToCaptions


class Courier:
    """Args:
    lost: told of a wish for which there was no worker.
    """

    def __init__(self, lost: Callable[[Request], None]) -> None:
        self._lost = lost
        self._some = threading.Condition(threading.Lock())
        self._wishes: deque[Request] = deque()
        self._looks: dict[str, Look] = {}
        self._away: set[str] = set()
        """Sessions whose last look the worker has not taken yet."""
        self._worker: WorkerProcess | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="millrace-courier", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._some:
            self._stopped = True
            self._some.notify()
        if self._thread.is_alive():
            self._thread.join()

    def post(self, wish: Request) -> None:
        """Bounded by what sessions allow themselves: a few questions and alerts each."""
        with self._some:
            self._wishes.append(wish)
            self._some.notify()

    def look(self, session: str, look: Look) -> bool:
        """False where it took the place of another."""
        with self._some:
            alone = session not in self._looks
            self._looks[session] = look
            self._some.notify()
            return alone

    def taken(self, session: str) -> None:
        """The worker took the session's last look: the next one may go."""
        with self._some:
            self._away.discard(session)
            self._some.notify()

    def connect(self, worker: WorkerProcess, first: Sequence[Request]) -> None:
        """There is a worker, to be told `first` before anything else."""
        with self._some:
            self._wishes.extendleft(reversed(first))
            self._away.clear()
            self._worker = worker
            self._some.notify()

    def disconnect(self) -> None:
        """The worker is gone. Looks wait for the next one, the newest of each session."""
        with self._some:
            self._worker = None
            self._away.clear()

    def forget(self, session: str) -> None:
        """The session ended."""
        with self._some:
            self._looks.pop(session, None)
            self._away.discard(session)

    # ---- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._some:
                self._some.wait_for(lambda: self._stopped or self._due() is not None)
                if self._stopped and not self._wishes:
                    return
                message = self._next()
                worker = self._worker
            sent = worker is not None and worker.send(message)
            if not sent and not isinstance(message, NewLook):
                self._lost(message)

    def _due(self) -> Request | str | None:
        """The next wish, or the session whose look may go."""
        if self._wishes:
            return self._wishes[0]
        if self._worker is None:
            return None
        return next((session for session in self._looks if session not in self._away), None)

    def _next(self) -> ToCaptions:
        due = self._due()
        assert due is not None, "woken for nothing"
        if not isinstance(due, str):
            return self._wishes.popleft()
        self._away.add(due)
        return NewLook(due, self._looks.pop(due))
