"""What a webcam does to a picture: noise, flicker, blur, coarse compression, lost frames."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from .scenes import Dice

_DROP = 0.15
"""Part of the clips in which one frame does not arrive whole."""


def degrade(dice: Dice, noise: torch.Generator, clean: Tensor) -> Tensor:
    """What the camera makes of the clean clips [B, T, 3, H, W]."""
    count, frames = clean.shape[:2]
    device = clean.device
    source = torch.empty_like(clean)
    source.normal_(generator=noise)
    sigma = 0.06 * dice.uniform(0, 1, count, 1, 1, 1, 1) ** 2.5
    shaky = (dice.uniform(0, 1, count, 1, 1, 1, 1) < 0.25).float()
    flicker = 1 + 0.05 * shaky * dice.normal(count, frames, 1, 1, 1)
    torch.addcmul(clean * flicker.to(device), source, sigma.to(device), out=source)
    source.clamp_(0, 1)
    for row in range(count):
        if dice.chance(0.06):
            source[row] = soften(source[row])
        if dice.chance(0.06):
            source[row] = blocky(source[row], dice.number(0.02, 0.08))
        if frames > 1 and dice.chance(_DROP):
            lose(dice, source[row], 1 + dice.pick(frames - 1))
    return source


def soften(frames: Tensor) -> Tensor:
    """Slightly out of focus."""
    return functional.avg_pool2d(frames, 3, 1, 1, count_include_pad=False)


def blocky(frames: Tensor, quantum: float) -> Tensor:
    """Coarse block compression: 8x8 cosine coefficients rounded, the finer the coarser."""
    at = torch.arange(8, dtype=torch.float32, device=frames.device)
    basis = torch.cos(math.pi / 8 * (at[None, :] + 0.5) * at[:, None]) / 2
    basis[0] /= math.sqrt(2)
    lead, (height, width) = frames.shape[:-2], frames.shape[-2:]
    blocks = frames.reshape(*lead, height // 8, 8, width // 8, 8).transpose(-3, -2)
    steps = quantum * (1 + at[None, :] + at[:, None])
    coefficients = basis @ blocks @ basis.T
    rounded = torch.round(coefficients / steps) * steps
    return (basis.T @ rounded @ basis).transpose(-3, -2).reshape(frames.shape).clamp(0, 1)


def lose(dice: Dice, frames: Tensor, at: int) -> None:
    """Frame `at` of [T, 3, H, W] does not arrive whole; written in place."""
    fault = dice.pick(4)
    if fault <= 1:
        frames[at] = frames[at - 1]
    elif fault == 2:
        frames[at] = 0.0
    else:
        size = frames.shape[-1]
        side = max(size // 4, 8 * (1 + dice.pick(size // 16)))
        top, left = dice.pick(size - side + 1), dice.pick(size - side + 1)
        garbage = dice.uniform(0, 1, 3, side // 8, side // 8).to(frames.device)
        garbage = garbage.repeat_interleave(8, -1).repeat_interleave(8, -2)
        frames[at, :, top : top + garbage.shape[-2], left : left + garbage.shape[-1]] = garbage
