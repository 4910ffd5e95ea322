"""Pixels across the bus: once in, once out, without waiting. On a CPU both are views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .frames import Frame

Planes = npt.NDArray[np.uint8]


class Landing:
    """I420 planes on their way back to the host.

    `wait` gives them as uint8 [frames, height * 3/2, width]; on CUDA it first waits for the copy's
    own event, so nothing else on the device is waited for.
    """

    def __init__(self, host: Tensor, copied: torch.cuda.Event | None = None) -> None:
        self._host = host
        self._copied = copied

    def wait(self) -> Planes:
        if self._copied is None:
            return self._host.numpy()
        self._copied.synchronize()
        # The pinned block goes back to PyTorch's pool with the tensor; the frames outlive it.
        return self._host.numpy().copy()


def upload(frames: Sequence[Frame], device: torch.device) -> Tensor:
    """Planes of equally sized frames on the device, uint8 [frames, height * 3/2, width]."""
    if device.type != "cpu":
        return _pinned([frame.planes for frame in frames]).to(device, non_blocking=True)
    if len(frames) == 1 and frames[0].planes.flags.writeable:
        return torch.from_numpy(frames[0].planes)[None]
    return torch.from_numpy(np.stack([frame.planes for frame in frames]))


def _pinned(planes: Sequence[Planes]) -> Tensor:
    """Planes side by side in pinned memory, copied once. PyTorch's pool of it is what two slots in
    turn would be: it hands a block out again only after the queue has passed the copy from it."""
    host = torch.empty((len(planes), *planes[0].shape), dtype=torch.uint8, pin_memory=True)
    np.stack(list(planes), out=host.numpy())
    return host


def download(planes: Tensor) -> Landing:
    """Start bringing planes to the host."""
    if planes.device.type == "cpu":
        return Landing(planes.contiguous())
    host = torch.empty(planes.shape, dtype=planes.dtype, pin_memory=True)
    host.copy_(planes, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()
    return Landing(host, copied)
