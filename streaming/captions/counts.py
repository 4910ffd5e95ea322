"""A session's numbers as plain data. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..telemetry import Window

COUNTED = frozenset({"turns", "evictions", "spoken", "duplicates", "answered"})


def added(past: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of both; of what is no count, the present one where there is one."""
    out = {**past, **present}
    for name in past.keys() & present.keys():
        if name in COUNTED:
            out[name] = past[name] + present[name]
        elif name == "looks":
            looks = past[name].keys() | present[name].keys()
            out[name] = {n: past[name].get(n, 0) + present[name].get(n, 0) for n in looks}
    return out


def percentiles(window: Window, now: float) -> dict[str, float | None]:
    p50, p95 = window.percentiles(now, (0.5, 0.95))
    return {
        name: None if math.isnan(value) else round(value, 1)
        for name, value in (("p50", p50), ("p95", p95))
    }
