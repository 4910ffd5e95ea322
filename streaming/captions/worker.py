"""The process that tells: an engine of captions, fed and answered over a pipe.

The engine ticks on the main thread. A second thread receives messages; both may send. This module
loads no torch on import, so that the waiting policy of its threads can be set first.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import threading
from functools import partial
from multiprocessing.connection import Connection

from ..assemble import quiet_threads, run_engine
from ..clock import SystemClock
from ..messages import Loaded, Ping, Pong, Start, Started, Stop, ToWorker
from ..suspects import LaunchMark
from ..telemetry import process_stats
from ..worker import ReportedStart
from .host import CaptionOptions, Telling
from .messages import LookTaken, NewLook, OpenCaptions, Request, Told

NICENESS = 10
"""Below everything that makes pictures."""


def main(connection: Connection, mark: str) -> None:
    """Entry point of the process: load torch, wait for `Start`, run until told to stop or until
    the web process is gone.

    Args:
        mark: name of the `LaunchMark` that says whom the running work is about.
    """
    # Ctrl-C reaches the whole group; the web process decides when the worker ends. SIGTERM ends it
    # at once: there is nothing to save.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    quiet_threads(os.environ)
    if hasattr(os, "nice"):  # not on Windows
        os.nice(NICENESS)
    # The slow part of a start.
    importlib.import_module(".engine", __package__)
    try:
        connection.send(Loaded())
        start = connection.recv()
    except (EOFError, OSError):
        return
    if isinstance(start, Start):
        CaptionWorker(connection, LaunchMark(mark)).run(start)


class CaptionWorker:
    """The web process's far end.

    Args:
        connection: to the web process; gone when that process is.
        mark: says whom the running work is about.
    """

    def __init__(self, connection: Connection, mark: LaunchMark) -> None:
        self._connection = connection
        self._mark = mark
        self._sending = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._asked = False

    def run(self, start: Start) -> None:
        # These load torch.
        from .engine import CaptionEngine
        from .registry import build

        assert isinstance(start.options, CaptionOptions), "this worker tells"
        with ReportedStart(self._send):
            model = build(start.options)
        self._engine = CaptionEngine(
            model,
            SystemClock(),
            wake=self._wake.set,
            taken=lambda id: self._send(LookTaken(id)),
            at_work=self._mark.write,
        )
        self._send(Started(model.info))
        # What exists now stays for good: never look through it for garbage again.
        gc.collect()
        gc.freeze()
        threading.Thread(target=self._receive, name="millrace-receive", daemon=True).start()
        run_engine(self._engine, self._wake, lambda: self._stopping, self._answer)

    def _answer(self) -> None:
        """Between ticks: a ping is answered here, so that an answer means a living engine."""
        asked, self._asked = self._asked, False
        if asked:
            self._send(Pong(self._engine.stats(), process_stats()))

    def _send(self, message: object) -> None:
        with self._sending:
            try:
                self._connection.send(message)
            except OSError:
                # The web process is gone, so there is nothing left to do here.
                self._stop()

    def _told(self, session: str, telling: Telling) -> None:
        self._send(Told(session, telling))

    def _receive(self) -> None:
        while not self._stopping:
            try:
                message: ToWorker = self._connection.recv()
            except (EOFError, OSError):
                self._stop()
                return
            self._handle(message)

    def _handle(self, message: ToWorker) -> None:
        match message:
            case NewLook(session, look):
                if not self._engine.look(session, look):
                    self._send(LookTaken(session))
            case OpenCaptions(session=session):
                self._engine.request(message, partial(self._told, session))
            case Ping():
                self._asked = True
                self._wake.set()
            case Stop():
                self._stop()
            case _ if isinstance(message, Request):
                self._engine.request(message)

    def _stop(self) -> None:
        self._stopping = True
        self._wake.set()
