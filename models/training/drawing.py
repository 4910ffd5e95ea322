"""Tools that the style filters are made of: tones, smoothing, ink lines, brush patches.

All work on [..., H, W] or [..., 3, H, W] tensors in 0..1, on any device, and have soft edges
only: a small network has to imitate what is built from them.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

PERIOD = 8
"""Patterns repeat every 8 or 16 pixels from the origin: every latent sees them at one phase."""

Colour = tuple[float, float, float]


def luma(rgb: Tensor) -> Tensor:
    """[..., 3, H, W] -> [..., 1, H, W], the weights of ITU-R BT.601."""
    red, green, blue = rgb.unbind(-3)
    return (0.299 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114).unsqueeze(-3)


def saturate(rgb: Tensor, amount: float) -> Tensor:
    """Colours moved away from their grey (`amount` above 1) or towards it."""
    return torch.lerp(luma(rgb), rgb, amount)


def curve(x: Tensor, strength: float, pivot: float = 0.5) -> Tensor:
    """S-shaped contrast curve through (0, 0) and (1, 1) that is steepest at `pivot`."""
    low, high = math.tanh(-strength * pivot), math.tanh(strength * (1 - pivot))
    return torch.tanh(strength * (x - pivot)).sub_(low).div_(high - low)


def step(x: Tensor, edge: float, sharpness: float) -> Tensor:
    """Soft threshold: 0 well under `edge`, 1 well over it."""
    return torch.sigmoid((x - edge) * sharpness)


def posterise(x: Tensor, levels: int, sharpness: float) -> Tensor:
    """Soft rounding to `levels` even tones; `sharpness` 0 leaves x, 6 is nearly flat.

    The step inside one band is a tanh, normalised so that the bands meet without a jump.
    """
    scaled = x * (levels - 1)
    base = torch.floor(scaled)
    inside = torch.tanh((scaled - base - 0.5) * sharpness) / (2 * math.tanh(sharpness / 2))
    return (base + 0.5 + inside) / (levels - 1)


def colour(value: Colour, like: Tensor) -> Tensor:
    """A colour as [3, 1, 1] on the device of `like`."""
    return like.new_tensor(value).view(3, 1, 1)


def gradient_map(x: Tensor, stops: tuple[tuple[float, Colour], ...]) -> Tensor:
    """Tone [..., 1, H, W] -> colour [..., 3, H, W] along `stops` of (tone, colour), linear between.

    Args:
        stops: ascending; the first at tone 0 and the last at tone 1.
    """
    out = colour(stops[0][1], x)
    for (start, here), (end, there) in zip(stops, stops[1:], strict=False):
        delta = colour(there, x) - colour(here, x)
        out = out + ((x - start) / (end - start)).clamp(0, 1) * delta
    return out


@lru_cache(maxsize=256)
def _smoother(length: int, sigma: float, device: str) -> Tensor:
    """[length, length]: each row a Gaussian around its own pixel, renormalised at the border."""
    at = torch.arange(length, dtype=torch.float64)
    weights = torch.exp(-0.5 * ((at[:, None] - at[None, :]) / sigma) ** 2)
    return (weights / weights.sum(1, keepdim=True)).float().to(device)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of [..., H, W], `sigma` in pixels.

    Two matrix products: at these sizes as fast as a short convolution, and no slower for a wide
    blur.
    """
    height, width = x.shape[-2:]
    flat = x.reshape(-1, height, width)
    rows = (flat.reshape(-1, width) @ _smoother(width, sigma, str(x.device)).T).view_as(flat)
    return (_smoother(height, sigma, str(x.device)) @ rows).view_as(x)


def slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences of [..., H, W] along x and y, per pixel; the border repeats."""
    lead = x.shape[:-2]
    padded = functional.pad(x.reshape(-1, 1, *x.shape[-2:]), (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return across.view(*lead, *across.shape[-2:]), down.view(*lead, *down.shape[-2:])


def edges(x: Tensor, sigma: float) -> Tensor:
    """Size of the slope of [..., 1, H, W] after a blur of `sigma`, in tone per pixel."""
    across, down = slopes(blur(x, sigma))
    return (across * across + down * down + 1e-8).sqrt()


def ink(tone: Tensor, sigma: float, gain: float, bias: float) -> Tensor:
    """Ink coverage in 0..1 where the picture is darker than its surroundings.

    The difference of two Gaussians with a soft threshold (Winnemöller, Kyprianidis, Olsen 2012,
    XDoG, section 2), as coverage instead of paper.

    Args:
        tone: [..., 1, H, W].
        sigma: of the narrow Gaussian, pixels; the wide one is 1.6 times that.
        gain: steepness of the threshold.
        bias: how much darker than its surroundings a pixel must be.
    """
    difference = blur(tone, 1.6 * sigma) - blur(tone, sigma)
    return torch.sigmoid((difference - bias) * gain)


def patches(rgb: Tensor, radius: int, decision: float) -> Tensor:
    """Brush-like flat patches: each pixel takes the calmest of eight blurred neighbours.

    Kuwahara's filter with eight overlapping windows and a soft choice (after Papari et al. 2007),
    without the sector shapes.

    Args:
        rgb: [..., 3, H, W].
        radius: distance of the windows from the pixel, pixels.
        decision: how strongly the calmest window wins (variance is divided by its eightfold mean).
    """
    lead, (height, width) = rgb.shape[:-3], rgb.shape[-2:]
    flat = rgb.reshape(-1, 3, height, width)
    grey = luma(flat)
    stats = blur(torch.cat([flat, grey, grey * grey], 1), radius * 0.6)
    spread = (stats[:, 4:] - stats[:, 3:4] ** 2).clamp_(min=0)
    field = torch.cat([stats[:, :3], spread], 1)
    field = functional.pad(field, (radius,) * 4, mode="replicate")
    near = max(1, round(radius * 0.7))
    shifts = [(radius, 0), (-radius, 0), (0, radius), (0, -radius)]
    shifts += [(near, near), (near, -near), (-near, near), (-near, -near)]
    total = torch.zeros_like(flat)
    weight = torch.zeros_like(grey)
    for dy, dx in shifts:
        view = field[:, :, radius + dy : radius + dy + height, radius + dx : radius + dx + width]
        # A power of the inverse spread is a soft minimum that needs no scale.
        chance = (view[:, 3:] * 400 + 0.05).pow_(-decision)
        total.addcmul_(view[:, :3], chance)
        weight.add_(chance)
    return (total / weight).view(*lead, 3, height, width)


@lru_cache(maxsize=32)
def _phase(height: int, width: int, device: str) -> tuple[Tensor, Tensor]:
    rows = torch.arange(height, dtype=torch.float32, device=device)[:, None]
    columns = torch.arange(width, dtype=torch.float32, device=device)[None, :]
    return (rows + 0.5) * (2 * math.pi / PERIOD), (columns + 0.5) * (2 * math.pi / PERIOD)


def phase(like: Tensor) -> tuple[Tensor, Tensor]:
    """Angles of the 8-pixel patterns: [H, 1] down and [1, W] across, 2 pi per period."""
    return _phase(like.shape[-2], like.shape[-1], str(like.device))


def tiles(rgb: Tensor) -> Tensor:
    """The mean colour of each 8x8 tile over the tile; a part tile at the border is a tile."""
    lead, (height, width) = rgb.shape[:-3], rgb.shape[-2:]
    flat = rgb.reshape(-1, 3, height, width)
    small = functional.avg_pool2d(flat, PERIOD, ceil_mode=True)
    large = small.repeat_interleave(PERIOD, -1).repeat_interleave(PERIOD, -2)
    return large[..., :height, :width].reshape(*lead, 3, height, width)
