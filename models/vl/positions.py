"""Where tokens stand: three axes, contiguous over what is there (no torch here).

Words stand at consecutive places on all three axes. A block of pictures that begins at p has grid g
at time p + g * seconds * tokens_per_second, not rounded, and row y, column x at p + y, p + x; what
follows begins one past the largest place of any axis (Qwen2-VL, arXiv 2409.12191, section 2.1;
StreamingVLM, arXiv 2510.09608, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .segments import Kind, Piece, Segment, Words

Places = NDArray[np.float64]


@lru_cache(maxsize=256)
def word_offsets(count: int) -> Places:
    """Places of words from their beginning, float64 [3, count]; read only."""
    out = np.broadcast_to(np.arange(count, dtype=np.float64), (3, count))
    return out


@lru_cache(maxsize=64)
def picture_offsets(grid: tuple[int, int, int], step: float) -> Places:
    """Places of the tokens of a block of pictures from its beginning; read only.

    Args:
        grid: (t, h, w) in tokens.
        step: from one grid to the next on the time axis.

    Returns:
        float64 [3, t * h * w].
    """
    axes = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in grid), indexing="ij")
    out = np.stack([axis.ravel() for axis in axes])
    out[0] *= step
    out.flags.writeable = False
    return out


def piece_offsets(piece: Piece, tokens_per_second: float) -> tuple[Places, float]:
    """Places of a piece from its beginning [3, n], and how far on the next one begins."""
    if isinstance(piece, Words):
        return word_offsets(len(piece.ids)), float(len(piece.ids))
    step = piece.seconds * tokens_per_second
    t, h, w = piece.grid
    return picture_offsets(piece.grid, step), max((t - 1) * step, h - 1.0, w - 1.0) + 1


class Layout(Protocol):
    """Where segments begin. Only differences matter to a model."""

    def bases(self, kinds: Sequence[Kind], spans: Sequence[float]) -> Places:
        """Where each of a sequence of segments begins, from 0: float64 [n]."""
        ...

    def following(self, table: Sequence[Segment], kind: Kind) -> float:
        """Where a segment of a kind begins that is appended to `table`; 0 for the first."""
        ...

    def rearranged(self, kept: Sequence[Segment], old: Sequence[Segment]) -> Places:
        """Where each of `kept` is to begin, float64 [n]; `old` is the table that they come from.

        As many of the newest as possible stay where they are, so that little is rotated anew.
        """
        ...


class Contiguous:
    """One after the other without gaps (the published rule)."""

    def bases(self, kinds: Sequence[Kind], spans: Sequence[float]) -> Places:
        out = np.zeros(len(spans))
        np.cumsum(spans[:-1], out=out[1:])
        return out

    def following(self, table: Sequence[Segment], kind: Kind) -> float:
        return table[-1].base + table[-1].span if table else 0.0

    def rearranged(self, kept: Sequence[Segment], old: Sequence[Segment]) -> Places:
        # They stand before where the last of them ends: a run at the end does not move, whatever
        # came after it.
        spans = np.array([segment.span for segment in kept])
        return self.following(kept, "caption") - np.cumsum(spans[::-1])[::-1]


class Growing(Contiguous):
    """Everything keeps its place for ever, with gaps where something left ("append" of
    StreamingVLM): the control that a bounded layout is compared with. Streams must stay short."""

    def rearranged(self, kept: Sequence[Segment], old: Sequence[Segment]) -> Places:
        return np.array([segment.base for segment in kept])


CONTIGUOUS = Contiguous()


def lay_out(
    pieces: Sequence[Piece], tokens_per_second: float, layout: Layout = CONTIGUOUS
) -> Places:
    """Places of all tokens of a whole sequence from 0, float64 [3, L]."""
    placed = [piece_offsets(piece, tokens_per_second) for piece in pieces]
    if not placed:
        return np.zeros((3, 0))
    bases = layout.bases([piece.kind for piece in pieces], [span for _, span in placed])
    offsets = [part for part, _ in placed]
    lengths = [part.shape[1] for part in offsets]
    return np.concatenate(offsets, 1) + np.repeat(bases, lengths)
