"""Viewers that come and go in front of a real engine: frames on time from a thread of their own."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..streaming.assemble import run_engine
from ..streaming.clock import Clock
from ..streaming.controls import Controls
from ..streaming.frames import PTS_RATE, Frame
from ..streaming.host import Event, HostRefused, Output
from ..streaming.pipeline import StreamConfig
from ..streaming.simulation.arrivals import Visit
from .bench_load import Pixels
from .errors import CommandError

if TYPE_CHECKING:
    from ..streaming.engine import Engine
    from ..streaming.session import EngineSession

OVER = "the run is over"


@dataclass(frozen=True, slots=True)
class Setting:
    """What all viewers of a run share.

    Attributes:
        width, height: of the pictures.
        source: I420 pictures, shown round and round.
        deadline: seconds from a chunk's last frame until its picture is due.
        changes: controls that differ from the model's defaults.
    """

    width: int
    height: int
    source: Sequence[Pixels]
    deadline: float
    changes: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture that came out: when it was finished, whether it is a repeat, and the rung of the
    quality ladder that its session stood on."""

    finished_at: float
    repeated: bool
    rung: str


class Guest:
    """One visit: what went in, what came out."""

    def __init__(self, visit: Visit, opened_at: float) -> None:
        self.visit = visit
        self.opened_at = opened_at
        self.offered: list[float] = []
        """When each frame was captured."""
        self.shown: dict[int, Shown] = {}
        self.record: EngineSession | None = None
        self.closed_at: float | None = None
        self.numbers: Mapping[str, Any] = {}
        """The engine's own statistics at the end of the visit."""
        self.failure = ""
        self._rung = ""

    def take(self, item: Output | Event) -> None:
        """The session's listener, on the engine's thread."""
        if isinstance(item, Output):
            self.shown[item.frame.index] = Shown(item.finished_at, item.repeated, self._rung)
        elif item.kind == "rung":
            self._rung = str(item.data.get("name", ""))
        elif item.kind == "closed" and item.message not in (OVER, "the server stopped"):
            self.failure = item.message


Kind = Literal["open", "prompt", "frame", "close"]
Deed = tuple[float, int, int, Kind]
"""(seconds since the start, rank, number of the guest, what it does)."""
RANKS: Mapping[Kind, int] = {"open": 0, "prompt": 1, "frame": 2, "close": 3}


def deeds(visits: Sequence[Visit], seconds: float) -> Iterator[Deed]:
    """Everything that the viewers do within the run, in order."""
    return heapq.merge(*(_of_one(visit, number, seconds) for number, visit in enumerate(visits)))


def _of_one(visit: Visit, number: int, seconds: float) -> Iterator[Deed]:
    def deed(at: float, kind: Kind) -> Deed:
        return (at, RANKS[kind], number, kind)

    end = min(visit.end, seconds)
    own = [deed(visit.start, "open")] if visit.start < seconds else []
    own += [deed(at, "prompt") for at in visit.prompts if visit.start <= at < end]
    for index in range(max(0, int((end - visit.start) * visit.fps))):
        at = visit.start + index / visit.fps
        if not any(begin <= at < back for begin, back in visit.pauses):
            own.append(deed(at, "frame"))
    if visit.end < seconds:
        own.append(deed(visit.end, "close"))
    return iter(sorted(own))


class Crowd:
    """Runs an engine for as long as the visits say.

    The engine ticks on the caller's thread, as in a worker; a second thread hands in frames when
    they are due, whatever the engine does.

    Args:
        wake: the event that the engine sets (its `wake`).
    """

    def __init__(
        self, engine: Engine, clock: Clock, wake: threading.Event, setting: Setting
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._wake = wake
        self._setting = setting
        self._halt = threading.Event()
        self._error: Exception | None = None
        self.guests: list[Guest] = []
        self.rejected = 0
        self.began = self.ended = clock.now()

    def run(self, visits: Sequence[Visit], seconds: float) -> None:
        """One run, from the first arrival to the end.

        Raises:
            CommandError: the model failed, with its reason.
        """
        self.began = self._clock.now()
        with self._fed(visits, seconds):
            run_engine(self._engine, self._wake, self._halt.is_set)
        self.ended = self._clock.now()
        failures = {guest.failure for guest in self.guests if guest.failure}
        if failures:
            raise CommandError(f"the model failed: {failures.pop()}")
        if self._error is not None:
            raise self._error

    @contextmanager
    def _fed(self, visits: Sequence[Visit], seconds: float) -> Iterator[None]:
        self._halt.clear()
        feeder = threading.Thread(
            target=self._feed, args=(visits, seconds), name="bench-feeder", daemon=True
        )
        feeder.start()
        try:
            yield
        finally:
            self._halt.set()
            feeder.join()

    # ---- the feeder's thread ---------------------------------------------------------------------

    def _feed(self, visits: Sequence[Visit], seconds: float) -> None:
        present: dict[int, Guest] = {}
        do: Mapping[Kind, Callable[[int, float], None]] = {
            "open": lambda number, at: self._open(present, number, visits[number], at),
            "prompt": lambda number, at: self._prompt(present.get(number)),
            "frame": lambda number, at: self._frame(present.get(number), at),
            "close": lambda number, at: self._close(present.pop(number, None)),
        }
        try:
            for at, _, number, kind in deeds(visits, seconds):
                if self._halt.wait(max(0.0, self.began + at - self._clock.now())):
                    return
                do[kind](number, self.began + at)
            self._halt.wait(max(0.0, self.began + seconds - self._clock.now()))
            for guest in present.values():
                self._note(guest)
        except (ValueError, RuntimeError) as error:
            self._error = error
        finally:
            self._halt.set()
            self._wake.set()

    def _open(self, present: dict[int, Guest], number: int, visit: Visit, at: float) -> None:
        schema, setting = self._engine.info.controls, self._setting
        controls = Controls.defaults(schema).changed(schema, setting.changes)
        config = StreamConfig(
            setting.width,
            setting.height,
            visit.fps,
            user=visit.user,
            service=visit.service,
            weight=visit.weight,
            deadline_ms=setting.deadline * 1e3,
        )
        guest = Guest(visit, at)
        try:
            guest.record = self._engine.open(visit.session, config, controls, guest.take)
        except HostRefused:
            self.rejected += 1
            return
        self.guests.append(guest)
        present[number] = guest

    def _frame(self, guest: Guest | None, at: float) -> None:
        if guest is None or guest.record is None:
            return
        setting, index = self._setting, len(guest.offered)
        pts = round(index * PTS_RATE / guest.visit.fps)
        # Viewers do not all show the same picture at the same time.
        picture = setting.source[(index + 7 * len(guest.visit.session)) % len(setting.source)]
        guest.offered.append(at)
        guest.record.mailbox.put(Frame(picture, setting.width, setting.height, pts, at, index))

    def _prompt(self, guest: Guest | None) -> None:
        """The next of the model's presets; a model without any has no prompts to change."""
        info = self._engine.info
        if guest is None or guest.record is None or not info.presets:
            return
        record = guest.record
        preset = info.presets[record.controls.epoch % len(info.presets)]
        record.controls = record.controls.changed(info.controls, dict(preset.values))

    def _close(self, guest: Guest | None) -> None:
        if guest is not None and guest.record is not None:
            self._note(guest)
            self._engine.close(guest.record, OVER)

    def _note(self, guest: Guest) -> None:
        guest.closed_at = self._clock.now()
        if guest.record is not None:
            guest.numbers = guest.record.stats(guest.closed_at)
