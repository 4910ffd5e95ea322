"""Painted scenes without a sky: fire, water, plants, and patterns."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..scenes import Dice
from .fields import (
    Canvas,
    Colour,
    dots,
    gradient,
    looked_up,
    paint,
    shine,
    swell,
    varied,
)

HUES: dict[str, Colour] = {
    "red": (0.90, 0.12, 0.10),
    "green": (0.12, 0.75, 0.22),
    "blue": (0.12, 0.30, 0.95),
    "yellow": (0.98, 0.85, 0.12),
    "purple": (0.60, 0.15, 0.85),
    "white": (0.95, 0.95, 0.95),
    "black": (0.04, 0.04, 0.05),
    "orange": (1.0, 0.50, 0.08),
}
FLAMES: dict[str, tuple[tuple[float, Colour], ...]] = {
    "plain": (
        (0.05, (0.02, 0.0, 0.0)),
        (0.35, (0.65, 0.06, 0.0)),
        (0.65, (1.0, 0.48, 0.03)),
        (0.95, (1.0, 0.93, 0.55)),
    ),
    "blue": (
        (0.05, (0.0, 0.0, 0.03)),
        (0.35, (0.02, 0.08, 0.6)),
        (0.65, (0.1, 0.5, 1.0)),
        (0.95, (0.8, 0.97, 1.0)),
    ),
}


def fire(dice: Dice, canvas: Canvas, hue: str) -> Tensor:
    speed = dice.number(0.7, 1.0)
    field = swell(dice, canvas, 1.2, (0.0, -speed), 0.25, (1, 20), (1.0, 1.7))
    sway = swell(dice, canvas, 2.0, (0.0, -speed * 0.7), 0.2, (1, 4))
    flicker = looked_up(field, canvas.across() + 0.05 * sway, canvas.down())
    height = dice.number(0.75, 1.0)
    up = (1 - canvas.down()) / height
    heat = 1.15 - 1.05 * up + 0.28 * flicker * (0.35 + up)
    return gradient(heat, FLAMES[hue])


def candle(dice: Dice, canvas: Canvas) -> Tensor:
    """One flame over a candle in the dark."""
    sway = swell(dice, canvas, 1.5, churn=0.35, band=(1, 3))[:, :1, :1]
    foot = 0.68
    up = (foot - canvas.down()) / dice.number(0.34, 0.42)
    x = canvas.across() - dice.number(0.42, 0.58) - 0.05 * sway * up.clamp(0, 1).square()
    width = 0.085 * (up.clamp(0, 1) + 0.04).pow(0.45) * (1.02 - up.clamp(0, 1)).clamp(min=0)
    inside = torch.sigmoid((width - x.abs()) * 90) * torch.sigmoid(up * 40)
    inside = inside * torch.sigmoid((0.97 - up) * 25)
    middle = (x.square() + (canvas.down() - foot + 0.14).square()).sqrt()
    dark = varied(dice, (0.05, 0.02, 0.02), 0.02)
    base = gradient(middle * (1 + 0.1 * sway), ((0.0, (0.45, 0.18, 0.05)), (0.55, dark)))
    wax = torch.sigmoid((0.07 - (x + 0.05 * sway * up.clamp(0, 1).square()).abs()) * 150)
    base = paint(base, wax * torch.sigmoid((canvas.down() - foot - 0.015) * 120), (0.85, 0.75, 0.6))
    flame = gradient(
        up + 0 * x,
        (
            (0.0, (0.35, 0.45, 1.0)),
            (0.2, (1.0, 0.85, 0.5)),
            (0.6, (1.0, 0.95, 0.75)),
            (1.0, (1.0, 0.55, 0.1)),
        ),
    )
    return paint(base, inside, flame)


def lava(dice: Dice, canvas: Canvas) -> Tensor:
    drift = (dice.number(-0.05, 0.05), dice.number(-0.05, 0.05))
    field = swell(dice, canvas, 1.7, drift, 0.07, (1, 16))
    rough = swell(dice, canvas, 1.2, drift, 0.03, (3, 40))
    heat = torch.exp(-((field + 0.12 * rough) * 2.6).square()) + 0.10 * rough
    return gradient(
        heat,
        (
            (0.0, (0.06, 0.03, 0.03)),
            (0.3, (0.30, 0.03, 0.01)),
            (0.7, (1.0, 0.35, 0.02)),
            (1.0, (1.0, 0.90, 0.40)),
        ),
    )


def underwater(dice: Dice, canvas: Canvas) -> Tensor:
    """Light that water bends into nets, on a ground below."""
    one = swell(dice, canvas, 1.4, (0.03, 0.02), 0.10, (2, 9))
    two = swell(dice, canvas, 1.4, (-0.03, 0.01), 0.10, (2, 9))
    net = torch.exp(-(one * 2.2).square()) + torch.exp(-(two * 2.2).square())
    down = canvas.down().expand_as(net)
    deep, shallow = varied(dice, (0.0, 0.15, 0.32), 0.03), varied(dice, (0.10, 0.55, 0.68), 0.04)
    base = gradient(down, ((0.0, shallow), (1.0, deep)))
    return shine(base, 0.75 * net.square() * (1.1 - 0.7 * down), (0.65, 1.0, 0.95))


def bubbles(dice: Dice, canvas: Canvas) -> Tensor:
    base = gradient(
        canvas.down().expand(canvas.frames, canvas.side, canvas.side),
        ((0.0, varied(dice, (0.12, 0.55, 0.75))), (1.0, varied(dice, (0.01, 0.12, 0.30)))),
    )
    for size, speed, count in ((0.018, 0.18, 16), (0.032, 0.28, 9), (0.055, 0.4, 4)):
        turn = 2 * math.pi * (canvas.times[:, None] * 0.5 + dice.uniform(0, 1, count))
        x = dice.uniform(0, 1, count) + 0.02 * torch.sin(turn)
        y = 1.1 - (dice.uniform(0, 1, count) + canvas.times[:, None] * speed) * 1.2 % 1.2
        radius = torch.full((count,), size)
        disc = dots(canvas, x, y, radius, torch.tensor(1.0))
        rim = torch.exp(-((disc - 0.45) * 5).square())
        base = shine(base, 0.8 * rim + 0.2 * disc.clamp(max=1), (0.75, 0.95, 1.0))
    return base


def fireflies(dice: Dice, canvas: Canvas) -> Tensor:
    dark = swell(dice, canvas, 1.6, churn=0.0, band=(1, 14), stretch=(1.0, 0.4))
    down = canvas.down().expand_as(dark)
    base = gradient(dark - 2 * down, ((-3.0, (0.0, 0.02, 0.01)), (1.0, (0.05, 0.14, 0.12))))
    count = 26
    turns = [
        2
        * math.pi
        * (canvas.times[:, None] * dice.uniform(0.08, 0.25, count) + dice.uniform(0, 1, count))
        for _ in range(3)
    ]
    x = dice.uniform(0, 1, count) + 0.09 * torch.sin(turns[0])
    y = dice.uniform(0.25, 1, count) + 0.07 * torch.cos(turns[1])
    light = (0.55 + 0.75 * torch.sin(turns[2] * 2)).clamp(min=0)
    for size, strength in ((0.035, 0.35), (0.011, 1.8)):
        glow = dots(canvas, x, y, torch.full((count,), size), light * strength)
        base = shine(base, glow, (0.95, 0.95, 0.30))
    return base


def grass(dice: Dice, canvas: Canvas, hue: str) -> Tensor:
    """Blades in the wind, from above."""
    low, high = {
        "green": ((0.03, 0.18, 0.03), (0.55, 0.80, 0.22)),
        "gold": ((0.32, 0.18, 0.03), (1.0, 0.85, 0.42)),
    }[hue]
    blades = swell(dice, canvas, 0.5, churn=0.0, band=(6, 50), stretch=(1.0, 5.0))
    wind = swell(dice, canvas, 1.6, (dice.number(0.25, 0.4), 0.05), 0.08, (1, 5))
    near = 0.5 + 0.9 * canvas.down()
    seen = looked_up(blades, (canvas.across() + 0.035 * wind) / near, canvas.down() / near)
    tone = 0.42 + 0.17 * seen + 0.17 * wind
    return gradient(tone, ((0.0, varied(dice, low, 0.02)), (1.0, varied(dice, high, 0.03))))


def waterfall(dice: Dice, canvas: Canvas) -> Tensor:
    fall = swell(dice, canvas, 0.7, (0.0, dice.number(0.8, 1.1)), 0.05, (3, 40), (1.0, 4.0))
    rock = swell(dice, canvas, 1.2, churn=0.0, band=(1, 40), stretch=(1.0, 0.6))
    middle, width = dice.number(0.4, 0.6), dice.number(0.18, 0.28)
    edge = 0.02 * rock + (canvas.across() - middle).abs()
    stone = gradient(rock, ((-2.5, (0.05, 0.06, 0.05)), (2.0, varied(dice, (0.34, 0.36, 0.28)))))
    water = gradient(fall, ((-2.0, (0.35, 0.55, 0.68)), (1.5, (0.97, 0.99, 1.0))))
    pictures = paint(stone, torch.sigmoid((width - edge) * 70), water)
    mist = swell(dice, canvas, 1.8, (0.0, -0.1), 0.15, (1, 8))
    return paint(
        pictures,
        torch.sigmoid((canvas.down() - 0.86 + 0.05 * mist) * 18) * 0.85,
        (0.85, 0.91, 0.95),
    )


def forest(dice: Dice, canvas: Canvas, way: str) -> Tensor:
    """Trunks in the mist that pass by."""
    sign = -1.0 if way == "left" else 1.0
    mist = swell(dice, canvas, 2.0, (sign * 0.03, 0.0), 0.04, (1, 5))
    fog: Colour = varied(dice, (0.66, 0.74, 0.74), 0.04)
    pictures = gradient(mist, ((-2.5, varied(dice, (0.52, 0.60, 0.60), 0.03)), (2.5, fog)))
    for layer, (width, gap, shade) in enumerate(
        ((0.018, 0.13, 0.35), (0.035, 0.24, 0.6), (0.07, 0.5, 0.9))
    ):
        moved = canvas.across() - canvas.clock() * sign * (0.04, 0.10, 0.22)[layer]
        moved = moved + dice.number(0, 1) + 0.01 * torch.sin(canvas.down() * dice.number(3, 9))
        place = (moved / gap).floor()
        jitter = torch.sin(place * 12.9 + dice.number(0, 6)) * 0.3
        inside = ((moved / gap) % 1 - 0.5 - jitter * 0.6).abs() * gap
        trunk = torch.sigmoid((width * (0.8 + jitter * 0.5) - inside) * 130)
        colour = torch.lerp(torch.tensor(fog), torch.tensor((0.08, 0.11, 0.10)), shade)
        pictures = paint(pictures, trunk.expand(-1, canvas.side, -1), colour.view(3, 1, 1))
        veil = 0.25 * torch.sigmoid(mist * 1.5 + (canvas.down() - 0.7) * 6)
        pictures = paint(pictures, veil, fog)
    return pictures


def plasma(dice: Dice, canvas: Canvas) -> Tensor:
    """All colours, flowing."""
    field = swell(dice, canvas, 2.2, churn=0.12, band=(1, 5))
    turn = 1.6 * field + canvas.clock() * dice.number(0.2, 0.5) * 2 * math.pi
    shift = torch.tensor((0.0, 2.1, 4.2)).view(3, 1, 1)
    return 0.5 + 0.5 * torch.sin(turn[:, None] + shift)


def tunnel(dice: Dice, canvas: Canvas, hue: str) -> Tensor:
    """Rings and spokes that come nearer."""
    x = canvas.across() - 0.5 - 0.08 * math.sin(dice.number(0, 6.3))
    y = canvas.down() - 0.5 - 0.08 * math.sin(dice.number(0, 6.3))
    radius = (x.square() + y.square()).sqrt().clamp(min=0.01)
    depth = 0.22 / radius + canvas.clock() * dice.number(0.7, 1.1)
    angle = torch.atan2(y, x) + 0.6 * depth * dice.number(-1, 1)
    pattern = torch.sin(depth * 2 * math.pi) + torch.sin(angle * (3 + dice.pick(4)))
    tone = torch.sigmoid(2.2 * pattern) * (radius * 3.4).clamp(max=1)
    colour = HUES[hue]
    bright = tuple(0.5 + 0.5 * part for part in colour)
    stops = ((0.0, (0.02, 0.02, 0.04)), (0.6, colour), (1.0, (bright[0], bright[1], bright[2])))
    return gradient(tone, stops)


def shape(dice: Dice, canvas: Canvas, hue: str, form: str, way: str, ground: str) -> Tensor:
    """One coloured shape that moves over a ground of another colour."""
    dark = tuple(0.8 * part for part in HUES[ground])
    down = canvas.down().expand(canvas.frames, canvas.side, canvas.side)
    base = gradient(down, ((0.0, HUES[ground]), (1.0, (dark[0], dark[1], dark[2]))))
    step = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}[way]
    radius, speed = dice.number(0.13, 0.2), dice.number(0.3, 0.4)
    span = 1 + 2 * radius
    spots = dice.uniform(0.2, 0.8, 2)
    places = [
        (spot + canvas.clock() * speed * part + radius) % span - radius if part else spot
        for spot, part in zip(spots, step, strict=True)
    ]
    x, y = canvas.across() - places[0], canvas.down() - places[1]
    away = {
        "circle": lambda: (x.square() + y.square()).sqrt() - radius,
        "square": lambda: torch.maximum(x.abs(), y.abs()) - 0.86 * radius,
        "triangle": lambda: torch.maximum(0.87 * x.abs() - 0.5 * y, y + 0.0 * x) - 0.55 * radius,
    }[form]()
    return paint(base, torch.sigmoid(-away * 150).expand(canvas.frames, -1, -1), HUES[hue])
