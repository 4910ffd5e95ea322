"""How long a call takes, on a device and on a processor."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch

FLUSHED_BYTES = 256 << 20
"""More than any device's second cache holds."""
LEAST_MS = 1.0
"""Shorter calls are repeated on a processor, whose clock and threads have a grain of their own."""


class DeviceTimer:
    """Time between two events on the current stream.

    A large buffer is written first: the inputs then come from memory, as the model's weights do,
    and the host is far enough ahead that its own time for a launch is not measured (within a
    graph there is none).
    """

    def __init__(self, device: torch.device | str) -> None:
        self._device = torch.device(device)
        self._flushed = torch.empty(FLUSHED_BYTES, dtype=torch.int8, device=device)
        self._events = tuple(torch.cuda.Event(enable_timing=True) for _ in range(2))

    def __call__(self, call: Callable[[], object]) -> float:
        begin, end = self._events
        self._flushed.zero_()
        begin.record()
        call()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))


class ClockTimer:
    """Time by a clock: the median of as many calls as fill a millisecond, so that somebody else's
    turn on the processor, which takes longer than a short call, counts for one call only.

    Args:
        now: monotonic seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def __call__(self, call: Callable[[], object]) -> float:
        times: list[float] = []
        begun = last = self._now()
        while not times or 1e3 * (last - begun) < LEAST_MS:
            call()
            before, last = last, self._now()
            times.append(1e3 * (last - before))
        return statistics.median(times)
