"""Moving fields and colours that scenes are painted with.

Pictures are [T, 3, S, S], fields [T, S, S] or [T, H, W]; lengths are parts of the picture's side,
times are seconds. All chance comes from a `Dice`, so a clip is the same for the same seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..scenes import Dice

Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Canvas:
    """Side of the pictures, and when they are: times [T] in seconds."""

    side: int
    times: Tensor

    @property
    def frames(self) -> int:
        return len(self.times)

    def across(self) -> Tensor:
        """[1, 1, S] places from left (0) to right (1)."""
        return self._unit()[None, None, :]

    def down(self) -> Tensor:
        """[1, S, 1] places from top (0) to bottom (1)."""
        return self._unit()[None, :, None]

    def clock(self) -> Tensor:
        """[T, 1, 1]."""
        return self.times[:, None, None]

    def _unit(self) -> Tensor:
        return (torch.arange(self.side) + 0.5) / self.side


def swell(
    dice: Dice,
    canvas: Canvas,
    slope: float = 1.6,
    drift: tuple[float, float] = (0.0, 0.0),
    churn: float = 0.5,
    band: tuple[float, float] = (1.0, 40.0),
    stretch: tuple[float, float] = (1.0, 1.0),
    waves: float = 0.0,
) -> Tensor:
    """A smooth random field that moves for ever, [T, S, S], of mean 0 and deviation 1.

    It is a sum of waves with random phases, periodic over the picture's side (so that it can be
    looked up beyond it), each of which turns at a speed of its own.

    Args:
        slope: how fast waves get weaker with their number k, as k^-slope.
        drift: to the right and down, in sides a second.
        churn: how fast it changes by itself, in turns a second at k = 1.
        band: smallest and largest k.
        stretch: how much longer details are than wide, across and down.
        waves: speed of waves in deep water, turns a second at k = 1 times the root of k.
    """
    side = canvas.side
    down = torch.fft.fftfreq(side, 1 / side)[:, None]
    across = torch.fft.rfftfreq(side, 1 / side)[None, :]
    k = ((across * stretch[0]).square() + (down * stretch[1]).square()).sqrt()
    power = torch.where((k >= band[0]) & (k <= band[1]), k.clamp(min=1).pow(-slope - 0.5), 0.0)
    phase = dice.uniform(0, 2 * math.pi, *k.shape)
    speed = dice.normal(*k.shape) * churn * k.clamp(min=1).sqrt() + waves * k.sqrt()
    speed = speed - drift[0] * across - drift[1] * down
    turned = phase + 2 * math.pi * canvas.clock() * speed
    field = torch.fft.irfft2(torch.polar(power.expand_as(turned), turned), s=(side, side))
    return field / field.std().clamp(min=1e-6)


def looked_up(field: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """A periodic field [T, S, S] at the places x, y (in sides, broadcastable to [T, H, W])."""
    frames = len(field)
    shape = torch.broadcast_shapes(x.shape, y.shape, (frames, 1, 1))
    padded = functional.pad(field[:, None], (1, 1, 1, 1), mode="circular")
    side = field.shape[-1]
    places = [(part.expand(shape) % 1) * side + 1 for part in (x, y)]
    at = torch.stack([place * (2 / (side + 2)) - 1 for place in places], -1)
    return functional.grid_sample(padded, at, align_corners=False)[:, 0]


def gradient(values: Tensor, stops: Sequence[tuple[float, Colour]]) -> Tensor:
    """Values [T, H, W] to colours [T, 3, H, W], between stops (value, colour) that rise."""
    result = torch.tensor(stops[0][1]).view(3, 1, 1).expand(len(values), 3, *values.shape[1:])
    for (low, _), (high, colour) in zip(stops, stops[1:], strict=False):
        share = ((values - low) / (high - low)).clamp(0, 1)[:, None]
        result = torch.lerp(result, torch.tensor(colour).view(3, 1, 1), share)
    return result


def paint(under: Tensor, cover: Tensor, colour: Colour | Tensor) -> Tensor:
    """Colour over pictures where `cover` [T, H, W] is 1."""
    over = torch.as_tensor(colour)
    over = over.view(3, 1, 1) if over.dim() == 1 else over
    return torch.lerp(under, over.expand_as(under), cover.clamp(0, 1)[:, None].expand_as(under))


def shine(under: Tensor, light: Tensor, colour: Colour) -> Tensor:
    """Light [T, H, W] of a colour added to pictures, without burning out."""
    added = light.clamp(min=0)[:, None] * torch.tensor(colour).view(3, 1, 1)
    return 1 - (1 - under.clamp(0, 1)) * torch.exp(-added)


def dots(canvas: Canvas, x: Tensor, y: Tensor, radius: Tensor, light: Tensor) -> Tensor:
    """Soft round dots, [T, S, S]: places x, y [T, n], radii [n] and brightness [T, n] or [n].

    Separable, so that many cost little.
    """
    fall = -0.5 / radius.square()
    wide = torch.exp((canvas.across() - x[:, :, None]).square() * fall[None, :, None])
    high = torch.exp((canvas.across() - y[:, :, None]).square() * fall[None, :, None])
    return torch.einsum("tnh,tnw->thw", high * light.expand_as(x)[:, :, None], wide)


def varied(dice: Dice, colour: Colour, by: float = 0.06) -> Colour:
    """Nearly the same colour."""
    red, green, blue = (
        min(max(part + float(step), 0.0), 1.0)
        for part, step in zip(colour, dice.normal(3) * by, strict=True)
    )
    return red, green, blue


def ridge(dice: Dice, canvas: Canvas, offset: Tensor | float, rough: float = 1.3) -> Tensor:
    """A random outline over a width of 4 sides, [T or 1, S], of mean 0 and deviation 1.

    Args:
        offset: how far it has been scrolled, [T] or a number, in sides.
    """
    moved = torch.as_tensor(offset).view(-1, 1) + canvas.across()[0]
    k = torch.arange(1, 40)
    strength = k.float().pow(-rough)
    phase = dice.uniform(0, 2 * math.pi, len(k))
    line = (strength * torch.sin(moved[..., None] * k * (math.pi / 2) + phase)).sum(-1)
    return line / strength.square().sum().mul(0.5).sqrt()
