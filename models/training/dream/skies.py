"""Painted scenes with a sky: sea, clouds, aurora, stars, snow, rain, mountains."""

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
    ridge,
    shine,
    swell,
    varied,
)

SKIES: dict[str, tuple[Colour, Colour]] = {
    "day": ((0.16, 0.42, 0.83), (0.72, 0.87, 0.97)),
    "sunset": ((0.25, 0.18, 0.42), (1.0, 0.52, 0.22)),
    "night": ((0.01, 0.02, 0.07), (0.07, 0.10, 0.24)),
}
"""Colours at the top and at the horizon, by the time of day."""
WATER: dict[str, tuple[Colour, Colour]] = {
    "day": ((0.02, 0.20, 0.42), (0.35, 0.68, 0.80)),
    "sunset": ((0.12, 0.07, 0.20), (0.85, 0.42, 0.28)),
    "night": ((0.0, 0.01, 0.05), (0.10, 0.16, 0.32)),
}
LIGHT: dict[str, Colour] = {
    "day": (1.0, 0.98, 0.9),
    "sunset": (1.0, 0.72, 0.35),
    "night": (0.75, 0.82, 1.0),
}
CLOUD: dict[str, tuple[Colour, Colour]] = {
    "day": ((0.62, 0.70, 0.80), (1.0, 1.0, 1.0)),
    "sunset": ((0.45, 0.24, 0.36), (1.0, 0.70, 0.45)),
    "night": ((0.04, 0.05, 0.10), (0.24, 0.27, 0.38)),
}
WAY = {"left": -1.0, "right": 1.0}


def sky(dice: Dice, canvas: Canvas, time: str, horizon: float) -> Tensor:
    """A plain sky down to the horizon (part of the side), with stars at night."""
    top, low = (varied(dice, colour, 0.03) for colour in SKIES[time])
    down = canvas.down().expand(canvas.frames, canvas.side, canvas.side)
    pictures = gradient(down / horizon, ((0.0, top), (1.0, low)))
    if time == "night":
        pictures = shine(pictures, stars(dice, canvas, 40), (1.0, 1.0, 1.0))
    return pictures


def stars(dice: Dice, canvas: Canvas, count: int) -> Tensor:
    """Small lights that stand still and twinkle a little."""
    x, y = (dice.uniform(0, 1, 1, count).expand(canvas.frames, -1) for _ in range(2))
    turn = canvas.times[:, None] * dice.uniform(0.3, 1.2, count) + dice.uniform(0, 1, count)
    light = dice.uniform(0.2, 1.6, count) * (0.8 + 0.2 * torch.sin(2 * math.pi * turn))
    return dots(canvas, x, y, dice.uniform(0.004, 0.008, count), light)


def sea(dice: Dice, canvas: Canvas, time: str, wind: str) -> Tensor:
    horizon = dice.number(0.32, 0.46)
    pictures = sky(dice, canvas, time, horizon)
    sun_x, sun_y = dice.number(0.3, 0.7), horizon - dice.number(0.03, 0.22)
    away = ((canvas.across() - sun_x).square() + (canvas.down() - sun_y).square()).sqrt()
    away = away.expand(canvas.frames, -1, -1)
    if time != "day":
        pictures = shine(pictures, 0.7 * torch.exp(-away * 7), LIGHT[time])
        pictures = paint(pictures, torch.sigmoid((0.06 - away) * 180), LIGHT[time])
    size = {"calm": 0.5, "stormy": 1.5}[wind]
    depth = (canvas.down() - horizon).clamp(min=0.012)
    far = 0.16 / depth
    field = swell(dice, canvas, 1.3, (0.0, 0.02), 0.05, (2, 26), (1.0, 0.55), 0.16 * size)
    slope = looked_up(field, (canvas.across() - 0.5) * far * 0.8 + 0.5, far * 0.7)
    deep, bright = (varied(dice, colour, 0.03) for colour in WATER[time])
    lit = 0.42 + 0.2 * size * slope + 0.35 * torch.exp(-depth * 9)
    water = gradient(lit, ((0.0, deep), (1.0, bright)))
    glint = torch.exp(-((canvas.across() - sun_x) / (0.05 + 0.4 * depth)).square())
    spark = torch.sigmoid((slope - 0.7) * 5) * glint * (0.5 if time == "day" else 1.5)
    water = shine(water, spark, LIGHT[time])
    if wind == "stormy":
        water = paint(water, torch.sigmoid((slope - 1.4) * 6) * 0.8, (0.85, 0.9, 0.93))
    below = torch.sigmoid((canvas.down() - horizon) * 200).expand_as(slope)
    return torch.lerp(pictures, water, below[:, None])


def clouds(dice: Dice, canvas: Canvas, time: str, way: str) -> Tensor:
    pictures = sky(dice, canvas, time, 1.15)
    far = 0.35 + 0.65 * canvas.down()
    speed = WAY[way] * dice.number(0.12, 0.2)
    field = swell(dice, canvas, 1.5, (speed, 0.0), 0.03, (1, 30), (2.0, 1.0))
    thick = looked_up(field, (canvas.across() - 0.5) * far + 0.5, canvas.down() * 0.8)
    above = looked_up(field, (canvas.across() - 0.53) * far + 0.5, canvas.down() * 0.8 - 0.03)
    cover = torch.sigmoid((thick - dice.number(-0.3, 0.4)) * 2.6)
    dark, bright = CLOUD[time]
    shade = gradient(0.6 + 0.55 * (thick - above), ((0.0, dark), (1.0, bright)))
    return paint(pictures, cover * 0.95, shade)


def hills(dice: Dice, canvas: Canvas, pictures: Tensor, height: float, colour: Colour) -> Tensor:
    """The dark outline of land in front, up to `height` from below."""
    line = 1 - height + 0.05 * ridge(dice, canvas, 0.0)
    return paint(pictures, torch.sigmoid((canvas.down() - line[:, None]) * 160), colour)


def aurora(dice: Dice, canvas: Canvas, hue: str) -> Tensor:
    pictures = sky(dice, canvas, "night", 1.0)
    colour: Colour = {"green": (0.15, 1.0, 0.45), "purple": (0.75, 0.25, 1.0)}[hue]
    tip: Colour = (0.1, 0.45, 0.8) if hue == "green" else (1.0, 0.25, 0.5)
    bend = swell(dice, canvas, 1.9, (0.05, 0.0), 0.08, (1, 5))
    rays = swell(dice, canvas, 0.9, (dice.number(-0.1, 0.1), 0.0), 0.12, (2, 30), (1.0, 40.0))
    for start in (dice.number(0.30, 0.42), dice.number(0.55, 0.68)):
        foot = start + 0.09 * bend[:, :1].roll(int(start * canvas.side), 2)
        up = foot - canvas.down()
        fall = torch.exp(-up.clamp(min=0) * 5.0) * torch.sigmoid(up * 70)
        light = fall * (0.75 + 0.4 * rays).clamp(min=0.05)
        pictures = shine(pictures, 1.1 * light, colour)
        pictures = shine(pictures, 0.7 * light * (up * 4).clamp(0, 1), tip)
    return hills(dice, canvas, pictures, dice.number(0.10, 0.2), (0.01, 0.02, 0.03))


def flight(dice: Dice, canvas: Canvas) -> Tensor:
    """Stars that come nearer from the middle."""
    count = 110
    angle = dice.uniform(0, 2 * math.pi, count)
    speed = dice.number(0.35, 0.5)
    near = (dice.uniform(0, 1, count) + canvas.times[:, None] * speed) % 1
    reach = 0.02 + 0.85 * near.pow(2.2)
    x, y = 0.5 + reach * torch.cos(angle), 0.5 + reach * torch.sin(angle)
    light = 2.2 * (near * 3).clamp(max=1)
    base = gradient(
        swell(dice, canvas, 2.0, churn=0.02, band=(1, 8)),
        ((-1.5, (0.0, 0.0, 0.02)), (2.0, varied(dice, (0.10, 0.06, 0.20)))),
    )
    for part in range(3):  # Nearer ones are larger.
        own = (near * 3).long().clamp(max=2) == part
        radius = torch.full((count,), 0.005 + 0.003 * part)
        base = shine(base, dots(canvas, x, y, radius, light * own), (0.9, 0.95, 1.0))
    return base


def snow(dice: Dice, canvas: Canvas, time: str) -> Tensor:
    pictures = sky(dice, canvas, time, 1.0) if time == "night" else _grey(canvas)
    ground: Colour = (0.35, 0.42, 0.58) if time == "night" else (0.9, 0.93, 0.97)
    trees: Colour = (0.03, 0.05, 0.10) if time == "night" else (0.42, 0.48, 0.55)
    line = 0.72 + 0.05 * ridge(dice, canvas, 0.0, 0.5)
    pictures = paint(pictures, torch.sigmoid((canvas.down() - line[:, None]) * 120), trees)
    low = 0.84 + 0.02 * ridge(dice, canvas, 0.0, 2.0)
    pictures = paint(pictures, torch.sigmoid((canvas.down() - low[:, None]) * 120), ground)
    for size, speed, count in ((0.006, 0.16, 60), (0.010, 0.28, 35), (0.016, 0.42, 14)):
        x = dice.uniform(0, 1, count) + 0.03 * torch.sin(
            2 * math.pi * (canvas.times[:, None] * 0.4 + dice.uniform(0, 1, count))
        )
        y = (dice.uniform(0, 1, count) + canvas.times[:, None] * speed) * 1.1 % 1.1 - 0.05
        flakes = dots(canvas, x % 1, y, torch.full((count,), size), torch.tensor(1.0))
        pictures = paint(pictures, flakes * 0.9, (0.97, 0.98, 1.0))
    return pictures


def _grey(canvas: Canvas) -> Tensor:
    down = canvas.down().expand(canvas.frames, canvas.side, canvas.side)
    return gradient(down, ((0.0, (0.60, 0.66, 0.74)), (1.0, (0.80, 0.84, 0.88))))


def rain(dice: Dice, canvas: Canvas, time: str) -> Tensor:
    glow = swell(dice, canvas, 2.2, churn=0.01, band=(1, 5))
    if time == "night":
        base = gradient(glow, ((-2.0, (0.02, 0.03, 0.06)), (2.0, (0.10, 0.13, 0.20))))
        for _ in range(9):  # Lights of a city, out of focus.
            x, y = dice.uniform(0, 1, 1, 1), dice.uniform(0.35, 0.9, 1, 1)
            spot = dots(
                canvas,
                x.expand(canvas.frames, -1),
                y.expand(canvas.frames, -1),
                dice.uniform(0.03, 0.07, 1),
                torch.tensor(0.8),
            )
            hue: Colour = [(1.0, 0.7, 0.25), (1.0, 0.25, 0.2), (0.3, 0.6, 1.0)][dice.pick(3)]
            base = shine(base, spot, hue)
    else:
        base = gradient(glow, ((-2.0, (0.36, 0.40, 0.45)), (2.0, (0.58, 0.62, 0.66))))
    for speed, strength in ((0.9, 0.28), (1.3, 0.4)):
        streak = swell(dice, canvas, 0.2, (0.15, speed), 0.0, (6, 60), (1.0, 9.0))
        base = shine(base, strength * torch.sigmoid((streak - 1.3) * 4), (0.8, 0.88, 1.0))
    return base


def mountains(dice: Dice, canvas: Canvas, time: str, way: str) -> Tensor:
    """Ranges that pass by, the nearer the faster and the darker."""
    pictures = sky(dice, canvas, time, 0.7)
    haze = torch.tensor(SKIES[time][1])
    near = torch.tensor(
        {"day": (0.06, 0.22, 0.16), "sunset": (0.10, 0.03, 0.12), "night": (0.0, 0.01, 0.03)}[time]
    )
    for layer in range(4):
        speed = -WAY[way] * 0.05 * 2**layer
        line = (
            0.42
            + 0.13 * layer
            + (0.07 - 0.008 * layer) * ridge(dice, canvas, canvas.times * speed, 1.25)
        )
        colour = torch.lerp(haze, near, (layer + 1) / 4).view(3, 1, 1)
        pictures = paint(pictures, torch.sigmoid((canvas.down() - line[:, None]) * 150), colour)
    return pictures
