"""First pictures that viewers send: checked where they come in, decoded from memory, kept a while.

What a viewer sends is bytes and never a name: nothing is opened as a path, and only three formats
are tried. A picture's size is read from its header and judged before anything is decoded.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import TypeVar, cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image, ImageOps

from .tracks import Planes

T = TypeVar("T")
MAX_BYTES = 8 << 20
"""Of a file."""
MAX_PIXELS = 40_000_000
"""Of a picture before it is made smaller; decoded that is 120 MB."""
KEPT_SIDE = 1280
"""Longer side of what is kept."""
PER_VIEWER, IN_ALL = 2, 24
"""Pictures that are kept; the oldest goes first. One has 5 MB at most."""
FORMATS = ("JPEG", "PNG", "WEBP")


class PictureError(ValueError):
    """A file that cannot be taken, or a picture that is not there; the message says what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A picture as it is kept: upright, without alpha."""

    id: str
    user: str
    image: Image.Image


class Pictures:
    """What viewers have sent. Bounded, oldest dropped; used on one event loop.

    One picture is worked on at a time, on another thread: the loop never waits for a decoder.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._one = asyncio.Semaphore(1)

    async def add(self, user: str, data: bytes) -> Kept:
        """Keep a file's picture for its viewer.

        Raises:
            PictureError: too large, not one of the formats, or damaged.
        """
        picture = Kept(secrets.token_urlsafe(16), user, await self._apart(lambda: decode(data)))
        mine = [one.id for one in self._kept.values() if one.user == user]
        for id in mine[: len(mine) - PER_VIEWER + 1]:
            del self._kept[id]
        while len(self._kept) >= IN_ALL:
            self._kept.popitem(last=False)
        self._kept[picture.id] = picture
        return picture

    async def planes(self, user: str, id: str, width: int, height: int) -> Planes:
        """A viewer's picture as a session takes it, see `fitted`.

        Raises:
            PictureError: this viewer has no such picture (any more).
        """
        kept = self._kept.get(id)
        if kept is None or kept.user != user:
            raise PictureError("that picture is no longer here; please choose it again")
        self._kept.move_to_end(id)
        return await self._apart(lambda: fitted(kept.image, width, height))

    async def _apart(self, work: Callable[[], T]) -> T:
        async with self._one:
            return await asyncio.to_thread(work)


def decode(data: bytes) -> Image.Image:
    """A file's first picture, upright, RGB, its longer side at most `KEPT_SIDE`.

    Raises:
        PictureError: see `Pictures.add`.
    """
    if len(data) > MAX_BYTES:
        raise PictureError(f"the file has more than {MAX_BYTES >> 20} MB; please save it smaller")
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)  # reads the header only
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise PictureError(
                f"{width}x{height} is more than {MAX_PIXELS // 10**6} million pixels; please "
                "save it smaller"
            )
        image.draft("RGB", (KEPT_SIDE, KEPT_SIDE))  # a JPEG is decoded at a half or less at once
        image.load()
        return _plain(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        # What Pillow raises on files that it cannot read; a PNG's broken chunks are SyntaxErrors.
        raise PictureError(
            f"the file is no JPEG, PNG or WebP picture that can be read ({type(error).__name__})"
        ) from error


def _plain(image: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    upright.thumbnail((KEPT_SIDE, KEPT_SIDE), Image.Resampling.BICUBIC)
    if upright.has_transparency_data:
        ground = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(ground, upright.convert("RGBA"))
    return upright.convert("RGB")


def fitted(image: Image.Image, width: int, height: int) -> Planes:
    """I420 planes, uint8 [height * 3/2, width], BT.601 limited: the picture scaled until it covers
    the size, and cut around its middle."""
    cut = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    frame = av.VideoFrame.from_ndarray(np.asarray(cut), "rgb24")
    planes = frame.reformat(
        format="yuv420p",
        interpolation="AREA",
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.MPEG,
    )
    return cast(Planes, planes.to_ndarray())
