"""The process that owns a device: an engine, fed and answered over a pipe and shared memory.

The engine ticks on the main thread. A second thread receives messages; both may send. This module
loads no torch on import, so that the waiting policy of its threads can be set first.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from .assemble import assemble, quiet_threads, run_engine
from .clock import SystemClock
from .config import ConfigError, Options
from .messages import (
    Failed,
    FromWorker,
    Loaded,
    Ping,
    Pong,
    Start,
    Started,
    Stop,
    ToWorker,
)
from .places import Places, ToPlaces
from .suspects import LaunchMark
from .telemetry import process_stats
from .totals import BusyShare
from .trace import Span, Trace

if TYPE_CHECKING:
    from .engine import Engine

COSTS_EVERY = 10
"""Answers from one that brings the table of costs to the next: it changes slowly."""


def main(connection: Connection, mark: str) -> None:
    """Entry point of the process: load torch, wait for `Start`, run until told to stop or until
    the web process is gone.

    Args:
        mark: name of the `LaunchMark` that says whom the running step is about.
    """
    # Ctrl-C reaches the whole group; the web process decides when the worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet_threads(os.environ)
    # The slow part of a start, done before anyone waits when this process is kept in reserve.
    importlib.import_module(".engine", __package__)
    try:
        connection.send(Loaded())
        start = connection.recv()
    except (EOFError, OSError):
        return
    if isinstance(start, Start):
        Worker(connection, LaunchMark(mark)).run(start)


class ReportedStart:
    """Tells the web process why a start failed; the failure goes on its way."""

    def __init__(self, send: Callable[[Failed], object]) -> None:
        self._send = send

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ConfigError):
            # A wrong setting: its message says it all, a traceback would only hide it.
            self._send(Failed(str(error)))
            raise SystemExit(1) from error
        if error is not None:
            self._send(Failed(f"{type(error).__name__}: {error}"))


class Worker:
    """The web process's far end.

    Args:
        connection: to the web process; gone when that process is.
        mark: says whom the running step is about.
    """

    def __init__(self, connection: Connection, mark: LaunchMark) -> None:
        self._connection = connection
        self._mark = mark
        self._sending = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._asked = False
        self._answers = 0
        self._record = False
        self._busy = BusyShare()
        self._clock = SystemClock()

    def run(self, start: Start) -> None:
        assert isinstance(start.options, Options), "this worker makes pictures"
        with ReportedStart(self._send):
            built = assemble(start.options, self._clock, self._wake.set, binds=True)
        engine, places = built.engine, Places(built.engine, self._send)
        engine.watch_launches = self._mark.write
        import torch

        gpus = torch.cuda.device_count()
        self._send(Started(replace(built.info, portable=engine.portable, gpus=gpus)))
        # What exists now stays for good: never look through it for garbage again.
        gc.collect()
        gc.freeze()
        threading.Thread(
            target=self._receive, args=(places,), name="millrace-receive", daemon=True
        ).start()
        answer = partial(self._answer, engine, places)
        run_engine(engine, self._wake, lambda: self._stopping, answer)

    # ---- the engine's thread ---------------------------------------------------------------------

    def _answer(self, engine: Engine, places: Places) -> None:
        """Between ticks: a ping is answered here, so that an answer means a living engine."""
        asked, self._asked = self._asked, False
        if not asked:
            return
        sessions = engine.stats()
        for id, numbers in sessions.items():
            numbers["drops"]["outbox"] = places.dropped(id)
        costs = tuple(engine.costs.to_json()) if self._answers % COSTS_EVERY == 0 else None
        self._answers += 1
        totals, spans = engine.totals.plain(), self._spans(engine)
        self._send(Pong(sessions, self._process(engine), totals, spans, costs))

    def _process(self, engine: Engine) -> dict[str, Any]:
        worked = engine.totals.counted("busy_seconds")
        share = self._busy.of(self._clock.now(), worked)
        return {
            **process_stats(),
            "busy_share": round(share, 4),
            "interference": round(engine.costs.interference, 3),
            "memory_free": round(engine.memory_free(), 4),
        }

    def _spans(self, engine: Engine) -> tuple[Span, ...]:
        """What was recorded since the last answer; starts and stops as the web process asked."""
        trace = engine.trace
        if self._record != (trace is not None):
            engine.trace = Trace() if self._record else None
        return trace.drain() if trace is not None else ()

    def _send(self, message: FromWorker) -> bool:
        with self._sending:
            try:
                self._connection.send(message)
            except OSError:
                # The web process is gone, so there is nothing left to do here.
                self._stop()
                return False
            return True

    # ---- the receiving thread --------------------------------------------------------------------

    def _receive(self, places: Places) -> None:
        while not self._stopping:
            try:
                message: ToWorker = self._connection.recv()
            except (EOFError, OSError):
                self._stop()
                return
            self._handle(message, places)

    def _handle(self, message: ToWorker, places: Places) -> None:
        match message:
            case Ping(record):
                self._asked, self._record = True, record
                self._wake.set()
            case Stop():
                self._stop()
            case _:
                assert isinstance(message, ToPlaces), f"{type(message).__name__} does not come here"
                places.handle(message)

    def _stop(self) -> None:
        self._stopping = True
        self._wake.set()
