"""The noise levels of a model: what it is told, and how much noise that means."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..models.sigmas import TRAIN_STEPS, shifted_table, sigma_of


@dataclass(frozen=True, slots=True)
class Levels:
    """Noise levels by their nominal share of noise, 0..1: the timestep told is 1000 times that.

    Attributes:
        nominal: noisiest first.
        shift: None when the noise is the nominal one; else it is that of the nearest entry of the
            table with this shift, as the distilled checkpoints look it up (700 means 0.70023).
    """

    nominal: tuple[float, ...]
    shift: float | None = None

    def __len__(self) -> int:
        return len(self.nominal)

    def sigma(self, nominal: float) -> float:
        """Share of noise of a level."""
        if self.shift is None:
            return nominal
        return sigma_of(TRAIN_STEPS * nominal, self.shift)

    def read(self, t: Tensor) -> Tensor:
        """Shares of noise for timesteps (0..1000) of any shape, on their device."""
        if self.shift is None:
            return t / TRAIN_STEPS
        rising, middles = _table(self.shift, t.device, t.dtype)
        return rising[torch.bucketize(t / TRAIN_STEPS, middles)]


@lru_cache(maxsize=8)
def _table(shift: float, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The levels that there are, rising, and what lies between two of them."""
    with torch.inference_mode(False):
        rising = torch.tensor(shifted_table(shift)[::-1], dtype=torch.float64)
        middles = (rising[1:] + rising[:-1]) / 2
        return rising.to(device, dtype), middles.to(device, dtype)
