"""The levels of a moving buffer's schedule as tensors, and which chunk is at which of them."""

from __future__ import annotations

import torch
from torch import Tensor

from .sigmas import Schedule


class Ladder:
    """Levels of a schedule.

    Attributes:
        levels: [steps + 1], share of noise at each level, 0 at the end.
        told: [steps], timesteps.
        start: int64 [N], the level at which the start leaves each chunk, oldest first.
        warmup: steps of a new stream before those of its first place begin.
    """

    def __init__(self, schedule: Schedule, device: torch.device) -> None:
        s = schedule.micro_steps
        self._micro_steps = s
        self.warmup = schedule.steps - s
        sigmas = [*(level.sigma for level in schedule.levels), 0.0]
        told = [level.timestep for level in schedule.levels]
        # Exact until they meet the latents, whatever the type of those.
        self.levels = torch.tensor(sigmas, device=device, dtype=torch.float64)
        self.told = torch.tensor(told, device=device, dtype=torch.float64)
        places = range(schedule.chunks - 1, -1, -1)
        self.start = torch.tensor([place * s for place in places], device=device)
        warm = [[tick] * schedule.chunks for tick in range(self.warmup)]
        steady = [[place * s + micro for place in places] for micro in range(s)]
        self._table = torch.tensor(warm + steady, device=device)

    def places(self, ticks: Tensor) -> Tensor:
        """At which level each chunk is after so many steps of its stream (int64 [rows]): int64
        [rows, N], oldest first."""
        steady = self.warmup + (ticks - self.warmup) % self._micro_steps
        return self._table[torch.where(ticks < self.warmup, ticks, steady)]
