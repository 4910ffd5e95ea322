"""Segments, entries and pictures for tests of memory, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
import torch
from millrace.models.vl.memory.archive import Entry
from millrace.models.vl.memory.policy import Window
from millrace.models.vl.segments import Kind, Pictures, Segment
from torch import Tensor


class Maker:
    """Makes segments; every token gets a slot and an id of its own, so that it can be found."""

    def __init__(self) -> None:
        self._next = count()
        self._made = 0

    def segment(
        self, kind: Kind, length: int, turn: int = -1, time: float = 0.0, pinned: bool = False
    ) -> Segment:
        numbers = np.array([next(self._next) for _ in range(length)], dtype=np.int64)
        offsets = np.tile(np.arange(length, dtype=np.float64), (3, 1))
        ids = np.full_like(numbers, -1) if kind == "vision" else numbers
        index, self._made = self._made, self._made + 1
        return Segment(kind, turn, time, pinned, numbers, ids, offsets, 0.0, float(length), index)

    def opening(self, system: int = 5, query: int = 0) -> list[Segment]:
        table = [self.segment("system", system, pinned=True)]
        return table + ([self.segment("query", query, pinned=True)] if query else [])

    def turn(self, number: int, vision: int = 4, caption: int = 0) -> list[Segment]:
        """A turn a second: header, pictures (or none), caption (or none), footer."""
        time = float(number)
        table = [self.segment("header", 1, number, time)]
        if vision:
            table.append(self.segment("vision", vision, number, time))
        if caption:
            table.append(self.segment("caption", caption, number, time))
        return [*table, self.segment("footer", 1, number, time)]


def live(
    window: Window, turns: Sequence[tuple[int, int]], query: int = 0
) -> tuple[list[Segment], list[Segment]]:
    """A stream of (vision, caption) tokens a turn under a window: what it keeps at the end, and
    all that ever was."""
    maker = Maker()
    table = maker.opening(query=query)
    everything = list(table)
    for number, (vision, caption) in enumerate(turns):
        turn = maker.turn(number, vision, caption)
        everything += turn
        table = window.keep([*table, *turn])
    return table, everything


def tokens(table: Sequence[Segment]) -> list[int]:
    return [int(slot) for segment in table for slot in segment.slots]


def entry_of(
    segment: Segment,
    layers: int = 2,
    heads: int = 2,
    dim: int = 8,
    keys: Tensor | None = None,
) -> Entry:
    """An entry whose keys are those given or follow from its first slot."""
    shape = (layers, segment.length, heads, dim)
    generator = torch.Generator().manual_seed(int(segment.slots[0]) if segment.length else 0)
    drawn = torch.randn(2, *shape, generator=generator)
    return Entry(segment, drawn[0] if keys is None else keys, drawn[1])


def picture(
    number: int, value: Tensor | float, grid: tuple[int, int, int] = (1, 4, 4), dim: int = 3
) -> Pictures:
    """A turn's pictures, all tokens alike where a number is given."""
    length = grid[0] * grid[1] * grid[2]
    features = value if isinstance(value, Tensor) else torch.full((length, dim), float(value))
    return Pictures(features, grid, number, float(number))
