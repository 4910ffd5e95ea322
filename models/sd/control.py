"""What a ControlNet is shown: pictures made from the live frame by small operators of our own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as functional
from torch import Tensor

from ..bring import bring

Condition = Callable[[Tensor], Tensor]
"""Frames [T, 3, H, W] in 0..1 to conditions of the same shape and range."""

_LUMA = (0.299, 0.587, 0.114)
WEAK, STRONG = 0.1, 0.2
"""Steepness, as a share of the steepest possible edge: below the first nothing is a line, from the
second on it is one for certain."""
REACH = 8
"""Pixels along which a weak line may hang on to a strong one."""


def luma(pictures: Tensor) -> Tensor:
    """Brightness [T, 1, H, W] of pictures [T, 3, H, W]."""
    weights = bring(torch.tensor(_LUMA, dtype=pictures.dtype), pictures.device)
    return (pictures * weights.view(1, 3, 1, 1)).sum(1, keepdim=True)


def grey(pictures: Tensor) -> Tensor:
    """The brightness in all three channels."""
    return luma(pictures).expand_as(pictures)


def edges(pictures: Tensor) -> Tensor:
    """White lines, one pixel wide, on black: Canny's method (1986) of smoothing, gradient, ridge
    of the gradient and hysteresis, with a bounded reach, so that no step asks the device."""
    grey = functional.pad(luma(pictures.float()), (2, 2, 2, 2), mode="replicate")
    smooth = functional.conv2d(grey, _gaussian(pictures.device))
    across, down = _gradient(smooth)
    steep = torch.hypot(across, down)
    ridge = steep * _is_ridge(steep, across, down)
    lines, weak = ridge >= STRONG, ridge >= WEAK
    for _ in range(REACH):
        grown = functional.max_pool2d(lines.float(), 3, stride=1, padding=1) > 0
        lines = lines | (grown & weak)
    return lines.to(pictures.dtype).expand_as(pictures)


def as_is(pictures: Tensor) -> Tensor:
    """The frame itself, for ControlNets that want it (tiles, in-painting)."""
    return pictures


CONDITIONS: Mapping[str, Condition] = {"edges": edges, "grey": grey, "picture": as_is}


def _gaussian(device: torch.device, sigma: float = 1.4) -> Tensor:
    places = torch.arange(-2, 3, device=device, dtype=torch.float32)
    line = torch.exp(-(places**2) / (2 * sigma**2))
    line = line / line.sum()
    return (line[:, None] * line[None, :])[None, None]


def _gradient(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel derivatives, scaled so that a step from black to white has steepness 1."""
    sobel = bring(torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]), grey.device) / 4
    kernel = torch.stack((sobel, sobel.T))[:, None]
    padded = functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    across, down = functional.conv2d(padded, kernel).split(1, dim=1)
    return across, down


def _is_ridge(steep: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Where the gradient is at least that of both neighbours along its own direction."""
    # Directions in quarters of a half turn: 0 across, 1 diagonal, 2 down, 3 the other diagonal.
    turn = torch.round(torch.atan2(down, across) / (math.pi / 4)).remainder(4)
    height, width = steep.shape[-2:]
    around = functional.pad(steep, (1, 1, 1, 1))
    ridge = torch.zeros_like(steep, dtype=torch.bool)
    for quarter, (y, x) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = around[..., 1 + y : 1 + y + height, 1 + x : 1 + x + width]
        behind = around[..., 1 - y : 1 - y + height, 1 - x : 1 - x + width]
        # One of two equal neighbours only, so that a soft edge is one line and not two.
        ridge |= (turn == quarter) & (steep >= ahead) & (steep > behind)
    return ridge
