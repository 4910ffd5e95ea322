"""Patches of pixels to channels and back."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from .dispatch import choose, implementation, reference

_WIDE = {2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}
"""A type for so many bytes: a run of pixels that stay together moves as one entry."""


def pixel_unshuffle(x: Tensor, factor: int) -> Tensor:
    """[B, C, H, W] -> [B, C * factor^2, H / factor, W / factor], channels last."""
    return choose("pixel_unshuffle", x.device.type)(x, factor)


@reference("pixel_unshuffle")
def pixel_unshuffle_reference(x: Tensor, factor: int) -> Tensor:
    out = functional.pixel_unshuffle(x, factor)
    return out.contiguous(memory_format=torch.channels_last)


@implementation("pixel_unshuffle", "cpu")
def _unshuffle_runs(x: Tensor, factor: int) -> Tensor:
    """One copy of runs of pixels, where PyTorch makes two of single ones: six times faster."""
    run = _WIDE.get(factor * x.element_size())
    if torch.is_grad_enabled() or run is None:
        return pixel_unshuffle_reference(x, factor)
    batch, channels, height, width = x.shape
    rows, columns = height // factor, width // factor
    runs = x.contiguous().view(run).view(batch, channels, rows, factor, columns)
    out = runs.permute(0, 2, 4, 1, 3).contiguous().view(x.dtype)
    return out.view(batch, rows, columns, -1).permute(0, 3, 1, 2)


def pixel_shuffle(x: Tensor, factor: int) -> Tensor:
    """[B, C * factor^2, H, W] -> [B, C, H * factor, W * factor], row by row in memory."""
    return choose("pixel_shuffle", x.device.type)(x, factor)


@reference("pixel_shuffle")
def pixel_shuffle_reference(x: Tensor, factor: int) -> Tensor:
    return functional.pixel_shuffle(x, factor).contiguous()


@implementation("pixel_shuffle", "cpu")
def _shuffle_runs(x: Tensor, factor: int) -> Tensor:
    """One copy of runs of pixels."""
    run = _WIDE.get(factor * x.element_size())
    if torch.is_grad_enabled() or run is None:
        return pixel_shuffle_reference(x, factor)
    batch, channels, height, width = x.shape
    last = x.permute(0, 2, 3, 1).contiguous().view(run)
    runs = last.view(batch, height, width, channels // factor**2, factor)
    out = runs.permute(0, 3, 1, 4, 2).contiguous().view(x.dtype)
    return out.view(batch, -1, height * factor, width * factor)
