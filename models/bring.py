"""From the host's memory to a device, without waiting for what the device still has to do."""

from __future__ import annotations

import torch
from torch import Tensor


def bring(host: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of the host on a device, as `dtype` or as it is; on a CPU itself if it fits.

    From pageable memory the copy would first wait until the device is idle; from pinned memory it
    takes its place in the queue. PyTorch hands the pinned block out again only after that.
    """
    if device.type == "cuda" and host.device.type == "cpu":
        host = host.pin_memory()
    return host.to(device, dtype, non_blocking=True)
