"""Counts since a process began: small enough to travel with every answer of a worker.

A tally is {family: {label: numbers}}. Numbers are one count, or a histogram: one count for each
bucket of the family's bounds, one for what lies above the last bound, and the sum of all values.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence

TIMES = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2)
SLACKS = (-1.0, -0.5, -0.2, -0.1, -0.05, -0.02, -0.01, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
HISTOGRAMS: Mapping[str, Sequence[float]] = {"stage_seconds": TIMES, "slack_seconds": SLACKS}
"""Upper bounds of the buckets in seconds; a family that is not named here only counts."""

Tally = Mapping[str, Mapping[str, Sequence[float]]]


class Totals:
    """What one engine counted; any thread may write or read.

    Families: `stage_seconds` by stage, `slack_seconds` ("all"; below 0 is late), `drops` by cause,
    `deadlines` ("met", "missed"), `frames` ("made", "repeated"), `rung_changes` ("down", "up"),
    `busy_seconds` ("all": time that the device spent on launches), `stage_runs` by way.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tally: dict[str, dict[str, list[float]]] = {}

    def observe(self, family: str, label: str, value: float) -> None:
        """Put a value into a histogram of `HISTOGRAMS`."""
        bounds = HISTOGRAMS[family]
        with self._lock:
            numbers = self._numbers(family, label, len(bounds) + 2)
            numbers[bisect_left(bounds, value)] += 1
            numbers[-1] += value

    def count(self, family: str, label: str, amount: float = 1) -> None:
        """Add to a counter; it only grows."""
        with self._lock:
            self._numbers(family, label, 1)[0] += amount

    def counted(self, family: str, label: str = "all") -> float:
        """A counter's value, 0 before its first count."""
        with self._lock:
            return self._tally.get(family, {}).get(label, [0])[0]

    def plain(self) -> dict[str, dict[str, tuple[float, ...]]]:
        """A copy that can be pickled."""
        with self._lock:
            return {
                family: {label: tuple(numbers) for label, numbers in by_label.items()}
                for family, by_label in self._tally.items()
            }

    def _numbers(self, family: str, label: str, length: int) -> list[float]:
        return self._tally.setdefault(family, {}).setdefault(label, [0] * length)


def added(*tallies: Tally) -> dict[str, dict[str, tuple[float, ...]]]:
    """The sum of tallies, number by number."""
    total: dict[str, dict[str, tuple[float, ...]]] = {}
    for tally in tallies:
        for family, by_label in tally.items():
            mine = total.setdefault(family, {})
            for label, numbers in by_label.items():
                before = mine.get(label, (0,) * len(numbers))
                mine[label] = tuple(a + b for a, b in zip(before, numbers, strict=True))
    return total


class Ledger:
    """The counts of a worker over all its lives, so that none ever falls.

    What a worker counted after its last answer, half a second at most, is lost when it dies.
    """

    def __init__(self) -> None:
        self._past: Tally = {}
        self._present: Tally = {}

    def report(self, tally: Tally) -> None:
        """The worker's own counts since it was started."""
        self._present = tally

    def ended(self) -> None:
        """The worker is gone; the next one starts from nothing."""
        self._past, self._present = added(self._past, self._present), {}

    def total(self) -> dict[str, dict[str, tuple[float, ...]]]:
        return added(self._past, self._present)


class BusyShare:
    """Which share of the last seconds a device worked, from the seconds that it worked in all."""

    def __init__(self, seconds: float = 5.0) -> None:
        self._seconds = seconds
        self._seen: deque[tuple[float, float]] = deque()

    def of(self, now: float, worked: float) -> float:
        """The share since the oldest look within the window; 0 at the first look.

        Args:
            worked: seconds of work since the beginning.
        """
        self._seen.append((now, worked))
        # The oldest one may be older than the window: what matters is that it covers it.
        while len(self._seen) > 2 and self._seen[1][0] <= now - self._seconds:
            self._seen.popleft()
        then, before = self._seen[0]
        return min(1.0, (worked - before) / (now - then)) if now > then else 0.0
