"""What a question that names a time reads: that time, and what was so before it. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from ..segments import Kind

HALF = 0.5
"""A turn tells of a second; one that begins half of it off the span is still of the span."""


class Dated(Protocol):
    """What is looked at: segments, and words and pictures that become some."""

    @property
    def kind(self) -> Kind: ...
    @property
    def turn(self) -> int: ...
    @property
    def time(self) -> float: ...
    @property
    def pinned(self) -> bool: ...


T = TypeVar("T", bound=Dated)


def widened(span: tuple[float, float]) -> tuple[float, float]:
    """The seconds at which turns of a span begin, ascending."""
    return min(span) - HALF, max(span) + HALF


def focus(table: Sequence[T], span: tuple[float, float]) -> list[T]:
    """What of `table` is read for a question about `span` (seconds of the stream), in its order:
    what is pinned, all of the turns whose second lies within the span or half a second beside it,
    and all of the last turn before these. That one tells what was so when the span began, which is
    all there is to tell of seconds in which the picture stood still and no turn was read.

    What was said in a turn that is not otherwise there any more (memo) is left out: nothing beside
    it tells when it was.
    """
    start, stop = widened(span)
    whole = {part.turn for part in table if part.turn >= 0 and part.kind != "memo"}
    dated = [part for part in table if part.turn in whole]
    before = max((part.turn for part in dated if part.time < start), default=-1)
    turns = {part.turn for part in dated if start <= part.time <= stop} | {before}
    turns.discard(-1)
    return [part for part in table if part.pinned or part.turn in turns]
