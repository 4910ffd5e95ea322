"""`ByTime`: brings back what a question names by its time ("what happened a minute ago?")."""

from __future__ import annotations

from collections.abc import Sequence

from ..segments import Kind
from .archive import Entry
from .policy import Cue
from .sizes import TimedSizes
from .store import ArchiveStore, Kept, in_order

_SAID: tuple[Kind, ...] = ("caption", "memo", "question", "answer")
_HALF = 0.5
"""A turn tells of a second; one that begins half of it off the span is still of the span."""


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

    Brings back pictures of the span, evenly chosen where they are too many, with the words of
    their turns; then, as far as `TimedSizes.tokens` allow, the turns within `around` seconds in
    which something was said, the nearest first. Where no picture of the span is left the nearest
    one stands in, unless it lies too far off or the span is still in the cache.
    """

    wants_queries = False

    def __init__(self, store: ArchiveStore, sizes: TimedSizes) -> None:
        self._store, self._sizes = store, sizes

    def find(self, cue: Cue) -> list[Entry] | None:
        if cue.span is None:
            return None
        start, stop = min(cue.span), max(cue.span)
        chosen = self._pictures(start, stop, cue.now)
        left = self._sizes.tokens - sum(item.length for item in chosen)
        return in_order([*chosen, *self._words(start, stop, {_turn(i) for i in chosen}, left)])

    def _pictures(self, start: float, stop: float, now: float) -> list[Kept]:
        pictures = self._store.pictures
        within = [item for item in pictures if start - _HALF <= item.time <= stop + _HALF]
        if not within and pictures and start <= pictures[-1].time:
            nearest = min(pictures, key=lambda item: _distance(item, start, stop))
            reach = max(1.0, self._sizes.tolerance * (now - nearest.time))
            within = [nearest] if _distance(nearest, start, stop) <= reach else []
        if not within:
            return []
        room = self._sizes.tokens // max(item.length for item in within)
        return spread(within, min(self._sizes.pictures, room))

    def _words(self, start: float, stop: float, shown: set[int], left: int) -> list[Kept]:
        """Words of the turns that are `shown`, then of those in which something was said."""
        around = self._sizes.around
        turns: dict[int, list[Kept]] = {}
        for item in self._store.words:
            if _turn(item) in shown or start - around <= item.time <= stop + around:
                turns.setdefault(_turn(item), []).append(item)
        told = [
            (turn not in shown, _distance(items[0], start, stop), turn)
            for turn, items in turns.items()
            if turn in shown or any(item.entry.segment.kind in _SAID for item in items)
        ]
        words: list[Kept] = []
        for _, _, turn in sorted(told):
            size = sum(item.length for item in turns[turn])
            if size <= left:
                words += turns[turn]
                left -= size
        return words


def _turn(item: Kept) -> int:
    return item.entry.segment.turn


def _distance(item: Kept, start: float, stop: float) -> float:
    """Seconds from a span; 0 within it."""
    return max(start - item.time, item.time - stop, 0.0)
