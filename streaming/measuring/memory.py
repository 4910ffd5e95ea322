"""The most memory that was held: of a GPU what PyTorch allocated, else what the process had."""

from __future__ import annotations

import resource
import sys

import torch

MIB = 1 << 20


class PeakMemory:
    """The peak since `begin`; of a process without a GPU, since it began.

    Attributes:
        of: what the figure is of, for a report.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        self.of = "process" if self._cuda is None else "GPU, allocated by PyTorch"

    def begin(self) -> None:
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)

    def peak_mb(self) -> float:
        """MiB."""
        if self._cuda is not None:
            return torch.cuda.max_memory_allocated(self._cuda) / MIB
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (MIB if sys.platform == "darwin" else 1 << 10)

    def held_mb(self) -> float:
        """What is held now, MiB; 0 without a GPU, where it cannot be told whose it is."""
        return torch.cuda.memory_allocated(self._cuda) / MIB if self._cuda is not None else 0.0
