"""What a launch will take: the costs of its stages, added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..pipeline import Effort
from .tasks import Costs, Profile, Shape

TYPICAL = 0.5
CAUTIOUS = 0.9
"""Plans count on this share of all cases: what is slower than nine in ten is caught by early exit
and by planning again, and counting on the one in a hundred would idle the device for the others."""
REFRESH = 8
"""Launches after which remembered predictions are renewed; costs move slowly."""


@dataclass(frozen=True, slots=True)
class Row:
    """One chunk's part of a launch: its effort in what costs time."""

    shape: Shape
    window: int | None
    passes: int
    commit: bool


def at_scale(shape: Shape, scale: float) -> Shape:
    """The shape that the model works on at an effort of this scale."""
    if scale == 1.0:
        return shape
    return Shape(round(shape.width * scale), round(shape.height * scale), shape.chunk)


def passes_of(profile: Profile, effort: Effort) -> int:
    """Denoising passes of a chunk at this effort, at least one."""
    most = profile.passes if effort.passes is None else min(effort.passes, profile.passes)
    return max(1, most)


def row_of(profile: Profile, effort: Effort) -> Row:
    """What a chunk of this session is at this effort."""
    shape = at_scale(profile.shape, effort.scale)
    return Row(shape, effort.window, passes_of(profile, effort), effort.commit)


class Quotes:
    """Predicted times of whole launches, remembered for some launches.

    Args:
        costs: of the stages on this device.

    Attributes:
        version: grows when the remembered predictions are forgotten.
    """

    def __init__(self, costs: Costs) -> None:
        self.costs = costs
        self.version = 0
        self._launches = 0
        self._known: dict[tuple[Row, int, float], float] = {}

    def changed(self) -> None:
        """A launch was measured: every few of them the costs are asked for again."""
        self._launches += 1
        if self._launches % REFRESH == 0:
            self.version += 1
            self._known.clear()

    def alike(self, row: Row, rows: int, share: float = CAUTIOUS) -> float:
        """Seconds of a launch of `rows` equal rows."""
        key = (row, rows, share)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self.launch([row] * rows, share)
        return known

    def each(self, row: Row, most: int, share: float = CAUTIOUS) -> float:
        """Seconds per row when up to `most` rows may go together, at the best number of them."""
        best = self.alike(row, 1, share)
        rows = 2
        while rows <= most:
            best = min(best, self.alike(row, rows, share) / rows)
            rows *= 2
        return best

    def launch(self, rows: Sequence[Row], share: float = CAUTIOUS, done: int = 0) -> float:
        """Seconds of a launch: encode, passes, decode and commit of rows of one shape.

        Args:
            done: passes that are behind it; with any, the encoding is behind it as well.
        """
        shape, count = rows[0].shape, len(rows)
        total = self.costs.seconds("decode", shape, count, None, share)
        if not done:
            total += self.costs.seconds("encode", shape, count, None, share)
        for number in range(done, max(row.passes for row in rows)):
            going = [row.window for row in rows if row.passes > number]
            total += self.costs.seconds("pass", shape, len(going), widest(going), share)
        committing = [row.window for row in rows if row.commit]
        if committing:
            window = widest(committing)
            total += self.costs.seconds("commit", shape, len(committing), window, share)
        return total


def widest(windows: Sequence[int | None]) -> int | None:
    """The window that a pass over all these rows needs; None is everything."""
    known = [window for window in windows if window is not None]
    return max(known) if len(known) == len(windows) else None
