"""Leave out chunks that show nothing new (stochastic similarity filter).

StreamDiffusion (Kodaira et al. 2023, section 3.5, equations 8 and 9) skips a frame with a
probability that rises from 0 at a similarity threshold to 1 at equality. Taken over from there: the
rule and the cap on skips in a row. Changed: the measure (a plain cosine calls any two dark pictures
equal), the cap counts consecutive skips, a change of controls wakes it at once, and the random
number is a pure function of (seed, chunk), so a run can be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .frames import Frame

THUMB_WIDTH, THUMB_HEIGHT = 64, 36
BLOCK_WIDTH, BLOCK_HEIGHT = 8, 9
WORST_SHARE = 8
"""Similarity is judged where the picture changed most: the worst 1/8 of the blocks."""
EXPOSURE = 8.0
"""Grey levels by which a camera's automatic exposure may move the whole picture unnoticed."""
NOISE = 16.0
"""Grey levels; keeps sensor noise in a flat or black picture from counting as change."""
CONTRAST = 24.0
"""Grey levels; contrast beyond this no longer hides a change."""
THRESHOLD = 0.98
MAX_SKIPS = 10

Thumb = npt.NDArray[np.float32]


def thumbnail(frame: Frame) -> Thumb:
    """Mean luma of a 64 x 36 grid over the picture, float32 [rows, columns].

    Pictures smaller than the grid give one cell a pixel.
    """
    luma = frame.planes[: frame.height]
    rows = _edges(frame.height, THUMB_HEIGHT)
    columns = _edges(frame.width, THUMB_WIDTH)
    # Rows first: the long axis is then summed with wide vector instructions.
    sums = np.add.reduceat(luma, rows, axis=0, dtype=np.uint32)
    sums = np.add.reduceat(sums, columns, axis=1, dtype=np.uint32)
    heights = np.diff(rows, append=frame.height)
    widths = np.diff(columns, append=frame.width)
    return (sums / np.outer(heights, widths)).astype(np.float32)


def similarity(a: Thumb, b: Thumb) -> float:
    """How alike two thumbnails are: 1 for equal, falling with the change in the worst blocks
    relative to the picture's contrast; robust to a small shift of brightness."""
    shift = float(np.clip(a.mean() - b.mean(), -EXPOSURE, EXPOSURE))
    squared = np.square(a - b - shift)
    contrast = min(0.5 * float(a.var() + b.var()), CONTRAST**2)
    blocks = np.sort(_block_means(squared))
    worst = blocks[-max(1, len(blocks) // WORST_SHARE) :].mean()
    return 1.0 - float(worst) / (contrast + NOISE**2)


def uniform(seed: int, index: int) -> float:
    """A number in [0, 1) that depends on (seed, index) alone (splitmix64 finaliser)."""
    mask = (1 << 64) - 1
    x = (seed * 0x9E3779B97F4A7C15 + (index + 1) * 0xD1B54A32D192ED03) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return ((x ^ (x >> 31)) >> 11) / float(1 << 53)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the filter thinks of a chunk, before it is known whether the chunk has its turn."""

    still: bool
    thumb: Thumb
    epoch: int


class SimilarityFilter:
    """Decides chunk by chunk whether to work on it or to repeat the last picture.

    Args:
        seed: of the random decisions.
        threshold: similarity from which on skipping is possible.
        max_skips: most chunks skipped in a row.
    """

    def __init__(
        self, seed: int = 0, threshold: float = THRESHOLD, max_skips: int = MAX_SKIPS
    ) -> None:
        if not 0.0 <= threshold < 1.0:
            raise ValueError(f"the threshold lies in [0, 1); got {threshold}")
        self._seed = seed
        self._threshold = threshold
        self._max_skips = max_skips
        self._reference: Thumb | None = None
        self._epoch = -1
        self._count = 0
        self._skips = 0

    def skips(self, frames: Sequence[Frame], epoch: int) -> bool:
        """Whether this chunk may be left out. Called once for each chunk, in order."""
        verdict = self.judge(frames, epoch)
        self.accept(verdict)
        return verdict.still

    def judge(self, frames: Sequence[Frame], epoch: int) -> Verdict:
        """What to do with a chunk, without remembering it: a newer one may still take its place.

        Args:
            frames: the chunk's frames, all of one size.
            epoch: of the controls; the first chunk of a new one always passes. So does the first
                after a pause of this filter, as switching it on is such a change.
        """
        thumbs = [thumbnail(frame) for frame in frames]
        still = (
            self._reference is not None
            and epoch == self._epoch
            and self._skips < self._max_skips
            and uniform(self._seed, self._count) < self._probability(thumbs)
        )
        return Verdict(still, thumbs[-1], epoch)

    def accept(self, verdict: Verdict) -> None:
        """The chunk had its turn and was treated so."""
        self._count += 1
        self._epoch = verdict.epoch
        self._skips = self._skips + 1 if verdict.still else 0
        if not verdict.still:
            self._reference = verdict.thumb

    def remembered(self) -> tuple[Thumb | None, tuple[int, int, int, int]]:
        """All that it decides by: the last chunk that passed, and its seed and counters."""
        return self._reference, (self._seed, self._epoch, self._count, self._skips)

    def remember(self, reference: Thumb | None, numbers: Sequence[int]) -> None:
        """Go on as another filter whose `remembered` this was."""
        self._reference = reference
        self._seed, self._epoch, self._count, self._skips = numbers

    def _probability(self, thumbs: Sequence[Thumb]) -> float:
        assert self._reference is not None
        least = min(similarity(thumb, self._reference) for thumb in thumbs)
        return max(0.0, (least - self._threshold) / (1.0 - self._threshold))


def _edges(size: int, cells: int) -> npt.NDArray[np.intp]:
    cells = min(size, cells)
    return np.arange(cells, dtype=np.intp) * size // cells


def _block_means(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    rows = np.arange(0, values.shape[0], BLOCK_HEIGHT)
    columns = np.arange(0, values.shape[1], BLOCK_WIDTH)
    sums = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
    heights = np.diff(rows, append=values.shape[0])
    widths = np.diff(columns, append=values.shape[1])
    return (sums / np.outer(heights, widths)).ravel().astype(np.float32)
