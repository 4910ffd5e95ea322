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
    tone = tone + 0.3 * (tone - blur(tone, 6.0))
    return curve(tone.clamp(0, 1), 3.4, 0.44).clamp(0, 1).expand_as(clean)


def _vintage(clean: Tensor) -> Tensor:
    faded = saturate(clean, 0.65)
    toned = faded * colour((0.86, 0.74, 0.52), clean) + colour((0.16, 0.11, 0.10), clean)
    glow = blur(luma(clean), 5.0) - 0.5
    warmth = colour((0.10, 0.05, -0.05), clean)
    return curve((toned + glow * warmth).clamp(0, 1), 2.4, 0.5).mul(0.90).add(0.075)


_HEAT = (
    (0.00, (0.03, 0.01, 0.14)),
    (0.25, (0.34, 0.03, 0.56)),
    (0.50, (0.80, 0.20, 0.40)),
    (0.72, (0.97, 0.56, 0.08)),
    (0.90, (1.00, 0.87, 0.24)),
    (1.00, (1.00, 0.97, 0.80)),
)


def _thermal(clean: Tensor) -> Tensor:
    tone = blur(luma(clean), 1.2)
    return gradient_map(curve(tone, 1.8), _HEAT)


_POSTER = (
    (0.00, (0.16, 0.02, 0.42)),
    (0.33, (0.93, 0.08, 0.48)),
    (0.66, (1.00, 0.62, 0.10)),
    (1.00, (1.00, 0.97, 0.62)),
)


def _pop(clean: Tensor) -> Tensor:
    soft = blur(clean, 0.9)
    own = posterise(saturate(soft, 2.2).clamp(0, 1), 3, 5.0)
    ramp = gradient_map(posterise(curve(luma(soft), 2.4), 4, 5.5), _POSTER)
    flat = torch.lerp(own, ramp, 0.55)
    down, across = phase(clean)
    dots = 0.5 - 0.25 * (torch.cos(down) + torch.cos(across))
    tone = luma(soft)
    cover = torch.sigmoid((dots - 0.3 - 0.7 * tone) * 7.0) * (1 - tone)
    return torch.lerp(flat, colour((0.06, 0.30, 0.80), clean), 0.6 * cover).clamp(0, 1)


_DUSK = (
    (0.00, (0.07, 0.02, 0.24)),
    (0.30, (0.46, 0.10, 0.62)),
    (0.55, (0.94, 0.36, 0.76)),
    (0.80, (0.56, 0.78, 0.98)),
    (1.00, (0.84, 1.00, 0.98)),
)


def _vapor(clean: Tensor) -> Tensor:
    tone = blur(luma(clean), 0.8)
    toned = gradient_map(curve(tone, 1.4, 0.45), _DUSK)
    glow = blur(step(tone, 0.62, 9.0), 5.0) * colour((0.30, 0.10, 0.34), clean)
    return (1 - (1 - toned) * (1 - glow)).clamp(0, 1)


def _watercolor(clean: Tensor) -> Tensor:
    wash = torch.lerp(patches(clean, 3, 1.8), clean, 0.15)
    tone = luma(wash)
    # Pigment is transparent: thin on the paper in the light, and deeper where it pools at edges.
    bright = 1 - (1 - curve(wash.clamp(0, 1), 1.6, 0.4).mul(0.9).add(0.1)) * 0.82
    vivid = saturate(bright, 1.7).clamp(0, 1)
    pooled = torch.tanh(edges(tone, 1.2) * 11.0)
    down, across = phase(clean)
    paper = 0.012 * torch.cos(down) * torch.cos(across / 2)
    deep = vivid * (1 - pooled * (0.75 - 0.45 * vivid))
    return (deep * colour((1.0, 0.99, 0.96), clean) + paper).clamp(0, 1)


def _oil(clean: Tensor) -> Tensor:
    vivid = saturate(clean, 1.55)
    paint = torch.lerp(patches(vivid, 3, 4.0), vivid, 0.10)
    across, down = slopes(blur(luma(paint), 0.8))
    relief = 0.14 * torch.tanh((across + down) * -6.0)
    rows, columns = phase(clean)
    # Strokes of a flat brush; they show in the middle tones, where paint lies thick.
    stroke = 0.035 * torch.cos(rows - columns / 2) * torch.cos(columns / 2)
    rich = curve(paint.clamp(0, 1), 2.2, 0.45) * colour((1.0, 0.96, 0.88), clean)
    return (rich + relief + stroke * (4 * rich * (1 - rich))).clamp(0, 1)


def _mosaic(clean: Tensor) -> Tensor:
    down, across = phase(clean)
    middle = (1 - torch.cos(down)) * (1 - torch.cos(across)) / 4
    grout = torch.tanh(middle * 6.0)
    bevel = 0.05 * (torch.sin(down) + torch.sin(across))
    # A little of the picture shows through the glass: faces stay readable at this tile size.
    seen = torch.lerp(tiles(clean), clean, 0.22)
    glass = curve(saturate(seen, 1.6).clamp(0, 1), 2.4) + bevel
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
    soft = blur(clean, 1.2)
    tone = luma(soft)
    # Tones are flattened, not channels: rounding each channel would speckle greys with colour.
    flat = soft * (posterise(tone, 5, 4.0) / (tone + 0.02))
    flat = saturate(flat, 1.55).mul(1.06).add(0.02).clamp(0, 1)
    return flat * (1 - 0.94 * ink(luma(clean), 1.5, 100.0, 0.018))


def _neon(clean: Tensor) -> Tensor:
    across, down = slopes(blur(clean.mean(-3, keepdim=True), 1.6))
    size = (across * across + down * down + 1e-8).sqrt()
    line = torch.tanh(size * 13.0) ** 1.4
    # Tubes on dark things glow cyan, on bright ones pink, as if each were lit by its own gas.
    share = step(blur(luma(clean), 5.0), 0.42, 9.0)
    cyan, pink = colour((0.10, 0.80, 1.00), clean), colour((1.00, 0.16, 0.78), clean)
    tint = torch.lerp(cyan, pink, share) + 0.3 * saturate(blur(clean, 3.0), 2.0)
    glow = blur(line, 3.5)
    night = colour((0.03, 0.01, 0.07), clean) + 0.08 * clean
    return (night + tint * (0.70 * line + 0.50 * glow)).clamp(0, 1)


def _trails(clean: Tensor) -> Tensor:
    tone = luma(clean)
    lamps = step(tone, 0.66, 10.0) * saturate(clean, 1.7).clamp(0, 1)
    bright = blur(lamps, 2.5)
    fade = colour((0.72, 0.82, 0.91), clean)
    shown = []
    history = bright[:, 0]
    for now in bright.unbind(1):
        history = torch.maximum(now, history * fade)
        shown.append(history)
    light = torch.stack(shown, 1)
    night = saturate(clean, 0.8) * colour((0.20, 0.25, 0.44), clean)
    return (night + 0.4 * lamps + light).clamp(0, 1)


_SILK = (
    (0.00, (0.05, 0.10, 0.20)),
    (0.50, (0.46, 0.54, 0.60)),
    (1.00, (1.00, 0.97, 0.90)),
)


def _exposure(clean: Tensor) -> Tensor:
    soft = blur(clean, 3.0)
    shown = []
    history = soft[:, 0]
    for now in soft.unbind(1):
        history = torch.lerp(history, now, 0.3)
        shown.append(history)
    # What moved melts into a glow; what stands keeps its drawing.
    held = torch.stack(shown, 1) + 0.5 * (clean - soft)
    tone = luma(held)
    graded = 0.75 * held + gradient_map(tone, _SILK) - 0.75 * tone
    bloom = blur(graded.clamp(0, 1) * tone, 5.0)
    silk = 1 - (1 - curve(graded.clamp(0, 1), 2.0, 0.53)) * (1 - 0.55 * bloom)
    return silk.clamp(0, 1)


def _drying(clean: Tensor) -> Tensor:
    tone = luma(clean)
    line = ink(tone, 1.5, 90.0, 0.011)
    soft = blur(tone, 3.0)
    shown = []
    soaked = soft[:, 0]
    for now in soft.unbind(1):
        soaked = torch.lerp(soaked, now, 0.25)
        shown.append(soaked)
    # Where it has just grown dark the ink is wet and blue; where it grew light it leaves a warm
    # stain. Both fade as the page gets used to what it shows.
    turn = torch.tanh((torch.stack(shown, 1) - soft) * 9.0)
    page = torch.lerp(colour((0.80, 0.70, 0.55), clean), colour((0.98, 0.95, 0.88), clean), soft)
    stain = page + turn * colour((-0.30, -0.12, 0.16), clean)
    blue, sepia = colour((0.05, 0.12, 0.42), clean), colour((0.47, 0.28, 0.14), clean)
    tint = torch.lerp(sepia, blue, turn.clamp(min=0))
    return torch.lerp(stain, tint, line * 0.85).clamp(0, 1)


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
