"""The one place that reads a clock. Everything else takes `now` as an argument (house rule 2)."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds since an arbitrary origin shared by all processes of this host."""

    def now(self) -> float: ...


class SystemClock:
    """CLOCK_MONOTONIC: comparable between processes of one host, never steps back."""

    def now(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that tests and the simulator turn by hand."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"time runs forward; got {seconds} s")
        self._now += seconds
