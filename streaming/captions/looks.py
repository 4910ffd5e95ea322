"""What the model looks at: small pictures, a few for each turn, and how large. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Planes = npt.NDArray[np.uint8]
"""I420: uint8 [height * 3/2, width]."""
DETAIL = 0.1
"""How much a stretched picture is worth against one with more pixels, see `LookSpec.size_for`."""


@dataclass(frozen=True, slots=True)
class LookSpec:
    """How a model wants to see.

    Attributes:
        factor: sides are multiples of this.
        min_pixels, max_pixels: of a picture.
        frames: pictures of a turn, evenly apart.
        period: seconds of a turn.
        carried: pictures of the time just before that a look begins with, as far apart as those of
            the turn: looks overlap, so that nothing happens between two of them.
    """

    factor: int = 32
    min_pixels: int = 96 * 96
    max_pixels: int = 128 * 128
    frames: int = 2
    period: float = 1.0
    carried: int = 0

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that a picture of this size is scaled to: as true to its aspect as the
        multiples allow, with as many pixels as the model takes and the source has.

        Raises:
            ValueError: a side is not positive, or no multiple of `factor` fits the limits.
        """
        if width <= 0 or height <= 0:
            raise ValueError(f"a picture of {width}x{height} cannot be looked at")
        return _size_for(self, width, height)


@lru_cache(maxsize=256)
def _size_for(spec: LookSpec, width: int, height: int) -> tuple[int, int]:
    # Enlarging beyond what the source has shows nothing more. Small sources must be enlarged, with
    # some choice, so that their aspect can be kept.
    most = min(spec.max_pixels, max(2 * spec.min_pixels, _rounded(width * height, spec.factor)))
    unit = spec.factor**2
    best: tuple[float, int, int] | None = None
    for columns in range(1, most // unit + 1):
        for rows in range(
            max(1, -(-spec.min_pixels // (unit * columns))), most // unit // columns + 1
        ):
            stretch = abs(math.log(columns * height / (rows * width)))
            score = stretch - DETAIL * math.log(columns * rows)
            if best is None or score < best[0]:
                best = (score, columns, rows)
    if best is None:
        raise ValueError(
            f"no multiple of {spec.factor} has {spec.min_pixels} to {spec.max_pixels} pixels"
        )
    return best[1] * spec.factor, best[2] * spec.factor


def _rounded(pixels: int, factor: int) -> int:
    """The source's pixels, and a margin for sides that are rounded up."""
    side = math.sqrt(pixels) + factor / 2
    return round(side * side)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """The pictures of one turn, after those of the time just before that it begins with.

    Attributes:
        second: of the stream at which the turn begins, a multiple of the period.
        end: second at which its last picture was captured.
        captured_at: the same by the clock.
        width, height: of each picture.
        pictures: I420, uint8 [height * 3/2, width] each, in the order of time.
        carried: how many of them were in the look before as well (or stand in for such).
    """

    second: float
    end: float
    captured_at: float
    width: int
    height: int
    pictures: tuple[Planes, ...]
    carried: int = 0

    @property
    def fresh(self) -> tuple[Planes, ...]:
        """The turn's own pictures."""
        return self.pictures[self.carried :]
