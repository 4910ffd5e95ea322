"""`Stream`: what one stream holds of an arena, as plain host data. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .positions import Layout, Places
from .segments import Kind, Segment

Slots = NDArray[np.int64]


@dataclass(eq=False)
class Stream:
    """A table of segments over slots of an arena.

    Attributes:
        number: of the stream, in the order of opening; forks count as well.
        layout: where its segments stand.
        parent: number of the stream that it was forked from, -1 for none.
        table: its segments, in the order in which the model sees them.
        closed: its slots are given back; nothing may be done with it any more.
        count: segments that it ever held.
    """

    number: int
    layout: Layout
    parent: int = -1
    table: list[Segment] = field(default_factory=list)
    closed: bool = False
    count: int = 0
    _slots: Slots = field(default_factory=lambda: np.zeros(64, np.int64), repr=False)
    _length: int = 0

    @property
    def length(self) -> int:
        """Tokens that it holds."""
        return self._length

    @property
    def position(self) -> float:
        """Where words that are appended next begin."""
        return self.layout.following(self.table, "caption")

    @property
    def slots(self) -> Slots:
        """Slots of all its tokens in order; a view, for reading."""
        return self._slots[: self._length]

    @property
    def turn(self) -> int:
        """Number of the newest turn, -1 before the first."""
        return max((segment.turn for segment in self.table), default=-1)

    def begin(self, kind: Kind, turn: int = -1, time: float = 0.0) -> None:
        """Open a segment of words at the end, empty so far, that `StreamingVL.step` fills."""
        self.check()
        base = self.layout.following(self.table, kind)
        nothing = np.zeros(0, np.int64)
        self.add(Segment(kind, turn, time, False, nothing, nothing, np.zeros((3, 0)), base, 0.0))

    def add(self, segment: Segment) -> None:
        """Put a segment, whose slots are held already, at the end."""
        if self.table and not self.table[-1].length:
            self.table.pop()
        self.table.append(replace(segment, index=self.count))
        self.count += 1
        self._extend(segment.slots)

    def grow(self, slot: Slots, token: int) -> None:
        """Put one word at the end of the last segment, which is one of words."""
        last = self.table[-1]
        self.table[-1] = replace(
            last,
            slots=np.append(last.slots, slot),
            ids=np.append(last.ids, token),
            offsets=np.concatenate((last.offsets, np.full((3, 1), last.span)), 1),
            span=last.span + 1.0,
        )
        self._extend(slot)

    def put(self, table: list[Segment]) -> None:
        """Put another table in the place of this one."""
        self.table, self._length = table, 0
        for segment in table:
            self._extend(segment.slots)

    def check(self) -> None:
        """Raise ValueError if it is closed."""
        if self.closed:
            raise ValueError(f"stream {self.number} is closed")

    def _extend(self, slots: Slots) -> None:
        stop = self._length + len(slots)
        if stop > len(self._slots):
            self._slots = np.resize(self._slots, 2 * stop)
        self._slots[self._length : stop] = slots
        self._length = stop


def slots_of(table: Sequence[Segment]) -> Slots:
    """Slots of all tokens in order, int64 [n]."""
    parts = [segment.slots for segment in table]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def places_of(table: Sequence[Segment]) -> Places:
    """Where all tokens are to stand, float64 [3, n]."""
    parts = [segment.offsets + segment.base for segment in table]
    return np.concatenate(parts, 1) if parts else np.zeros((3, 0))


def shortened(table: Sequence[Segment], count: int) -> list[Segment]:
    """The table without its last `count` tokens.

    Raises:
        ValueError: that would cut a picture, or there are fewer.
    """
    left = list(table)
    while count:
        if not left:
            raise ValueError(f"{count} tokens more to take back than there are")
        last = left.pop()
        if last.length > count:
            left.append(last.cut(0, last.length - count))
        count -= min(count, last.length)
    return left


def leaving(table: Sequence[Segment], gone: NDArray[np.bool_]) -> list[Segment]:
    """Segments, or the parts of them, whose slots are marked in `gone` (bool [slots])."""
    out: list[Segment] = []
    for segment in table:
        marks = gone[segment.slots]
        if not segment.length or not marks.any():
            continue
        if marks.all():
            out.append(segment)
            continue
        edges = np.flatnonzero(np.diff(np.concatenate(([False], marks, [False]))))
        runs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        out.extend(segment.cut(start, stop) for start, stop in runs)
    return out


def place_in(table: Sequence[Segment], segment: Segment) -> int:
    """Where a segment that comes back belongs: before the first that is younger.

    What stands before all turns has no age, and so have questions at the end.
    """
    age = segment.turn, segment.index
    for index, other in enumerate(table):
        if other.turn >= 0 and (other.turn, other.index) > age:
            return index
    timeless = (index for index in range(len(table), 0, -1) if table[index - 1].turn >= 0)
    standing = (index for index in range(len(table), 0, -1) if table[index - 1].pinned)
    return next(timeless, next(standing, 0))
