"""Sizes on the way from a file's picture to the model's and on to the written one. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]
Planes = tuple[Plane, Plane, Plane]
"""Y [h, w], U and V [h/2, w/2]."""
Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """What is done to each picture, in this order.

    Attributes:
        scaled: size that the stored picture is scaled to (before it is turned).
        turns: quarter turns against the clock that set it upright.
        shown: size that is cut out of the middle of the upright picture and written; even sides.
        padded: size that the model sees; `shown` grown to the right and downwards by repeated
            edges, and cut off again after the model.
        notes: one sentence for each thing that changes the picture's size.
    """

    scaled: Size
    turns: int
    shown: Size
    padded: Size
    notes: tuple[str, ...]

    def prepare(self, planes: Planes) -> Plane:
        """Planes of `scaled` size, turned, cut and padded, stacked as `frames.i420_shape` says."""
        turned = tuple(np.rot90(plane, self.turns) for plane in planes)
        width, height = self.shown
        full_height, full_width = turned[0].shape
        # Even offsets keep colour samples on the pixels that they belong to.
        x, y = (full_width - width) // 4 * 2, (full_height - height) // 4 * 2
        parts = []
        for plane, shrink in zip(turned, (1, 2, 2), strict=True):
            cut = plane[y // shrink :, x // shrink :][: height // shrink, : width // shrink]
            missing = (
                (0, self.padded[1] // shrink - cut.shape[0]),
                (0, self.padded[0] // shrink - cut.shape[1]),
            )
            parts.append(np.pad(cut, missing, mode="edge"))
        return stack(parts)

    def restore(self, stacked: Plane) -> Plane:
        """The `shown` part of what the model made, stacked the same way."""
        if self.shown == self.padded:
            return stacked
        width, height = self.shown
        return stack(
            plane[: height // shrink, : width // shrink]
            for plane, shrink in zip(unstack(stacked, self.padded), (1, 2, 2), strict=True)
        )


def stack(planes: Iterable[Plane]) -> Plane:
    """Y, U and V in one array [height * 3/2, width]; the chroma planes run on, two lines a row."""
    parts = list(planes)
    width = parts[0].shape[1]
    return np.concatenate([part.reshape(-1) for part in parts]).reshape(-1, width)


def unstack(stacked: Plane, size: Size) -> Planes:
    """Y, U and V out of one stacked I420 array [height * 3/2, width]."""
    width, height = size
    chroma = stacked[height:].reshape(2, height // 2, width // 2)
    return stacked[:height], chroma[0], chroma[1]


def plan(
    stored: Size,
    pixel_aspect: Fraction,
    turns: int,
    wanted: Size | None,
    multiple: int,
    max_side: int,
) -> Geometry:
    """Decide sizes.

    Args:
        stored: size of the decoded pictures.
        pixel_aspect: width over height of a stored pixel.
        turns: quarter turns against the clock that set the picture upright.
        wanted: size to write, filled by scaling and cutting the overhang; None keeps the size.
        multiple: both sides of the model's picture must be a multiple of this.
        max_side: longest side that the model takes.

    Raises:
        ValueError: a wanted side is odd or over the model's limit.
    """
    upright = max(1, round(stored[0] * pixel_aspect)), stored[1]
    turns %= 4
    if turns % 2:
        upright = upright[1], upright[0]
    multiple = math.lcm(multiple, 2)
    limit = max_side // multiple * multiple
    notes = [] if pixel_aspect == 1 else ["pixels made square"]
    if wanted is not None:
        _check_wanted(wanted, limit)
        shown, scaled = wanted, _cover(upright, wanted)
        if scaled != shown:
            notes.append(f"cut {scaled[0]}x{scaled[1]} to {shown[0]}x{shown[1]} around its middle")
    else:
        scaled = _fit(upright, limit)
        shown = pair(max(2, side // 2 * 2) for side in scaled)
        scaled = pair(map(max, scaled, shown))
        if scaled != upright:
            notes.append(f"scaled {_text(upright)} down to {_text(shown)}, the model's largest")
        elif scaled != shown:
            notes.append(f"cut {_text(upright)} to {_text(shown)}: video needs even sides")
    padded = pair(-(-side // multiple) * multiple for side in shown)
    if padded != shown:
        notes.append(
            f"the model works on {_text(padded)} (multiples of {multiple}), edges repeated"
        )
    return Geometry(scaled[::-1] if turns % 2 else scaled, turns, shown, padded, tuple(notes))


def _check_wanted(wanted: Size, limit: int) -> None:
    even = pair(max(2, side // 2 * 2) for side in wanted)
    if even != wanted:
        raise ValueError(f"size {_text(wanted)}: video needs even sides; try {_text(even)}")
    if max(wanted) > limit:
        raise ValueError(f"size {_text(wanted)}: the model takes sides up to {limit} pixels")


def _cover(size: Size, wanted: Size) -> Size:
    """The smallest scaling of `size` that covers `wanted`."""
    scale = max(Fraction(wanted[0], size[0]), Fraction(wanted[1], size[1]))
    return pair(max(least, round(s * scale)) for s, least in zip(size, wanted, strict=True))


def _fit(size: Size, limit: int) -> Size:
    """`size`, made smaller where a side is over the limit."""
    if max(size) <= limit:
        return size
    scale = Fraction(limit, max(size))
    return pair(max(2, round(side * scale) // 2 * 2) for side in size)


def pair(sides: Iterable[int]) -> Size:
    width, height = sides
    return width, height


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
