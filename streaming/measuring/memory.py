"""The most memory that was held: of a GPU what PyTorch allocated, else what the process had."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

MIB = 1 << 20
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""What Linux takes for "begin the peak anew" (proc(5), clear_refs)."""


class PeakMemory:
    """The peak since `begin`, where the system can begin it anew; else since the process began.

    Attributes:
        of: what the figure is of, for a report.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        self.of = "GPU, allocated by PyTorch" if self._cuda is not None else "process, its windows"
        if self._cuda is None and not self._renew():
            self.of = "process, since it began"

    def begin(self) -> None:
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)
        else:
            self._renew()

    def peak_mb(self) -> float:
        """MiB."""
        if self._cuda is not None:
            return torch.cuda.max_memory_allocated(self._cuda) / MIB
        if STATUS.exists():
            lines = STATUS.read_text("ascii").splitlines()
            (peak,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
            return peak / 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (MIB if sys.platform == "darwin" else 1024)

    def _renew(self) -> bool:
        """Whether the system let the process's peak begin anew."""
        try:
            CLEAR.write_text(RESET_PEAK, "ascii")
        except OSError:
            return False
        return True
