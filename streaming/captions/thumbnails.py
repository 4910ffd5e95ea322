"""Small pictures of the past, one for each second and fewer further back. No torch here."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from av.video.codeccontext import VideoCodecContext

from ..frames import Frame
from .sampler import Scaler

WIDEST = 192
"""Pixels of a thumbnail's longer side."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Of pictures up to `age` seconds old, one for each `step` seconds is kept."""

    age: float
    step: float


TIERS = (Tier(300.0, 1.0), Tier(1800.0, 5.0), Tier(4 * 3600.0, 60.0))
"""All of the last five minutes, every fifth second of half an hour, every minute of four hours:
some 800 pictures of 3 to 6 KB. What is older goes."""


class Thumbnails:
    """JPEGs by the second of the stream that they show. Any thread may ask.

    Args:
        tiers: how long they are kept, youngest first.
    """

    def __init__(self, tiers: Sequence[Tier] = TIERS) -> None:
        self._tiers = tuple(tiers)
        self._kept: list[deque[tuple[float, bytes]]] = [deque() for _ in tiers]
        self._lock = threading.Lock()
        self._scaler = Scaler()
        self._encoder: VideoCodecContext | None = None
        self._count = 0

    def add(self, time: float, frame: Frame) -> None:
        """Keep a picture of `time`, later than all before it. From one thread only."""
        newest = self._kept[0][-1][0] if self._kept[0] else None
        if newest is not None and time < newest + self._tiers[0].step:
            return
        jpeg = self._encode(frame)
        with self._lock:
            self._kept[0].append((time, jpeg))
            self._age(time)

    def nearest(self, time: float) -> bytes | None:
        """The JPEG nearest to a second of the stream; None when there is none at all."""
        with self._lock:
            kept = self._all()
        if not kept:
            return None
        after = bisect_left(kept, time, key=lambda pair: pair[0])
        around = kept[max(0, after - 1) : after + 1]
        return min(around, key=lambda pair: abs(pair[0] - time))[1]

    def times(self, start: float, end: float, most: int) -> tuple[float, ...]:
        """Times of up to `most` pictures of a span, spread evenly over it; the nearest one where
        the span lies between two."""
        with self._lock:
            every = [time for time, _ in self._all()]
        within = [time for time in every if start <= time <= end]
        if not within and every:
            middle = (start + end) / 2
            within = [min(every, key=lambda time: abs(time - middle))]
        if len(within) <= most:
            return tuple(within)
        last = len(within) - 1
        return tuple(within[round(n * last / max(1, most - 1))] for n in range(most))

    @property
    def nbytes(self) -> int:
        with self._lock:
            return sum(len(jpeg) for _, jpeg in self._all())

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._kept))

    def _all(self) -> list[tuple[float, bytes]]:
        return [pair for kept in reversed(self._kept) for pair in kept]

    def _age(self, now: float) -> None:
        """Hand what is too old for its tier to the next one, which keeps one for each step."""
        for number, tier in enumerate(self._tiers):
            kept = self._kept[number]
            while kept and kept[0][0] < now - tier.age:
                time, jpeg = kept.popleft()
                if number + 1 < len(self._tiers):
                    older = self._kept[number + 1]
                    step = self._tiers[number + 1].step
                    if not older or time // step > older[-1][0] // step:
                        older.append((time, jpeg))

    def _encode(self, frame: Frame) -> bytes:
        width, height = _within(frame.width, frame.height)
        image = self._scaler.image(frame, width, height, "yuvj420p")
        encoder = self._encoder
        if encoder is None or (encoder.width, encoder.height) != (width, height):
            encoder = VideoCodecContext.create("mjpeg", "w")
            encoder.width, encoder.height = width, height
            encoder.pix_fmt = "yuvj420p"
            encoder.time_base = Fraction(1, 1)
            encoder.thread_count = 1
            self._encoder = encoder
        image.pts, self._count = self._count, self._count + 1
        image.time_base = encoder.time_base
        return b"".join(bytes(packet) for packet in encoder.encode(image))


def _within(width: int, height: int) -> tuple[int, int]:
    """The largest even sides of this aspect that are no longer than `WIDEST`."""
    scale = min(1.0, WIDEST / max(width, height))
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))
