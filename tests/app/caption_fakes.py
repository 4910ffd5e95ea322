"""A caption host with knobs: it tells what a test makes it tell."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import av
import numpy as np
from millrace.streaming.captions.host import (
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
from millrace.streaming.captions.track import Cue
from millrace.streaming.frames import Frame

INFO = CaptionInfo(
    name="fake",
    title="Fake teller",
    limits=("It tells what the test says.", "It cannot read."),
    examples=("What is there?", "What happened 10 seconds ago?"),
    alerts=("there is a red circle",),
    device="cpu",
    dtype="float32",
    period=1.0,
    memory=300.0,
    wishes=("only motion", "only the light"),
    choices=("Nothing was measured: this host is a fake.",),
)


def jpeg(level: int = 128) -> bytes:
    """A small grey picture."""
    file = io.BytesIO()
    with av.open(file, "w", format="mjpeg") as container:
        stream: Any = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8), "rgb24")
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return file.getvalue()


class FakeCaptions:
    """One viewer's captions. `say` and `fire` tell; questions get `host.answer`, word by word."""

    def __init__(self, host: FakeCaptionHost, id: str, config: CaptionConfig) -> None:
        self.id = id
        self.config = config
        self.state: CaptionState = "live"
        self.seen: list[Frame] = []
        self.wishes: list[str] = []
        self.asked: list[tuple[str, float | None]] = []
        self.watched: dict[int, str] = {}
        self.closed = threading.Event()
        self._asking = threading.Condition()
        self._host = host
        self._cues: list[Cue] = []
        self._numbers = itertools.count(1)
        self.listener: CaptionListener = lambda telling: None

    def tell(self, telling: Telling) -> None:
        self.listener(telling)

    def say(self, text: str, start: float = 0.0, **more: Any) -> Cue:
        cue = Cue(more.pop("id", len(self._cues)), start, start + 1.0, text, **more)
        self._cues = [known for known in self._cues if known.id != cue.id] + [cue]
        self.tell(Said(cue, 0.4))
        return cue

    def hear(self, cue: Cue, delay: float) -> None:
        """Words from elsewhere; they come back in the track under an id of its own."""
        own = replace(cue, id=1000 + cue.id)
        self._cues = [known for known in self._cues if known.id != own.id] + [own]
        self.tell(Said(own, delay))

    def know(self, until: float) -> None:
        """Everything up to this second was looked at."""
        self.tell(Seen(until, 0.4))

    def fire(self, alert: int, time: float) -> None:
        self.tell(AlertFired(alert, self.watched[alert], time, 0.5))
        self.say(self.watched[alert], time, kind="alert")

    def interrupt(self, down: bool) -> None:
        self.state = "interrupted" if down else "live"
        self.tell(CaptionEvent("interrupted" if down else "live"))

    def see(self, frame: Frame) -> None:
        self.seen.append(frame)
        self._host.saw.set()

    def ask(self, question: str, at: float | None = None) -> int:
        if self._host.busy:
            raise CaptionRefused("too many questions are being answered; wait for one of them")
        number = next(self._numbers)
        with self._asking:
            self.asked.append((question, at))
            self._asking.notify_all()
        if self._host.answer is not None:
            self.reply(number, self._host.answer)
        return number

    def wait_asked(self, count: int) -> list[tuple[str, float | None]]:
        """All that was asked, once it is so many; a page shows a question before it sends it."""
        with self._asking:
            assert self._asking.wait_for(lambda: len(self.asked) >= count, 45)
            return list(self.asked)

    def reply(self, number: int, words: str) -> None:
        for word in words.split():
            self.tell(AnswerPart(number, word + " "))
        looks = (2.0, 3.0, 4.0)
        self.tell(AnswerPart(number, "", done=True, span=(2.0, 4.5), looks=looks))

    def watch(self, condition: str) -> int:
        if len(self.watched) >= 2:
            raise CaptionRefused("there are 2 alerts already; remove one first")
        number = next(self._numbers)
        self.watched[number] = condition
        return number

    def unwatch(self, alert: int) -> None:
        del self.watched[alert]

    def instruct(self, wish: str) -> None:
        self.wishes.append(wish)

    def thumbnail(self, time: float) -> bytes | None:
        return self._host.picture if time < 100 else None

    def cues(self) -> tuple[Cue, ...]:
        return tuple(self._cues)

    def close(self, reason: str = "") -> None:
        self.state = "closed"
        self.closed.set()

    def stats(self) -> Mapping[str, Any]:
        return {"turns": len(self.seen), "duplicates": 3, "cues": len(self._cues)}


class FakeCaptionHost:
    """Knobs: `hold` keeps it loading, `broken` makes the start fail, `rooms` is how many viewers it
    takes, `answer` what it says to every question (None: nothing), `busy` refuses them."""

    def __init__(self, rooms: int = 4, hold: bool = False, broken: str = "") -> None:
        self.rooms = rooms
        self.broken = broken
        self.answer: str | None = "a red circle"
        self.busy = False
        self.picture = jpeg()
        self.saw = threading.Event()
        self.opened = threading.Event()
        self.loaded = threading.Event()
        self.stopped = threading.Event()
        self.sessions: list[FakeCaptions] = []
        if not hold:
            self.loaded.set()

    def start(self) -> None: ...

    def ready(self, timeout: float | None = None) -> CaptionInfo:
        self.loaded.wait(timeout)
        if self.broken or self.stopped.is_set():
            raise RuntimeError(self.broken or "stopped")
        return INFO

    def open(self, config: CaptionConfig, listener: CaptionListener) -> FakeCaptions:
        if len(self.sessions) >= self.rooms:
            raise CaptionRefused(f"captions serve {self.rooms} viewers already")
        session = FakeCaptions(self, f"c{len(self.sessions)}", config)
        session.listener = listener
        self.sessions.append(session)
        self.opened.set()
        return session

    def stats(self) -> Mapping[str, Any]:
        return {"sessions": len(self.sessions), "duplicates": 3}

    def stop(self) -> None:
        self.stopped.set()
        self.loaded.set()
