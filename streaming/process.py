"""One worker process seen from the web process: spawn it, talk to it, end it."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection

from . import cores, worker
from .messages import ToWorker
from .suspects import LaunchMark

_CONTEXT = multiprocessing.get_context("spawn")
"""A forked child would inherit locks that other threads hold, and no CUDA context survives it."""


class WorkerProcess:
    """A worker that loads its libraries and then waits for `Start`.

    It ends by itself when this process is gone, however that ended, because its pipe closes.

    Args:
        entry: what runs in it, given its end of the pipe and the name of its `LaunchMark`.
        name: of the process.
    """

    def __init__(
        self,
        entry: Callable[[Connection, str], None] = worker.main,
        name: str = "millrace-worker",
    ) -> None:
        self.connection, theirs = _CONTEXT.Pipe(duplex=True)
        self._mark = LaunchMark()
        self._process = _CONTEXT.Process(
            target=entry,
            args=(theirs, self._mark.name),
            name=name,
            daemon=True,
        )
        with _interrupts_held(), cores.unbound():
            self._process.start()
        # Only the child may hold its end open, or its death would not close the pipe.
        theirs.close()
        self._sending = threading.Lock()
        self._ended: str | None = None
        self.at_work: tuple[str, ...] = ()
        """The sessions that its last step was about, if it ended in a step."""

    @property
    def sentinel(self) -> int:
        return self._process.sentinel

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    @property
    def loaded(self) -> bool:
        """Whether a worker that was not started yet has loaded its libraries: it says so, and
        nothing else before its start."""
        return self._process.is_alive() and self.connection.poll()

    def send(self, message: ToWorker) -> bool:
        """False when the worker is gone; its monitor learns that by itself."""
        with self._sending:
            try:
                self.connection.send(message)
            except OSError:
                return False
            return True

    def end(self, patience_s: float | None, why: str = "") -> str:
        """Wait for its end, free what belongs to it, and say how it ended. Idempotent.

        Args:
            patience_s: how long to wait before it is killed; None waits as long as it takes.
            why: the reason, when it is this process that wants it to end.
        """
        if self._ended is None:
            self._process.join(patience_s)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
            self._ended = why or _how(self._process.exitcode)
            self.at_work = self._mark.read()
            self._mark.remove()
            self.connection.close()
        return self._ended


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal. A child started in here never sees it, not even
    while it loads: this process is the one that ends it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Starting the tracker of shared memory lets interrupts through again, so it goes first.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory, perhaps)" if name == "SIGKILL" else ""
        return f"it was ended by {name}{hint}"
    return f"it ended with exit code {code}"
