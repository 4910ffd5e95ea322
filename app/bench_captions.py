"""`millrace bench --captions`: what captions cost the video, and how late they and answers are.

The sample clip goes to the video's worker in a loop, by the clock, and to the captions' worker in
every second part of the run. Both workers stay up all the time, so that the two halves differ in
nothing but the looks that the language model takes, and a load that comes and goes hits both.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from .. import assets
from ..streaming.captions.host import (
    AnswerPart,
    CaptionConfig,
    CaptionHost,
    CaptionInfo,
    CaptionRefused,
    CaptionSession,
    Said,
    Seen,
    Telling,
)
from ..streaming.clock import Clock
from ..streaming.frames import PTS_RATE, Frame
from ..streaming.host import Event, Host, HostInfo, Output, Session
from ..streaming.pipeline import StreamConfig
from ..streaming.telemetry import percentile
from . import geometry
from .bench_load import Pixels
from .files import VideoFile, planes_of

ROUNDS = 4
"""Times off and on."""
WARM_UP_S = 4.0
ASK_EVERY_S = 5.0
START_S = 120.0

Wait = Callable[[float], object]
"""Waits for so many seconds; a test turns its clock instead."""


@dataclass
class Watched:
    """Counts what comes back, on threads of both hosts."""

    clock: Clock
    frames: int = 0
    repeated: int = 0
    delays: list[float] = field(default_factory=list)
    said: list[float] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    known: float | None = None
    """When the newest picture was captured up to which all was told."""
    first_words: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    answered: int = 0
    asked_at: float | None = None
    waiting: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def see(self, item: Output | Event) -> None:
        """The video's listener."""
        if isinstance(item, Output):
            with self._lock:
                self.frames += not item.repeated
                self.repeated += item.repeated

    def hear(self, telling: Telling) -> None:
        """The captions' listener."""
        now = self.clock.now()
        with self._lock:
            if isinstance(telling, Said) and telling.cue.kind == "caption":
                self.delays.append(telling.delay)
                self.said.append(now)
            elif isinstance(telling, Seen):
                if self.known is not None:
                    self.ages.append(now - self.known)
                self.known = now - telling.delay
            elif isinstance(telling, AnswerPart):
                self._answer(telling, now)

    def _answer(self, part: AnswerPart, now: float) -> None:
        if part.text and self.waiting and self.asked_at is not None:
            self.first_words.append(now - self.asked_at)
            self.waiting = False
        if part.done:
            self.asked_at, self.waiting = None, False
            self.answered += not part.error
            if part.error:
                self.errors.append(part.error)

    def asking(self) -> bool:
        """Whether the next question may come; marks it as asked then."""
        with self._lock:
            if self.asked_at is not None:
                return False
            self.asked_at, self.waiting = self.clock.now(), True
            return True

    def forget(self) -> None:
        """Count from here on."""
        with self._lock:
            self.frames = self.repeated = self.answered = 0
            for found in (self.delays, self.said, self.ages, self.first_words, self.errors):
                found.clear()


class CaptionBench:
    """Two hosts that are ready, a source, and the parts of the run.

    Args:
        fps: pictures a second.
        wait: how to wait for the next picture's time.
    """

    def __init__(
        self,
        video: Host,
        teller: CaptionHost,
        info: CaptionInfo,
        pictures: Sequence[Pixels],
        size: tuple[int, int],
        fps: float,
        clock: Clock,
        wait: Wait | None = None,
    ) -> None:
        self._clock = clock
        self._fps = fps
        self._size = size
        self._pictures = itertools.cycle(pictures)
        self._wait = wait or threading.Event().wait
        self._numbers = itertools.count()
        self._questions = itertools.cycle(info.examples or ("What do you see?",))
        self.watched = Watched(clock)
        self._session: Session = video.open(StreamConfig(*size, fps), self.watched.see)
        self._captions: CaptionSession = teller.open(CaptionConfig(fps), self.watched.hear)

    def run(self, seconds: float, rounds: int = ROUNDS) -> dict[str, Any]:
        """Warm up, then alternate. `seconds`: of each part."""
        self._part(WARM_UP_S, on=True, ask=False)
        self.watched.forget()
        rates: dict[bool, list[float]] = {False: [], True: []}
        told_s = 0.0
        for number in range(2 * rounds):
            # Off, on, on, off: a machine that grows slower is no reason for either.
            on = number % 4 in (1, 2)
            before, began = self.watched.frames, self._clock.now()
            self._part(seconds, on, ask=True)
            lasted = self._clock.now() - began
            rates[on].append((self.watched.frames - before) / lasted)
            told_s += lasted * on
        return self._summary(rates, told_s)

    def close(self) -> None:
        self._captions.close("the benchmark is done")
        self._session.close("the benchmark is done")

    def _part(self, seconds: float, on: bool, ask: bool) -> None:
        began = self._clock.now()
        self.watched.known = None
        next_ask = began + ASK_EVERY_S / 2
        for number in range(round(seconds * self._fps)):
            due = began + number / self._fps
            now = self._clock.now()
            if now < due:
                self._wait(due - now)
            frame = self._frame()
            self._session.put(frame)
            if not on:
                continue
            self._captions.see(frame)
            if ask and self._clock.now() >= next_ask and self.watched.asking():
                next_ask = self._clock.now() + ASK_EVERY_S
                self._ask()
        self._wait(max(0.0, began + seconds - self._clock.now()))

    def _ask(self) -> None:
        try:
            self._captions.ask(next(self._questions))
        except CaptionRefused as error:
            self.watched.hear(AnswerPart(-1, "", done=True, error=str(error)))

    def _frame(self) -> Frame:
        number = next(self._numbers)
        pts = round(number * PTS_RATE / self._fps)
        return Frame(next(self._pictures), *self._size, pts, self._clock.now(), number)

    def _summary(self, rates: Mapping[bool, Sequence[float]], told_s: float) -> dict[str, Any]:
        watched = self.watched
        off, on = (sum(rates[kind]) / len(rates[kind]) for kind in (False, True))
        gaps = [b - a for a, b in itertools.pairwise(watched.said)]
        stats = dict(self._captions.stats())
        return {
            "mode": "captions",
            "source_fps": self._fps,
            "fps": {"off": round(off, 2), "on": round(on, 2)},
            "fps_parts": {
                "off": [round(rate, 2) for rate in rates[False]],
                "on": [round(rate, 2) for rate in rates[True]],
            },
            "fps_ratio": round(on / off, 4) if off else None,
            "repeated": watched.repeated,
            "captions": len(watched.delays),
            "captions_per_minute": round(60 * len(watched.delays) / told_s, 2),
            "caption_delay_ms": _percentiles(watched.delays),
            "caption_gap_ms": _percentiles(gaps),
            "seen_age_ms": _percentiles(watched.ages),
            "first_word_ms": _percentiles(watched.first_words),
            "questions": {"answered": watched.answered, "errors": watched.errors[:10]},
            "teller": {
                name: stats.get(name)
                for name in ("turns", "turn_ms", "looks", "duplicates", "tokens_kept")
            },
        }


def measure(
    video: Host,
    teller: CaptionHost,
    size: tuple[int, int],
    fps: float,
    seconds: float,
    clock: Clock,
) -> tuple[dict[str, Any], HostInfo, CaptionInfo]:
    """Start both hosts, run, stop them.

    Raises:
        RuntimeError, TimeoutError: one of them did not start.
    """
    try:
        video.start()
        host_info = video.ready(START_S)
        teller.start()
        info = teller.ready(START_S)
        bench = CaptionBench(video, teller, info, clip(size), size, fps, clock)
        try:
            return bench.run(seconds), host_info, info
        finally:
            bench.close()
    finally:
        teller.stop()
        video.stop()


def clip(size: tuple[int, int]) -> list[Pixels]:
    """The sample clip in this size, as stacked I420 planes."""
    with VideoFile(Path(str(files(assets).joinpath("clip.mp4")))) as video:
        sizes = geometry.plan(video.size, video.pixel_aspect, video.turns, size, 2, max(size))
        return [sizes.prepare(planes_of(one.image, sizes)) for one in video.pictures()]


def table(found: Mapping[str, Any]) -> list[str]:
    """The result as text."""
    fps, questions = found["fps"], found["questions"]
    return [
        f"video            {fps['off']:.1f} frames/s without captions, {fps['on']:.1f} with: "
        f"{found['fps_ratio'] or 0:.1%} of it",
        f"captions         {found['captions_per_minute']:.1f} a minute, "
        f"said p50/p95 {_text(found['caption_delay_ms'])} ms after the picture",
        f"between two      p50/p95 {_text(found['caption_gap_ms'])} ms",
        f"all known up to  p50/p95 {_text(found['seen_age_ms'])} ms ago, just before more is known",
        f"first word       p50/p95 {_text(found['first_word_ms'])} ms after the question, "
        f"{questions['answered']} answered",
        *(f"not answered     {why}" for why in sorted(set(questions["errors"]))),
    ]


def _percentiles(values: Sequence[float]) -> dict[str, float | None]:
    ordered = sorted(values)
    return {
        name: round(1e3 * percentile(ordered, share), 1) if ordered else None
        for name, share in (("p50", 0.5), ("p95", 0.95))
    }


def _text(found: Mapping[str, float | None]) -> str:
    return "/".join("-" if value is None else f"{value:.0f}" for value in found.values())
