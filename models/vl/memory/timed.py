"""`ByTime`: brings back what a question names by its time ("what happened a minute ago?")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .archive import Entry
from .focus import widened
from .policy import Cue
from .sizes import TimedSizes
from .store import ArchiveStore, Kept, in_order


def spread(items: Sequence[Kept], count: int) -> list[Kept]:
    """At most `count` of them, evenly, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    if count <= 1:
        return [items[len(items) // 2]][:count]
    last = len(items) - 1
    return [items[round(place * last / (count - 1))] for place in range(count)]


class ByTime:
    """Searches an archive for the seconds that a question names. A `recalls.Search`.

    Brings back the turns of the span and the last one before it (what `focus.focus` reads), unless
    that one is so long ago that what lay between must have been forgotten. Pictures are chosen
    evenly where they are too many; then come the words of their turns and, as far as
    `TimedSizes.tokens` allow, those of the others.
    """

    wants_queries = False

    def __init__(self, store: ArchiveStore, sizes: TimedSizes) -> None:
        self._store, self._sizes = store, sizes

    def find(self, cue: Cue) -> list[Entry] | None:
        if cue.span is None:
            return None
        start, stop = widened(cue.span)
        pictures = self._within(self._store.pictures, start, stop)
        words = self._within(self._store.words, start, stop)
        before = max((_turn(i) for i in (*pictures, *words) if i.time < start), default=-1)
        pictures = [item for item in pictures if item.time >= start or _turn(item) == before]
        words = [item for item in words if item.time >= start or _turn(item) == before]
        shown = self._chosen(pictures)
        left = self._sizes.tokens - sum(item.length for item in shown)
        return in_order([*shown, *_fitting(words, {_turn(item) for item in shown}, left)])

    def _within(self, items: Sequence[Kept], start: float, stop: float) -> list[Kept]:
        return [item for item in items if start - self._sizes.still <= item.time <= stop]

    def _chosen(self, pictures: Sequence[Kept]) -> list[Kept]:
        if not pictures:
            return []
        room = self._sizes.tokens // max(item.length for item in pictures)
        return spread(pictures, min(self._sizes.pictures, room))


def _fitting(words: Iterable[Kept], shown: set[int], left: int) -> list[Kept]:
    """Words of turns, whole, within `left` tokens: first of those that are shown, then the others,
    each in the order of time."""
    turns: dict[int, list[Kept]] = {}
    for item in words:
        turns.setdefault(_turn(item), []).append(item)
    fitting: list[Kept] = []
    for turn in sorted(turns, key=lambda turn: (turn not in shown, turn)):
        size = sum(item.length for item in turns[turn])
        if size <= left:
            fitting += turns[turn]
            left -= size
    return fitting


def _turn(item: Kept) -> int:
    return item.entry.segment.turn
