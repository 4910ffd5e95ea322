"""Segments: what a stream's cache holds, told in the host's words. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal[
    "system", "query", "memo", "header", "vision", "caption", "footer", "question", "answer"
]
"""What a segment is. "query": a standing wish of the viewer. "memo": words kept of turns whose
pictures are gone. "header", "footer": the words around a turn's pictures and caption."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A run of tokens that enters and leaves the cache together.

    Attributes:
        kind: what it is.
        turn: number of the turn that it belongs to, from 0; -1 for what stands before all turns.
        time: second of the stream that it tells of.
        pinned: never evicted.
        slots: int64 [length], where its tokens lie in the arena.
        ids: int64 [length], token ids; -1 where a token is a picture's.
        offsets: float64 [3, length], positions (time, height, width) from `base`.
        base: position of its first token, all axes.
        span: how far after `base` the next segment begins.
        index: the how-manieth of its stream it was; tells the order within a turn.
    """

    kind: Kind
    turn: int
    time: float
    pinned: bool
    slots: NDArray[np.int64]
    ids: NDArray[np.int64]
    offsets: NDArray[np.float64]
    base: float
    span: float
    index: int = 0

    @property
    def length(self) -> int:
        return len(self.slots)

    def cut(self, start: int, stop: int) -> Segment:
        """Tokens start .. stop - 1 of a segment of words, as one of its own.

        Raises:
            ValueError: of a picture, whose tokens mean nothing apart.
        """
        if self.kind == "vision":
            raise ValueError("a picture's tokens are kept or evicted together")
        part = slice(start, stop)
        kept = self.offsets[:, part]
        return replace(
            self,
            slots=self.slots[part],
            ids=self.ids[part],
            offsets=kept - kept[:1, :1],
            base=self.base + float(kept[0, 0]) if kept.size else self.base,
            span=float(kept.shape[1]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """Words to append to a stream."""

    kind: Kind
    ids: tuple[int, ...]
    turn: int = -1
    time: float = 0.0
    pinned: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Pictures to append to a stream: what the vision tower made of them.

    Attributes:
        features: float tensor [t * h * w, dim] (typed loosely: this file imports no torch).
        grid: (t, h, w) in tokens.
        seconds: between two grids on the time axis.
    """

    features: object
    grid: tuple[int, int, int]
    turn: int
    time: float
    seconds: float = 1.0
    kind: Kind = "vision"
    pinned: bool = False


Piece = Words | Pictures
