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
from pathlib import Path
from typing import Any

from .assemble import assemble, quiet_threads, run_engine
from .clock import SystemClock
from .config import ConfigError, Options
from .frames import Frame, Stamp
from .host import Event, HostRefused, Output
from .messages import (
    Close,
    ControlsSeen,
    Failed,
    Forget,
    FrameIn,
    FrameOut,
    FrameTaken,
    FromWorker,
    Happened,
    Loaded,
    Open,
    OutputMeta,
    OutputTaken,
    Ping,
    Pong,
    Save,
    Saved,
    SetControls,
    Start,
    Started,
    Stay,
    Stop,
    ToWorker,
    Trust,
)
from .moving import Parcel
from .session import EngineSession
from .slots import FrameBlock, SlotSender
from .suspects import LaunchMark
from .telemetry import process_stats
from .totals import BusyShare
from .trace import Span, Trace

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


class Place:
    """One session as this process sees it."""

    def __init__(self, record: EngineSession, block: FrameBlock, out: SlotSender[OutputMeta]):
        self.record = record
        self.block = block
        self.out = out
        self.parcel: Parcel | None = None
        """What it was when it was saved, while it waits to go or to stay."""
        self.unsaid: Saved | None = None
        """To be said when its last picture is out."""


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
        self._settling = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._asked = False
        self._answers = 0
        self._record = False
        self._busy = BusyShare()
        self._places: dict[str, Place] = {}
        self._clock = SystemClock()

    def run(self, start: Start) -> None:
        assert isinstance(start.options, Options), "this worker makes pictures"
        with ReportedStart(self._send):
            built = assemble(start.options, self._clock, self._wake.set)
        self._engine = built.engine
        built.engine.watch_launches = self._mark.write
        import torch

        gpus = torch.cuda.device_count()
        self._send(Started(replace(built.info, portable=built.engine.portable, gpus=gpus)))
        # What exists now stays for good: never look through it for garbage again.
        gc.collect()
        gc.freeze()
        threading.Thread(target=self._receive, name="millrace-receive", daemon=True).start()
        run_engine(built.engine, self._wake, lambda: self._stopping, self._answer)

    # ---- the engine's thread ---------------------------------------------------------------------

    def _answer(self) -> None:
        """Between ticks: a ping is answered here, so that an answer means a living engine."""
        asked, self._asked = self._asked, False
        if asked:
            sessions = self._engine.stats()
            for id, numbers in sessions.items():
                place = self._places.get(id)
                numbers["drops"]["outbox"] = place.out.dropped if place else 0
            costs = (
                tuple(self._engine.costs.to_json()) if self._answers % COSTS_EVERY == 0 else None
            )
            self._answers += 1
            totals = self._engine.totals.plain()
            self._send(Pong(sessions, self._process(), totals, self._spans(), costs))

    def _process(self) -> dict[str, Any]:
        worked = self._engine.totals.counted("busy_seconds")
        share = self._busy.of(self._clock.now(), worked)
        return {
            **process_stats(),
            "busy_share": round(share, 4),
            "interference": round(self._engine.costs.interference, 3),
            "memory_free": round(self._engine.memory_free(), 4),
        }

    def _spans(self) -> tuple[Span, ...]:
        """What was recorded since the last answer; starts and stops as the web process asked."""
        trace = self._engine.trace
        if self._record != (trace is not None):
            self._engine.trace = Trace() if self._record else None
        return trace.drain() if trace is not None else ()

    def _emit(self, id: str, out: SlotSender[OutputMeta], item: Output | Event) -> None:
        if isinstance(item, Event):
            self._send(Happened(id, item))
            return
        meta = OutputMeta(Stamp.of(item.frame), item.epoch, item.finished_at, item.repeated)
        out.put(item.frame.planes, meta)

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
            case FrameIn():
                self._frame(message)
            case OutputTaken(session, slot):
                if place := self._places.get(session):
                    place.out.release(slot)
                    self._settle(place)
            case SetControls(session, values):
                if place := self._places.get(session):
                    place.record.controls = values.controls()
                self._send(ControlsSeen(session))
            case Open():
                self._open(message)
            case Save() | Stay() | Trust():
                self._move(message)
            case Close() | Forget():
                self._leave(message)
            case Ping(record):
                self._asked, self._record = True, record
                self._wake.set()
            case Stop():
                self._stop()

    def _frame(self, message: FrameIn) -> None:
        place = self._places.get(message.session)
        planes = place.block.read(message.slot) if place else None
        self._send(FrameTaken(message.session, message.slot))
        if place is None or planes is None:
            return
        size, stamp = place.record.config, message.stamp
        place.record.mailbox.put(
            Frame(planes, size.width, size.height, stamp.pts, stamp.captured_at, stamp.index)
        )

    def _open(self, message: Open) -> None:
        config = message.config
        slots = message.inputs + message.outputs
        try:
            block = FrameBlock(config.width, config.height, slots, message.block)
            out: SlotSender[OutputMeta] = SlotSender(
                block,
                range(message.inputs, slots),
                lambda slot, meta: self._send(FrameOut(message.session, slot, meta)),
                aside=self._engine.info.chunk,
            )
            record = self._engine.open(
                message.session,
                config,
                message.controls.controls(),
                partial(self._emit, message.session, out),
                parcel=Parcel.read(Path(message.parcel)) if message.parcel else None,
            )
        except (HostRefused, OSError, ValueError, KeyError) as error:
            self._send(Happened(message.session, Event("closed", str(error))))
            return
        record.suspect = message.suspect
        self._places[message.session] = Place(record, block, out)

    def _move(self, message: Save | Stay | Trust) -> None:
        place = self._places.get(message.session)
        match message:
            case Save(session) if place is None or not self._engine.portable:
                self._send(Saved(session, "it cannot move"))
            case Save() if place is not None:
                self._engine.park(place.record, partial(self._parked, place, message))
            case Stay() if place is not None and place.parcel is not None:
                parcel, place.parcel = place.parcel, None
                self._engine.unpark(place.record, parcel)
            case Trust() if place is not None:
                place.record.suspect = False

    def _parked(self, place: Place, message: Save, parcel: Parcel) -> None:
        """On the engine's thread: the session waits, and all that it is goes into the file."""
        try:
            parcel.write(Path(message.path))
        except OSError as error:
            self._engine.unpark(place.record, parcel)
            self._send(Saved(message.session, f"no room for what it remembers ({error.strerror})"))
            return
        place.parcel, place.unsaid = parcel, Saved(message.session)
        self._settle(place)

    def _settle(self, place: Place) -> None:
        """Its pictures first, so that none comes after the first one from the other device."""
        with self._settling:
            if place.unsaid is not None and place.out.idle:
                unsaid, place.unsaid = place.unsaid, None
                self._send(replace(unsaid, dropped=place.out.dropped))

    def _leave(self, message: Close | Forget) -> None:
        place = self._places.get(message.session)
        if place is None:
            return
        if isinstance(message, Close):
            self._engine.close(place.record, message.reason)
        else:
            del self._places[message.session]
            place.block.close()

    def _stop(self) -> None:
        self._stopping = True
        self._wake.set()
