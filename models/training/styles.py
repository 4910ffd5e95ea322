"""The looks that the shipped model learns: classical filters whose output is its target.

Every filter takes clean frames [B, T, 3, H, W] in 0..1 and returns the same shape. Radii are in
pixels of the picture as it is, so a look is as fine at 256 as at 128. The three that need the past
are recurrences over T that begin as if the first frame had stood still for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .drawing import (
    blur,
    colour,
    curve,
    edges,
    gradient_map,
    ink,
    luma,
    patches,
    phase,
    posterise,
    saturate,
    slopes,
    step,
    tiles,
)

Filter = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Style:
    """One look.

    Attributes:
        name: short, stable; the text encoder and the reports use it.
        title: what the page shows.
        needs_past: whether a frame of it depends on frames before.
        filter: clean frames [B, T, 3, H, W] -> target of the same shape, both in 0..1.
    """

    name: str
    title: str
    needs_past: bool
    filter: Filter


def _camera(clean: Tensor) -> Tensor:
    return clean


def _noir(clean: Tensor) -> Tensor:
    tone = luma(clean)
    tone = tone + 0.35 * (tone - blur(tone, 6.0))
    return curve(tone.clamp(0, 1), 4.6, 0.42).clamp(0, 1).expand_as(clean)


def _vintage(clean: Tensor) -> Tensor:
    faded = saturate(clean, 0.65)
    toned = faded * colour((0.86, 0.74, 0.52), clean) + colour((0.16, 0.11, 0.10), clean)
    glow = blur(luma(clean), 5.0) - 0.5
    warmth = colour((0.10, 0.05, -0.05), clean)
    return curve((toned + glow * warmth).clamp(0, 1), 2.4, 0.5).mul(0.94).add(0.05).clamp(0, 1)


_HEAT = (
    (0.00, (0.02, 0.01, 0.16)),
    (0.16, (0.08, 0.10, 0.62)),
    (0.34, (0.00, 0.62, 0.86)),
    (0.50, (0.12, 0.82, 0.32)),
    (0.66, (0.98, 0.88, 0.10)),
    (0.84, (0.96, 0.20, 0.06)),
    (1.00, (1.00, 0.92, 0.88)),
)


def _thermal(clean: Tensor) -> Tensor:
    tone = blur(luma(clean), 1.4)
    return gradient_map(curve(tone, 1.8), _HEAT)


def _pop(clean: Tensor) -> Tensor:
    flat = posterise(saturate(blur(clean, 0.8), 1.9).clamp(0, 1), 3, 4.0)
    down, across = phase(clean)
    dots = 0.5 - 0.25 * (torch.cos(down) + torch.cos(across))
    tone = blur(luma(clean), 2.0)
    cover = torch.sigmoid((dots - 0.25 - 0.75 * tone) * 7.0) * (1 - tone)
    return torch.lerp(flat, colour((0.93, 0.10, 0.35), clean), 0.55 * cover).clamp(0, 1)


_DUSK = (
    (0.00, (0.07, 0.02, 0.24)),
    (0.30, (0.42, 0.08, 0.62)),
    (0.55, (0.98, 0.30, 0.72)),
    (0.78, (0.45, 0.80, 0.98)),
    (1.00, (0.88, 1.00, 0.98)),
)


def _vapor(clean: Tensor) -> Tensor:
    tone = luma(clean)
    toned = gradient_map(curve(tone, 2.0, 0.45), _DUSK)
    glow = blur(step(tone, 0.62, 9.0), 5.0) * colour((0.30, 0.10, 0.34), clean)
    return (1 - (1 - toned) * (1 - glow)).clamp(0, 1)


def _watercolor(clean: Tensor) -> Tensor:
    wash = patches(clean, 3, 1.5)
    light = saturate(wash, 1.35).mul(0.78).add(0.24)
    pooled = 0.42 * torch.tanh(edges(luma(wash), 1.2) * 9.0)
    down, across = phase(clean)
    paper = 0.012 * (torch.cos(down) * torch.cos(across) + torch.cos(down / 2 + across))
    return (light * (1 - pooled) + paper).clamp(0, 1)


def _oil(clean: Tensor) -> Tensor:
    paint = patches(saturate(clean, 1.5), 4, 3.0)
    across, down = slopes(blur(luma(paint), 0.8))
    relief = 0.10 * torch.tanh((across + down) * -12.0)
    return (curve(paint.clamp(0, 1), 2.6, 0.46) + relief).clamp(0, 1)


def _mosaic(clean: Tensor) -> Tensor:
    down, across = phase(clean)
    middle = (1 - torch.cos(down)) * (1 - torch.cos(across)) / 4
    grout = torch.tanh(middle * 6.0)
    bevel = 0.05 * (torch.sin(down) + torch.sin(across))
    glass = curve(saturate(tiles(clean), 1.6).clamp(0, 1), 2.2) + bevel
    return torch.lerp(colour((0.16, 0.15, 0.17), clean), glass, 0.45 + 0.55 * grout).clamp(0, 1)


def _sketch(clean: Tensor) -> Tensor:
    tone = blur(luma(clean), 0.8)
    dodge = ((tone + 0.06) / (blur(tone, 3.0) + 0.06)).clamp(max=1.0)
    lines = torch.tanh((1 - dodge) * 3.2)
    down, across = phase(clean)
    hatch = 0.5 + 0.5 * torch.cos(down + across)
    shade = step(blur(tone, 2.0), 0.30, -9.0) * (0.22 + 0.30 * hatch)
    graphite = 1 - (1 - lines) * (1 - shade)
    return torch.lerp(
        colour((0.97, 0.96, 0.93), clean), colour((0.20, 0.20, 0.23), clean), graphite
    )


def _comic(clean: Tensor) -> Tensor:
    flat = posterise(blur(clean, 1.2), 5, 3.5)
    flat = saturate(flat, 1.45).mul(1.08).add(0.02).clamp(0, 1)
    return flat * (1 - 0.94 * ink(luma(clean), 1.3, 150.0, 0.018))


def _neon(clean: Tensor) -> Tensor:
    across, down = slopes(blur(clean.mean(-3, keepdim=True), 1.3))
    size = (across * across + down * down + 1e-8).sqrt()
    line = torch.tanh(size * 16.0) ** 1.5
    hue = torch.cat([across.abs() * 0.9 + down.abs() * 0.2, across.abs(), down.abs()], -3)
    hue = blur(hue, 1.5) + 1e-4
    own = blur(saturate(clean, 2.2).clamp(0, 1), 2.5) + 0.06
    tint = hue / hue.amax(-3, keepdim=True) * 0.5 + own / own.amax(-3, keepdim=True) * 0.7
    glow = blur(line, 3.5)
    night = colour((0.03, 0.01, 0.07), clean) + 0.10 * clean
    return (night + tint * (0.95 * line + 0.7 * glow)).clamp(0, 1)


def _trails(clean: Tensor) -> Tensor:
    bright = step(luma(clean), 0.62, 11.0) * saturate(clean, 1.4).clamp(0, 1)
    fade = colour((0.68, 0.78, 0.87), clean)
    shown = []
    history = bright[:, 0]
    for now in bright.unbind(1):
        history = torch.maximum(now, history * fade)
        shown.append(history)
    return (saturate(clean, 0.6) * 0.34 + torch.stack(shown, 1) * 0.85).clamp(0, 1)


def _exposure(clean: Tensor) -> Tensor:
    shown = []
    history = clean[:, 0]
    for now in clean.unbind(1):
        history = torch.lerp(history, now, 0.3)
        shown.append(history)
    return curve(torch.stack(shown, 1), 2.0, 0.47).clamp(0, 1)


def _drying(clean: Tensor) -> Tensor:
    line = ink(luma(clean), 1.3, 130.0, 0.012)
    shown = []
    age = line[:, 0]
    for now in line.unbind(1):
        age = torch.lerp(age, now, 0.25)
        shown.append(age)
    dry = torch.stack(shown, 1).clamp(0, 1)
    wet = (line - dry).clamp(0, 1)
    paper = colour((0.95, 0.91, 0.82), clean) * (0.86 + 0.14 * blur(luma(clean), 3.0))
    sepia = colour((0.62, 0.44, 0.28), clean)
    fresh = colour((0.05, 0.09, 0.30), clean)
    drawn = torch.lerp(paper, sepia, dry * line * 0.8)
    return torch.lerp(drawn, fresh, wet).clamp(0, 1)


STYLES: tuple[Style, ...] = (
    Style("camera", "Camera", False, _camera),
    Style("noir", "Film noir", False, _noir),
    Style("vintage", "Vintage film", False, _vintage),
    Style("thermal", "Heat map", False, _thermal),
    Style("pop", "Pop art", False, _pop),
    Style("vapor", "Vaporwave", False, _vapor),
    Style("watercolor", "Watercolour", False, _watercolor),
    Style("oil", "Oil paint", False, _oil),
    Style("mosaic", "Mosaic", False, _mosaic),
    Style("sketch", "Pencil sketch", False, _sketch),
    Style("comic", "Comic book", False, _comic),
    Style("neon", "Neon", False, _neon),
    Style("trails", "Light trails", True, _trails),
    Style("exposure", "Long exposure", True, _exposure),
    Style("drying", "Drying ink", True, _drying),
)


def find(name: str) -> Style:
    """The style of that name; KeyError lists the names there are."""
    for style in STYLES:
        if style.name == name:
            return style
    raise KeyError(f"no style {name!r}; there are {', '.join(s.name for s in STYLES)}")


def blend(targets: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Pixel-space weighted mean of pictures of one shape.

    Args:
        targets: tensors of one shape.
        weights: as many, not negative, not all zero; they are divided by their sum.

    Raises:
        ValueError: the counts differ, or the weights do not make a mean.
    """
    if len(targets) != len(weights) or not targets:
        raise ValueError(f"{len(targets)} targets and {len(weights)} weights do not make a blend")
    total = sum(weights)
    if min(weights) < 0 or total <= 0:
        raise ValueError(f"weights must not be negative or all zero, not {list(weights)}")
    out = torch.zeros_like(targets[0])
    for target, weight in zip(targets, weights, strict=True):
        out.add_(target, alpha=weight / total)
    return out
