"""The sessions of a worker process: their slots, and what the web process asks of them.

Messages come on the worker's receiving thread, pictures leave on its engine's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .frames import Stamp
from .host import Event, HostRefused, Output
from .messages import (
    Close,
    ControlsSeen,
    Forget,
    FrameIn,
    FrameOut,
    FrameTaken,
    FromWorker,
    Happened,
    Open,
    OutputMeta,
    OutputTaken,
    Save,
    Saved,
    SetControls,
    Stay,
    Trust,
)
from .moving import Parcel
from .session import EngineSession
from .slots import FrameBlock, SlotSender

if TYPE_CHECKING:
    from .engine import Engine

ToPlaces = FrameIn | OutputTaken | SetControls | Open | Save | Stay | Trust | Close | Forget
"""Messages that are about one session."""


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


class Places:
    """Opens, feeds, moves and closes the sessions of one engine.

    Args:
        engine: runs them.
        send: takes answers to the web process, from any thread; False when that is gone.
    """

    def __init__(self, engine: Engine, send: Callable[[FromWorker], bool]) -> None:
        self._engine = engine
        self._send = send
        self._settling = threading.Lock()
        self._places: dict[str, Place] = {}

    def dropped(self, id: str) -> int:
        """Pictures of a session that found no slot on their way out."""
        place = self._places.get(id)
        return place.out.dropped if place else 0

    def handle(self, message: ToPlaces) -> None:
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

    def _frame(self, message: FrameIn) -> None:
        place = self._places.get(message.session)
        planes = place.block.read(message.slot) if place else None
        self._send(FrameTaken(message.session, message.slot))
        if place is None or planes is None:
            return
        place.record.mailbox.put(message.stamp.frame(planes))

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

    def _emit(self, id: str, out: SlotSender[OutputMeta], item: Output | Event) -> None:
        if isinstance(item, Event):
            self._send(Happened(id, item))
            return
        meta = OutputMeta(Stamp.of(item.frame), item.epoch, item.finished_at, item.repeated)
        out.put(item.frame.planes, meta)
