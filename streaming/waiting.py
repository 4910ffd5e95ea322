"""Who waits for a place, and how long that may take: pure, time is an argument."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

USUAL_S = 90.0
"""How long sessions last as long as none has ended here (median of live-chat traces)."""
REMEMBERED = 32
"""Ended sessions that the estimate looks at."""
STEP_S = 5.0
"""Estimates are told in these steps: they are no more exact than that."""


@dataclass
class WaitingRoom:
    """A queue, first come first served, bounded: when it is full the newest is refused.

    Args:
        places: who may wait at most.
    """

    places: int
    _order: list[str] = field(default_factory=list)
    _lengths: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._order))

    @property
    def full(self) -> bool:
        return len(self._order) >= self.places

    def enter(self, id: str, first: bool = False) -> None:
        """`first`: before all others, for who had a place and lost it without fault."""
        self._order.insert(0 if first else len(self._order), id)

    def leave(self, id: str) -> bool:
        """False when it did not wait."""
        if id not in self._order:
            return False
        self._order.remove(id)
        return True

    def ended(self, seconds: float) -> None:
        """A session ended that had its place for so long."""
        self._lengths.append(seconds)

    def estimate(self, position: int, served: int) -> float:
        """Seconds until the one at `position` (1 is next) has a place, while `served` have one.

        Sessions end independently of their age, so of n that last for a mean time m one leaves
        every m/n. The mean is taken as the median of those that ended over ln 2.
        """
        length = statistics.median(self._lengths) if self._lengths else USUAL_S
        seconds = position * length / 0.693 / max(1, served)
        return max(STEP_S, STEP_S * round(seconds / STEP_S))


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 11th."""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"
