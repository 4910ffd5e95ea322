"""Takes the looks out of a stream of frames. No torch here."""

from __future__ import annotations

import math

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from ..frames import Frame
from .looks import Look, LookSpec, Planes

SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
"""Every source pixel counts by its area, and on all processors alike."""


class Scaler:
    """Scales I420 pictures. One for each thread: it keeps the tables of the last sizes."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def scale(self, frame: Frame, width: int, height: int) -> Planes:
        """uint8 [height * 3/2, width], in memory of its own."""
        if (frame.width, frame.height) == (width, height):
            return frame.planes.copy()
        return np.ascontiguousarray(self.image(frame, width, height).to_ndarray())

    def image(self, frame: Frame, width: int, height: int, format: str = "yuv420p") -> VideoFrame:
        source = av.VideoFrame.from_ndarray(frame.planes, format="yuv420p")
        # More threads would cost more to wake than the work takes.
        return self._reformatter.reformat(
            source, width=width, height=height, format=format, interpolation=SCALING, threads=1
        )


class Sampler:
    """Picks the pictures that the model looks at, by their stamps, and makes a `Look` of each turn.

    The time line is cut into slots of `period / frames` seconds; the first frame of a slot stands
    for it. Where a slot has none (a slow source, a gap), the nearest picture of its turn does, so a
    turn always has all its pictures. A turn without any is left out.

    Looks that overlap begin with the newest pictures of the look before. Where there is none of
    the turn just before and of the same size, the first own picture stands in.

    Args:
        spec: how the model wants to see.
    """

    def __init__(self, spec: LookSpec) -> None:
        self._spec = spec
        self._scaler = Scaler()
        self._slot = -1
        self._turn = -1
        self._size = (0, 0)
        self._pictures: dict[int, Planes] = {}
        self._before: tuple[int, Look] | None = None
        """The newest look that was complete, and its turn."""
        self._end = 0.0
        self._captured_at = 0.0
        self._interval = 0.0
        self._last: float | None = None

    def take(self, frame: Frame, second: float) -> list[Look]:
        """Hand in the next frame; gives the looks that are complete now, oldest first: none for
        most frames, two where a gap ends one turn and a slow source fills the next.

        Args:
            second: of the stream, of this frame. One that is not later than the frame before is
                passed over.

        Raises:
            ValueError: it is not a number.
        """
        if not math.isfinite(second):
            raise ValueError(f"a frame's time must be a number; got {second}")
        if self._last is not None and second <= self._last:
            return []
        if self._last is not None:
            self._interval = second - self._last
        self._last = second
        spec = self._spec
        slot = math.floor(second * spec.frames / spec.period)
        if slot == self._slot:
            return []
        self._slot = slot
        turn, place = divmod(slot, spec.frames)
        done = []
        size = spec.size_for(frame.width, frame.height)
        if self._pictures and (turn != self._turn or size != self._size):
            done.append(self._complete())
        self._turn, self._size = turn, size
        self._pictures[place] = self._scaler.scale(frame, *size)
        self._end, self._captured_at = second, frame.captured_at
        if self._full(place, second):
            done.append(self._complete())
        return done

    def rest(self) -> list[Look]:
        """The turn that was begun, when no frame comes any more."""
        return [self._complete()] if self._pictures else []

    def _full(self, place: int, second: float) -> bool:
        """Whether no further picture of this turn will come. A source so slow that its next frame
        falls into another turn is not waited for."""
        after = (self._turn + 1) * self._spec.period
        return place == self._spec.frames - 1 or second + self._interval >= after

    def _complete(self) -> Look:
        spec = self._spec
        taken, self._pictures = self._pictures, {}
        nearest = (min(taken, key=lambda k: (abs(k - n), k)) for n in range(spec.frames))
        second = self._turn * spec.period
        own = tuple(taken[n] for n in nearest)
        pictures = (*self._carried(own[0]), *own)
        look = Look(
            second, self._end, self._captured_at, *self._size, pictures, carried=spec.carried
        )
        self._before = self._turn, look
        return look

    def _carried(self, first: Planes) -> tuple[Planes, ...]:
        """What the look begins with, before its first own picture."""
        count = self._spec.carried
        if count and self._before is not None:
            turn, look = self._before
            if turn == self._turn - 1 and (look.width, look.height) == self._size:
                return look.pictures[-count:]
        return (first,) * count
