"""How long the stages take on one device: measured, refined all the time, never guessed low.

One table belongs to one device, build and precision (see `cost_store` for where it is kept). A
neighbour on the machine slows everything at once: that is one factor for the whole device.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .interference import Interference
from .tasks import Shape, Stage

Curve = tuple[Stage, Shape, int | None]
"""What a row-cost curve is about: stage, shape, window."""
SAMPLES = 512
ENOUGH = 5
"""Samples from which on a measurement counts for more than a formula."""
KEPT_SAMPLES = 33
"""Quantiles of each key that are written to a file."""
SEED_TAIL = 1.15
"""What a formula's typical time is multiplied with where a share of 99 % is asked for: the spread
of pass times on an otherwise idle machine (CPU, measured) is below that."""


@dataclass(slots=True)
class Window:
    """The newest samples of one key, in order of arrival and sorted."""

    arrived: deque[float] = field(default_factory=deque)
    ordered: list[float] = field(default_factory=list)

    def add(self, seconds: float) -> None:
        if len(self.arrived) == SAMPLES:
            oldest = self.arrived.popleft()
            del self.ordered[bisect.bisect_left(self.ordered, oldest)]
        self.arrived.append(seconds)
        bisect.insort(self.ordered, seconds)

    def at(self, share: float) -> float:
        """The sample that no more than `1 - share` of all exceed."""
        return self.ordered[min(len(self.ordered) - 1, int(share * len(self.ordered)))]


@dataclass(frozen=True, slots=True)
class Formula:
    """Seconds of a stage as long as nothing is measured: `fixed + rows * per_row`."""

    fixed: float
    per_row: float

    def at(self, rows: int, share: float) -> float:
        tail = 1.0 + (SEED_TAIL - 1.0) * max(0.0, min(1.0, (share - 0.5) / 0.49))
        return tail * (self.fixed + rows * self.per_row)


class CostTable:
    """Times of stages by (stage, shape, rows, window); implements `Costs`.

    Between measured numbers of rows the curve is interpolated; above the largest it grows in
    proportion, below the smallest it stays at it: no prediction lies below what was measured for
    less work. A stage of which nothing at all is known costs nothing: its first launch tells.
    """

    def __init__(self) -> None:
        self._curves: dict[Curve, dict[int, Window]] = {}
        self._formulas: dict[Curve, Formula] = {}
        self._interference = Interference()
        self._took = self._usually = 0.0

    @property
    def interference(self) -> float:
        """How much slower than usual the device is at present, 1 for not at all."""
        return self._interference.factor

    def seconds(
        self, stage: Stage, shape: Shape, rows: int, window: int | None, share: float = 0.99
    ) -> float:
        """See `Costs.seconds`."""
        return self._interference.factor * self._usual(stage, shape, rows, window, share)

    def observe(
        self,
        stage: Stage,
        shape: Shape,
        rows: int,
        window: int | None,
        seconds: float,
        cold: bool = False,
    ) -> None:
        """Learn from a measurement.

        Args:
            seconds: what the stage took for all its rows.
            cold: it spans a compilation, a capture or a first allocation; such a sample tells
                nothing about the next one and is left out.
        """
        if cold or seconds <= 0.0:
            return
        curve = self._curves.setdefault((stage, shape, window), {})
        known = curve.setdefault(rows, Window())
        if len(known.ordered) >= ENOUGH:
            self._took += seconds
            self._usually += known.at(0.5)
        known.add(seconds)

    def launched(self) -> None:
        """What was observed since the last time was one launch. All its stages together tell of a
        neighbour: what disturbs one of them for a moment mostly disturbs the next one too."""
        if self._usually:
            self._interference.note(self._took / self._usually)
        self._took = self._usually = 0.0

    def seed(
        self, stage: Stage, shape: Shape, window: int | None, fixed: float, per_row: float
    ) -> None:
        """Say what to expect until enough is measured: `fixed + rows * per_row` seconds."""
        self._formulas[stage, shape, window] = Formula(fixed, per_row)

    def firm_up(self) -> None:
        """Let all that was measured so far count, however few samples: they come from a start,
        when nothing else ran."""
        for curve in self._curves.values():
            for window in curve.values():
                while len(window.ordered) < ENOUGH:
                    window.add(window.at(0.5))

    # ---- prediction without the factor ---------------------------------------------------------

    def _usual(
        self, stage: Stage, shape: Shape, rows: int, window: int | None, share: float
    ) -> float:
        found = self._on_curve((stage, shape, window), rows, share)
        if found is not None:
            return found
        near = self._nearest(stage, shape, window)
        if near is None:
            return 0.0
        seconds = self._on_curve(near, rows, share)
        assert seconds is not None, "the nearest curve is a known one"
        # Fewer pixels than measured save nothing for sure; more cost at least in proportion.
        return seconds * max(1.0, shape.pixels / near[1].pixels)

    def _on_curve(self, curve: Curve, rows: int, share: float) -> float | None:
        windows = self._curves.get(curve, {})
        exact = windows.get(rows)
        if exact is not None and len(exact.ordered) >= ENOUGH:
            return exact.at(share)
        points = [(n, w.at(share)) for n, w in windows.items() if len(w.ordered) >= ENOUGH]
        formula = self._formulas.get(curve)
        if points:
            most, seconds = max(points)
            if rows > most and formula is not None:
                # Beyond what was measured it grows as the formula does, from where it is.
                return seconds * formula.at(rows, share) / formula.at(most, share)
            return _interpolate(sorted(points), rows)
        if formula is not None:
            return formula.at(rows, share)
        points = [(n, w.at(share)) for n, w in windows.items()]
        return _interpolate(sorted(points), rows) if points else None

    def _nearest(self, stage: Stage, shape: Shape, window: int | None) -> Curve | None:
        """The known curve of this stage that is least unlike: same shape first, then by pixels,
        then by window, a longer one before a shorter one."""

        def unlike(curve: Curve) -> tuple[int, int, float]:
            shorter = window is None or (curve[2] is not None and curve[2] < window)
            distance = abs((curve[2] or 0) - (window or 0))
            return abs(curve[1].pixels - shape.pixels), curve[2] is not None and shorter, distance

        known = (c for c in (*self._curves, *self._formulas) if c[0] == stage)
        return min(known, key=unlike, default=None)

    # ---- to and from a file --------------------------------------------------------------------

    def to_json(self) -> list[list[Any]]:
        """Rows of [stage, width, height, chunk, rows, window, [seconds, ...]]."""
        return [
            [stage, shape.width, shape.height, shape.chunk, rows, window, _quantiles(w.ordered)]
            for (stage, shape, window), curve in self._curves.items()
            for rows, w in curve.items()
        ]

    @classmethod
    def from_json(cls, rows: Iterable[Iterable[Any]]) -> CostTable:
        """A table of what `to_json` gave; its samples are pushed out by new ones.

        Raises:
            ValueError, TypeError: it is something else.
        """
        table = cls()
        for stage, width, height, chunk, count, window, samples in rows:
            if stage not in ("encode", "pass", "decode", "commit"):
                raise ValueError(f"{stage!r} is no stage")
            shape = Shape(int(width), int(height), int(chunk))
            kept = table._curves.setdefault((stage, shape, window), {}).setdefault(
                int(count), Window()
            )
            for seconds in samples:
                kept.add(float(seconds))
        return table

    def __iter__(self) -> Iterator[tuple[Curve, int, int]]:
        """What is measured: (curve, rows, number of samples)."""
        for curve, windows in self._curves.items():
            for rows, window in windows.items():
                yield curve, rows, len(window.ordered)


def _interpolate(points: list[tuple[int, float]], rows: int) -> float:
    """On the line between the neighbours of `rows`; `points` are sorted by their number of rows."""
    highest = 0.0
    before: tuple[int, float] | None = None
    for count, seconds in points:
        # More rows never take less time: a dip is noise.
        highest = max(highest, seconds)
        if count >= rows:
            if before is None or count == rows:
                return highest
            part = (rows - before[0]) / (count - before[0])
            return before[1] + part * (highest - before[1])
        before = count, highest
    assert before is not None
    return before[1] * rows / before[0]


def _quantiles(ordered: list[float]) -> list[float]:
    if len(ordered) <= KEPT_SAMPLES:
        return [round(s, 7) for s in ordered]
    last = len(ordered) - 1
    return [round(ordered[last * n // (KEPT_SAMPLES - 1)], 7) for n in range(KEPT_SAMPLES)]
