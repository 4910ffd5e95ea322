"""Pictures with their stamps. Pixels travel as I420 so that they cross the bus once each way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PTS_RATE = 90_000
"""Presentation stamps count 1/90000 s, the RTP video clock."""


def i420_shape(width: int, height: int) -> tuple[int, int]:
    """Shape of the one uint8 array that holds the Y, U and V planes of a frame, stacked by rows.

    Rows 0..height-1 are Y. The next height/2 rows are U then V, each plane (height/2) x (width/2)
    laid out contiguously (two chroma lines a row).

    Raises:
        ValueError: a side is odd or not positive.
    """
    if width <= 0 or height <= 0 or width % 2 or height % 2:
        raise ValueError(f"I420 needs even, positive sides; got {width}x{height}")
    return height * 3 // 2, width


@dataclass(frozen=True, slots=True)
class Frame:
    """One immutable picture and when it was.

    Attributes:
        planes: uint8 [height * 3/2, width], I420, BT.601 limited range unless said otherwise.
        width, height: picture size in pixels, even.
        pts: presentation stamp of the source in 1/90000 s.
        captured_at: monotonic seconds at which the picture was captured (or first arrived here).
        index: running number of the frame in its session, as given by the source side.
    """

    planes: npt.NDArray[np.uint8]
    width: int
    height: int
    pts: int
    captured_at: float
    index: int

    def __post_init__(self) -> None:
        if self.planes.shape != i420_shape(self.width, self.height):
            raise ValueError(
                f"planes {self.planes.shape} do not hold a {self.width}x{self.height} I420 frame"
            )


@dataclass(frozen=True, slots=True)
class Stamp:
    """What of a `Frame` travels on through the model: everything but the pixels."""

    pts: int
    captured_at: float
    index: int

    @staticmethod
    def of(frame: Frame) -> Stamp:
        return Stamp(frame.pts, frame.captured_at, frame.index)

    def frame(self, planes: npt.NDArray[np.uint8]) -> Frame:
        """A picture with this stamp; `planes` as in `Frame`, which say its size."""
        rows, width = planes.shape
        return Frame(planes, width, rows * 2 // 3, self.pts, self.captured_at, self.index)


@dataclass(frozen=True, slots=True)
class Chunk:
    """The smallest thing scheduled: T consecutive frames of one session."""

    index: int
    frames: tuple[Frame, ...]
