"""Takes sensor noise out of a live latent where the picture stands still.

A recursive filter in time whose gain follows the change: cells of the latent that differ from the
past by no more than noise does move towards it only in part, cells that moved are taken as they
are. It works in latent space because there a distance is nearly a pixel distance
(`PatchAutoencoder`) and 48 channels of 3x3 cells tell noise from motion sharply.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .state import State, row_tensor

STILL_GAIN = 0.35
"""How far a still cell moves towards what is new; its noise changes a quarter as much by it."""
NOISE, MOTION = 0.006, 0.016
"""Mean square change of a latent cell that is still noise (sensor noise of sigma 0.03 makes 0.0045
in pictures of -1..1), and that surely is motion."""


@dataclass(eq=False)
class SteadyState(State):
    """What the filter remembers.

    Attributes:
        past: [rows, C, h, w], the filtered latent of the frame before.
        seen: [rows], 1 once there was one.
    """

    past: Tensor = row_tensor()
    seen: Tensor = row_tensor()


def steady_state(
    rows: int, shape: tuple[int, int, int], device: torch.device | str, dtype: torch.dtype
) -> SteadyState:
    """Memory for `rows` streams of latent frames of `shape` (C, h, w)."""
    # Channels last, as latents come from the encoder: mixed layouts take several times longer.
    past = torch.zeros(rows, *shape, device=device, dtype=dtype)
    past = past.contiguous(memory_format=torch.channels_last)
    return SteadyState(past, torch.zeros(rows, device=device, dtype=dtype))


def steady(latents: Tensor, state: SteadyState, mask: Tensor | None = None) -> Tensor:
    """[R, F, C, h, w] -> the same, frame by frame, renewing `state` in place.

    The first frame of a stream passes as it is. Rows where `mask` (bool [R]) is false keep their
    memory, and their output means nothing.
    """
    frames = []
    for frame in latents.unbind(1):
        change = frame - state.past
        power = change.square().mean(1, keepdim=True)
        power = F.avg_pool2d(power, 3, stride=1, padding=1, count_include_pad=False)
        moved = ((power - NOISE) / (MOTION - NOISE)).clamp(0, 1)
        gain = STILL_GAIN + (1 - STILL_GAIN) * moved
        gain = torch.where(state.seen[:, None, None, None] > 0, gain, 1.0)
        if mask is not None:
            gain = torch.where(mask[:, None, None, None], gain, 0.0)
        state.past.addcmul_(change, gain)
        state.seen.masked_fill_(torch.ones_like(state.seen).bool() if mask is None else mask, 1)
        frames.append(state.past.clone())
    return torch.stack(frames, 1) if len(frames) > 1 else frames[0].unsqueeze(1)
