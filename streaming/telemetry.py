"""What happened lately: rates, percentiles and drops by cause. `now` is always an argument."""

from __future__ import annotations

import math
import os
import resource
import sys
import threading
from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

from .totals import Totals

WINDOW_S = 10.0
"""How far back percentiles look, in seconds."""
RATE_S = 2.0
"""How far back rates look, in seconds."""
STAGES = ("wait", "encode", "model", "decode", "total")
"""wait: captured to taken. encode: pixels to the device and to RGB. model: the pipeline's step.
decode: to I420 and back to the host. total: captured to finished."""
LATE_DROP = "late_drop"
"""The cause of a drop that is a missed deadline too (see `scheduling.tasks.Hold`)."""


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the ascending values do not exceed
    (nearest rank); NaN when there are none."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Window:
    """Values of the last seconds.

    Args:
        seconds: age at which a value leaves.
        limit: most values kept, so that a flood stays bounded (oldest leave first).
    """

    def __init__(self, seconds: float = WINDOW_S, limit: int = 4096) -> None:
        self._seconds = seconds
        self._limit = limit
        self._values: deque[tuple[float, float]] = deque()
        self._ordered: list[float] = []

    def add(self, now: float, value: float) -> None:
        self._forget(now)
        if len(self._values) == self._limit:
            self._pop()
        self._values.append((now, value))
        insort(self._ordered, value)

    def percentiles(self, now: float, shares: Sequence[float] = (0.5, 0.95, 0.99)) -> list[float]:
        """One value for each share; NaN where the window is empty."""
        self._forget(now)
        return [percentile(self._ordered, share) for share in shares]

    def least(self, now: float) -> float:
        """The smallest value; NaN when empty."""
        self._forget(now)
        return self._ordered[0] if self._ordered else math.nan

    def __len__(self) -> int:
        return len(self._values)

    def _forget(self, now: float) -> None:
        while self._values and self._values[0][0] < now - self._seconds:
            self._pop()

    def _pop(self) -> None:
        _, value = self._values.popleft()
        del self._ordered[bisect_left(self._ordered, value)]


class Rate:
    """Events a second over the last seconds."""

    def __init__(self, seconds: float = RATE_S, limit: int = 4096) -> None:
        self._seconds = seconds
        self._moments: deque[tuple[float, int]] = deque(maxlen=limit)
        self.total = 0

    def add(self, now: float) -> None:
        """Pictures of one chunk leave at one moment; a rate has to see them as one burst."""
        count = 1
        if self._moments and self._moments[-1][0] == now:
            count += self._moments.pop()[1]
        self._moments.append((now, count))
        self.total += 1

    def per_second(self, now: float) -> float:
        """Events after the first moment in the window over the time since it, so that the rate is
        right from the second moment on; 0 when fewer than two are recent."""
        moments = self._moments
        while moments and moments[0][0] < now - self._seconds:
            moments.popleft()
        if len(moments) < 2:
            return 0.0
        # The time since the last event counts once it is longer than an interval: a stopped stream
        # fades out instead of freezing at its last rate.
        span = moments[-1][0] - moments[0][0]
        idle = max(0.0, now - moments[-1][0] - span / (len(moments) - 1))
        return sum(count for _, count in list(moments)[1:]) / (span + idle)


class SessionTelemetry:
    """One session's numbers: written by the engine's thread, read as plain data from any.

    Args:
        totals: the engine's own counts, which outlive the session; by default nobody reads them.
    """

    def __init__(self, totals: Totals | None = None) -> None:
        self._totals = totals or Totals()
        self._lock = threading.Lock()
        self._in = Rate()
        self._out = Rate()
        self._stages = {name: Window() for name in STAGES}
        self._intervals = Window()
        self._last_out: float | None = None
        self._opened_at: float | None = None
        self._first_ms: float | None = None
        self._slack = Window()
        self._superseded = self._superseded_before = 0
        self.met = self.missed = 0
        self.drops: Counter[str] = Counter()
        self.repeated = 0

    def opened(self, now: float) -> None:
        self._opened_at = now

    def counts(self, superseded: int) -> dict[str, Any]:
        """All that was counted since the session began, to be carried to another engine. What only
        looks back some seconds begins anew there.

        Args:
            superseded: see `snapshot`.
        """
        with self._lock:
            return {
                "frames_in": self._in.total,
                "frames_out": self._out.total,
                "repeated": self.repeated,
                "met": self.met,
                "missed": self.missed,
                "superseded": self._superseded_before + superseded,
                "drops": dict(self.drops),
                "first_ms": self._first_ms,
            }

    def go_on(self, counts: Mapping[str, Any]) -> None:
        """Go on from what another engine counted. Its totals have it already, these have not."""
        with self._lock:
            self._in.total, self._out.total = counts["frames_in"], counts["frames_out"]
            self.repeated = counts["repeated"]
            self.met, self.missed = counts["met"], counts["missed"]
            self._superseded_before = counts["superseded"]
            self.drops = Counter(counts["drops"])
            self._first_ms = counts["first_ms"]

    def took(self, now: float, captured_at: float) -> None:
        """A frame was taken for work."""
        with self._lock:
            self._in.add(now)
            self._stages["wait"].add(now, now - captured_at)
        self._totals.observe("stage_seconds", "wait", now - captured_at)

    def stage(self, now: float, name: str, seconds: float) -> None:
        with self._lock:
            self._stages[name].add(now, seconds)
        self._totals.observe("stage_seconds", name, seconds)

    def due(self, now: float, slack: float, frames: int = 1) -> None:
        """A chunk of `frames` pictures is done, `slack` seconds before its deadline (below 0: after
        it)."""
        with self._lock:
            self._slack.add(now, slack)
            if slack >= 0:
                self.met += frames
            else:
                self.missed += frames
        self._totals.observe("slack_seconds", "all", slack)
        self._totals.count("deadlines", "met" if slack >= 0 else "missed", frames)

    def rung(self, down: bool) -> None:
        """The session's place on the ladder changed."""
        self._totals.count("rung_changes", "down" if down else "up")

    def finished(self, now: float, captured_at: float, *, repeated: bool = False) -> None:
        """A frame left the engine."""
        with self._lock:
            self._out.add(now)
            self._stages["total"].add(now, now - captured_at)
            self.repeated += repeated
            if self._first_ms is None and self._opened_at is not None:
                self._first_ms = (now - self._opened_at) * 1e3
            if self._last_out is not None:
                self._intervals.add(now, now - self._last_out)
            self._last_out = now
        self._totals.observe("stage_seconds", "total", now - captured_at)
        self._totals.count("frames", "repeated" if repeated else "made")

    def dropped(self, cause: str, count: int = 1) -> None:
        """Frames that were not worked on; those that could not be done in time missed their
        deadline as well."""
        late = cause == LATE_DROP
        with self._lock:
            self.drops[cause] += count
            self.missed += count if late else 0
        self._totals.count("drops", cause, count)
        if late:
            self._totals.count("deadlines", "missed", count)

    def snapshot(self, now: float, frame_interval: float, superseded: int) -> dict[str, Any]:
        """Plain numbers by the design's names; times in milliseconds, None where unknown.

        Args:
            frame_interval: 1/fps in seconds; `jitter_ms` is the p95 distance from it.
            superseded: frames that a newer one replaced before they were taken, in this engine.
        """
        with self._lock:
            # The mailbox counts for itself; what is new since the last look goes to the totals.
            fresh, self._superseded = superseded - self._superseded, superseded
            numbers = self._snapshot(now, frame_interval, self._superseded_before + superseded)
        if fresh > 0:
            self._totals.count("drops", "superseded", fresh)
        return numbers

    def _snapshot(self, now: float, frame_interval: float, superseded: int) -> dict[str, Any]:
        taken, out = self._in.total, self._out.total
        offered, due = taken + superseded, self.met + self.missed
        jitter = max(
            (abs(v - frame_interval) for v in self._intervals.percentiles(now, (0.05, 0.95))),
            default=math.nan,
        )
        return {
            "fps_in": round(self._in.per_second(now), 2),
            "fps_out": round(self._out.per_second(now), 2),
            "frames_in": taken,
            "frames_out": out,
            "repeated": self.repeated,
            "e2e_ms": _milliseconds(self._stages["total"], now),
            "stages": {name: _milliseconds(w, now) for name, w in self._stages.items()},
            "ttff_ms": None if self._first_ms is None else round(self._first_ms, 1),
            "jitter_ms": _rounded(jitter * 1e3),
            "superseded_rate": round(superseded / offered, 4) if offered else 0.0,
            "deadline_miss_rate": round(self.missed / due, 4) if due else 0.0,
            "slack_ms": {
                name: _rounded(v * 1e3)
                for name, v in zip(
                    ("p05", "p50"), self._slack.percentiles(now, (0.05, 0.5)), strict=True
                )
            },
            "drops": {"superseded": superseded, **self.drops},
        }


def _milliseconds(window: Window, now: float) -> dict[str, float | None]:
    values = window.percentiles(now)
    return {name: _rounded(v * 1e3) for name, v in zip(("p50", "p95", "p99"), values, strict=True)}


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 2)


def process_stats() -> dict[str, Any]:
    """This process's id, its resident memory and the most that it ever was, in MiB."""
    # Kilobytes, save on macOS, where the kernel counts bytes.
    unit = 1024 if sys.platform == "darwin" else 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / unit
    return {"pid": os.getpid(), "memory_mb": _resident_mb(), "peak_memory_mb": round(peak, 1)}


def _resident_mb() -> float | None:
    try:
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
    except OSError:
        return None
    return round(pages * resource.getpagesize() / 2**20, 1)
