"""Measuring several things in turns, so that what else a machine does hits them all alike.

No clock and no torch here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

Thing = TypeVar("Thing")


def turns(things: Sequence[Thing], rounds: int) -> Iterator[tuple[int, Sequence[Thing]]]:
    """The number of each round and its order: forwards and backwards by turns, so that none always
    comes after the same other one."""
    for number in range(rounds):
        yield number, things if number % 2 == 0 else things[::-1]


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of some values, and how far they lie apart."""

    median: float
    least: float
    most: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread | None:
        """None of no values."""
        if not values:
            return None
        ordered = sorted(values)
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        return Spread(middle, ordered[0], ordered[-1])

    def rounded(self, digits: int = 3) -> dict[str, float]:
        """For a report; `digits` that count."""
        return {
            "median": significant(self.median, digits),
            "min": significant(self.least, digits),
            "max": significant(self.most, digits),
        }


def significant(value: float, digits: int = 3) -> float:
    """Rounded to so many digits that count."""
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, digits - 1 - math.floor(math.log10(abs(value))))
