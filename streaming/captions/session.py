"""One viewer's captions, as the web process holds them. No torch here.

Pictures are picked, scaled and kept as thumbnails here; the model lives behind a `Link`, in this
process or in a worker.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from ..clock import Clock
from ..frames import Frame
from . import limits
from .counts import added
from .host import (
    AlertFired,
    AnswerPart,
    CaptionConfig,
    CaptionEvent,
    CaptionInfo,
    CaptionListener,
    CaptionRefused,
    CaptionState,
    Said,
    Seen,
    Telling,
)
from .looks import Look
from .messages import Ask, CloseCaptions, Instruct, OpenCaptions, Request, Unwatch, Watch
from .sampler import Sampler
from .thumbnails import Thumbnails
from .timings import Timings
from .track import Cue, Track

MAX_QUESTIONS = 4
"""Being answered at a time."""
MAX_ALERTS = 8
MAX_LOOKS = 8
"""Thumbnails named with an answer."""


class Link(Protocol):
    """The way to the model. Nothing here waits."""

    def send_look(self, session: HostedCaptions, look: Look) -> bool:
        """The newest look of a session. False where it took the place of one that waited."""
        ...

    def send(self, session: HostedCaptions, request: Request) -> None: ...

    def session_stats(self, session: HostedCaptions) -> Mapping[str, Any]:
        """The engine's own numbers of it."""
        ...


class HostedCaptions:
    """The handle that a host gives for one viewer; implements `CaptionSession`.

    Args:
        id: unique in its host.
        info: of the model.
        listener: hears everything; called from threads of the host and of whoever calls `hear`.
        clock: whoever stamps the frames uses the same.
    """

    def __init__(
        self,
        id: str,
        config: CaptionConfig,
        info: CaptionInfo,
        listener: CaptionListener,
        link: Link,
        clock: Clock,
    ) -> None:
        self.id = id
        self.config = config
        self._info = info
        self._listener = listener
        self._link = link
        self._clock = clock
        self._lock = threading.Lock()
        self._state: CaptionState = "opening"
        self.closing: str | None = None
        """Why it is being closed, once it is."""
        self._sampler = Sampler(info.look)
        self._thumbnails = Thumbnails()
        self._origin: float | None = None
        self._now = 0.0
        self._looked = False
        self._superseded = 0
        self._carried: Mapping[str, Any] = {}
        """What workers that are gone had counted."""
        self._track = Track()
        self._numbers = itertools.count(1)
        self._open: dict[int, float | None] = {}
        """When each open question was asked; None once its first word came."""
        self._alerts: dict[int, str] = {}
        self._asked = self._watched = self._fired = 0
        self._timings = Timings()

    # ---- pictures ------------------------------------------------------------------------------

    @property
    def state(self) -> CaptionState:
        return self._state

    def see(self, frame: Frame) -> None:
        if not math.isfinite(frame.captured_at):
            raise CaptionRefused(
                f"a frame's captured_at must be a number of seconds; got {frame.captured_at}"
            )
        if self._state == "closed":
            return
        if self._origin is None:
            self._origin = frame.captured_at
        second = frame.captured_at - self._origin
        looks = self._sampler.take(frame, second)
        self._now = max(self._now, second)
        for look in looks:
            self._thumbnails.add(look.second, frame)
            # Sent even while no worker is there, which counts it as superseded soon enough.
            if not self._link.send_look(self, look):
                self._superseded += 1
            self._looked = True

    def thumbnail(self, time: float) -> bytes | None:
        return self._thumbnails.nearest(time) if math.isfinite(time) else None

    # ---- words ---------------------------------------------------------------------------------

    def ask(self, question: str, at: float | None = None) -> int:
        text = limits.question(question)
        if not self._looked:
            raise CaptionRefused("nothing was seen yet; ask again when the picture is there")
        if at is not None:
            self._check_time(at)
        with self._lock:
            self._check_open()
            if len(self._open) >= MAX_QUESTIONS:
                raise CaptionRefused(
                    f"{MAX_QUESTIONS} questions are being answered; wait for one of them"
                )
            number = next(self._numbers)
            self._open[number] = self._clock.now()
            self._asked += 1
        self._link.send(self, Ask(self.id, number, text, at))
        return number

    def watch(self, condition: str) -> int:
        text = limits.condition(condition)
        with self._lock:
            self._check_open()
            if len(self._alerts) >= MAX_ALERTS:
                raise CaptionRefused(f"{MAX_ALERTS} alerts are set; remove one first")
            number = next(self._numbers)
            self._alerts[number] = text
            self._watched += 1
        self._link.send(self, Watch(self.id, number, text))
        return number

    def unwatch(self, alert: int) -> None:
        with self._lock:
            known = self._alerts.pop(alert, None) is not None
        if known:
            self._link.send(self, Unwatch(self.id, alert))

    def instruct(self, wish: str) -> None:
        text = limits.wish(wish)
        with self._lock:
            self.config = replace(self.config, instruction=text)
        self._link.send(self, Instruct(self.id, text))

    def hear(self, cue: Cue, delay: float) -> None:
        if not all(map(math.isfinite, (cue.start, cue.end, delay))) or cue.end < cue.start:
            raise CaptionRefused(
                f"a cue from {cue.start} to {cue.end} s, {delay} s late, has no place in the track"
            )
        with self._lock:
            if self._state == "closed":
                return
            said = Said(self._track.hear(replace(cue, start=max(0.0, cue.start))), delay)
        self._listener(said)

    def cues(self) -> tuple[Cue, ...]:
        with self._lock:
            return self._track.cues()

    def close(self, reason: str = "") -> None:
        if self._state != "closed" and self.closing is None:
            self.closing = reason
            self._link.send(self, CloseCaptions(self.id, reason))

    # ---- what the host brings ------------------------------------------------------------------

    def opening(self, suspect: bool = False) -> list[Request]:
        """All that a new worker has to be told of this session."""
        with self._lock:
            watches = [Watch(self.id, number, text) for number, text in self._alerts.items()]
            return [OpenCaptions(self.id, self.config, suspect), *watches]

    def deliver(self, telling: Telling) -> None:
        """Something came from the engine, or happened to it."""
        with self._lock:
            if self._state == "closed":
                return
            changed = self._noted(telling)
        for each in changed:
            self._listener(each)

    def stats(self) -> Mapping[str, Any]:
        now = self._clock.now()
        own = added(self._carried, self._link.session_stats(self))
        looks = dict(own.pop("looks", {}))
        looks["superseded"] = looks.get("superseded", 0) + self._superseded
        with self._lock:
            return {
                **own,
                "looks": looks,
                **self._timings.stats(now),
                "questions": self._asked,
                "alerts": {"set": len(self._alerts), "fired": self._fired},
                "cues": len(self._track) + self._track.dropped,
                "thumbnails": len(self._thumbnails),
            }

    def _noted(self, telling: Telling) -> list[Telling]:
        """What becomes of it on the way to the listener. The lock is held."""
        now = self._clock.now()
        match telling:
            case Said(cue, delay):
                said = Said(self._track.say(cue), delay)
                self._timings.said(now, delay)
                return [said]
            case AnswerPart():
                return self._answered(telling, now)
            case AlertFired():
                self._fired += 1
            case Seen(_, delay):
                self._timings.seen(now, delay)
            case CaptionEvent(kind):
                return [*self._happened(kind), telling]
        return [telling]

    def _answered(self, part: AnswerPart, now: float) -> list[Telling]:
        if part.question not in self._open:
            return []
        asked = self._open[part.question]
        if part.text and asked is not None:
            self._timings.answering(now, asked)
            self._open[part.question] = None
        if part.done:
            del self._open[part.question]
        looks = self._thumbnails.times(*part.span, MAX_LOOKS) if part.span else ()
        return [replace(part, looks=looks)]

    def _happened(self, kind: str) -> list[Telling]:
        """Follow the state; questions that will never be answered are told so."""
        if kind == "error":
            return []
        if kind == "live":
            self._state = "live"
            return []
        if kind == "interrupted":
            self._carried = added(self._carried, self._link.session_stats(self))
        self._state = "closed" if kind == "closed" else "interrupted"
        why = "the captions ended" if kind == "closed" else "the worker is being started again"
        lost, self._open = list(self._open), {}
        return [AnswerPart(n, "", True, error=f"{why}; please ask again") for n in lost]

    def _check_open(self) -> None:
        if self._state == "closed":
            raise CaptionRefused("the captions of this session have ended; switch them on again")

    def _check_time(self, at: float) -> None:
        oldest = max(0.0, self._now - self._info.memory)
        if not oldest <= at <= self._now + self._info.period:
            raise CaptionRefused(
                f"second {at:g} cannot be asked about: the memory reaches from {oldest:.0f} to "
                f"{self._now:.0f} s of this stream"
            )
