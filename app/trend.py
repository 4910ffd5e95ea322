"""Whether a series of measurements grows: a straight line and how sure its slope is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

BLOCKS = 12
"""Parts of which the means are taken first: neighbours in a series are alike, and one by one they
would make any slope look certain."""


@dataclass(frozen=True, slots=True)
class Trend:
    """Slope per minute with its standard error."""

    slope: float
    error: float

    @property
    def grows(self) -> bool:
        """Up by more than twice the error."""
        return self.slope > 2 * self.error

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which knows no infinity: an unknown error is None."""
        rounded = {
            name: round(value, 4) if math.isfinite(value) else None
            for name, value in asdict(self).items()
        }
        return {**rounded, "grows": self.grows}


def trend(series: Sequence[tuple[float, float]]) -> Trend:
    """Least-squares line through the means of `BLOCKS` parts of (seconds, value) pairs.

    Fewer than three parts have no slope: 0 with an infinite error.
    """
    means = _means(series)
    n = len(means)
    if n < 3:
        return Trend(0.0, math.inf)
    middle_t = sum(t for t, _ in means) / n
    middle_v = sum(v for _, v in means) / n
    spread = sum((t - middle_t) ** 2 for t, _ in means)
    slope = sum((t - middle_t) * (v - middle_v) for t, v in means) / spread
    rest = sum((v - middle_v - slope * (t - middle_t)) ** 2 for t, v in means)
    return Trend(60 * slope, 60 * math.sqrt(rest / (n - 2) / spread))


def _means(series: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    size = max(1, math.ceil(len(series) / BLOCKS))
    parts = [series[i : i + size] for i in range(0, len(series), size)]
    return [(sum(t for t, _ in p) / len(p), sum(v for _, v in p) / len(p)) for p in parts]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of all lies; NaN of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan
