"""One factor for a device that is slower than usual, because somebody else uses it too."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

UP, DOWN = 0.5, 0.05
"""Weights of the newest ratio: a neighbour is believed at once, its absence only after a while."""
LIMITS = 1.0, 4.0
RECENT = 5
"""Launches of which the median counts, so that a single hiccup is no neighbour."""
DEAD_BAND = 1.05
"""A median up to here is the usual noise."""


@dataclass(slots=True)
class Interference:
    """A moving average of measured over usual time, quick to rise and slow to fall."""

    factor: float = 1.0
    _recent: deque[float] = field(default_factory=lambda: deque([1.0] * RECENT, RECENT))

    def note(self, ratio: float) -> None:
        """A launch took `ratio` times what it usually takes."""
        self._recent.append(ratio)
        median = sorted(self._recent)[len(self._recent) // 2]
        target = median if median > DEAD_BAND else 1.0
        weight = UP if target > self.factor else DOWN
        moved = self.factor + weight * (target - self.factor)
        self.factor = max(LIMITS[0], min(LIMITS[1], moved))
