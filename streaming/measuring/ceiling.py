"""What a device can do at most, measured: a large matrix product and a large copy.

The same library, data type and threads as the model's, so that a share of it says how much of what
was possible here and now was reached. The memory for it is only held while it is measured, so that
it is in nobody's peak.
"""

from __future__ import annotations

import math
import mmap
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
    """Each `read` is the best of a few tries.

    Args:
        device, dtype: of the model.
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
        self.copied = copied or (GPU_COPY if gpu else CPU_COPY)
        for side in sides or ((GPU_SIDE,) if gpu else CPU_SIDES):
            self.side = side
            if self._product() >= LONG_ENOUGH_S:
                break

    def read(self) -> Reading:
        """Measure both, now."""
        return Reading(2 * self.side**3 / self._product(), 2 * self.copied / self._copy())

    def _product(self) -> float:
        """Seconds of a product."""
        shape = (self.side, self.side)
        left, right, product = (self._held(*shape) for _ in range(3))
        for one in (left, right):
            one.copy_(torch.randn(shape, device=self._device))
        return self._best(lambda: torch.mm(left, right, out=product))

    def _copy(self) -> float:
        """Seconds of a copy."""
        source, target = (self._held(self.copied // self._dtype.itemsize) for _ in range(2))
        # Pages that nobody wrote to are all the same one.
        source.fill_(1)
        return self._best(lambda: target.copy_(source))

    def _held(self, *shape: int) -> Tensor:
        """Memory that goes back to the system with the tensor."""
        if self._device.type == "cuda":
            return torch.empty(shape, dtype=self._dtype, device=self._device)
        # Not of the allocator, which keeps what is freed.
        own = mmap.mmap(-1, math.prod(shape) * self._dtype.itemsize)
        return torch.frombuffer(own, dtype=self._dtype).view(shape)

    def _best(self, work: Callable[[], Tensor]) -> float:
        """Seconds of the quickest try, after one that does not count."""
        work()
        times = []
        for _ in range(REPEATS):
            watch = Stopwatch(self._clock, self._device)
            work()
            watch.mark("pass", 1, None)
            times += [seconds for *_, seconds in watch.laps()]
        return min(times)
