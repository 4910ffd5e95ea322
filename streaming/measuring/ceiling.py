"""What a device can do at most, measured: a large matrix product and a large copy.

The same library, data type and threads as the model's, so that a share of it says how much of what
was possible here and now was reached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..clock import Clock
from ..stopwatch import Stopwatch

GPU_SIDE = 8192
"""Of the square matrices: 1.1 TFLOP a product."""
GPU_COPY = 1 << 30
"""Bytes."""
CPU_SIDES = (512, 1024, 2048, 4096)
CPU_COPY = 1 << 28
"""Larger than the caches of a processor."""
LONG_ENOUGH_S = 0.03
"""A product that takes this long is large enough to be timed."""
REPEATS = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """FLOP/s of the product, and bytes/s of the copy, what is read and what is written."""

    flops: float
    bandwidth: float


class Ceiling:
    """Holds the matrices; each `read` is the best of a few tries.

    Args:
        copied: bytes that the copy is of; by default enough for this kind of device.
        sides: of the matrices, tried in order until a product takes long enough.
    """

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype,
        clock: Clock,
        copied: int = 0,
        sides: tuple[int, ...] = (),
    ) -> None:
        gpu = device.type == "cuda"
        self._device, self._dtype, self._clock = device, dtype, clock
        numbers = (copied or (GPU_COPY if gpu else CPU_COPY)) // dtype.itemsize
        self._source = torch.zeros(numbers, dtype=dtype, device=device)
        self._target = torch.empty_like(self._source)
        for side in sides or ((GPU_SIDE,) if gpu else CPU_SIDES):
            self._left, self._right = self._matrix(side), self._matrix(side)
            self._product = torch.empty(side, side, dtype=dtype, device=device)
            self.side = side
            if self._best(self._multiply) >= LONG_ENOUGH_S:
                break
        self.copied = self._source.nbytes

    def read(self) -> Reading:
        """Measure both, now."""
        product, copy = self._best(self._multiply), self._best(self._copy)
        return Reading(2 * self.side**3 / product, 2 * self.copied / copy)

    def _matrix(self, side: int) -> Tensor:
        return torch.randn(side, side, device=self._device).to(self._dtype)

    def _multiply(self) -> None:
        torch.mm(self._left, self._right, out=self._product)

    def _copy(self) -> None:
        self._target.copy_(self._source)

    def _best(self, work: Callable[[], None]) -> float:
        """Seconds of the quickest try, after one that does not count."""
        work()
        times = []
        for _ in range(REPEATS):
            watch = Stopwatch(self._clock, self._device)
            work()
            watch.mark("pass", 1, None)
            times += [seconds for *_, seconds in watch.laps()]
        return min(times)
