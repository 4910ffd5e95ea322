"""What moves over the scene of a clip: lights, blobs, strokes, plates and faces."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from . import photos
from .scenes import FULL, Dice, Path, Shape, draw, wander


def things(dice: Dice, scene: Tensor, night: bool, count: int) -> Tensor:
    """`count` things that move over the scene; lights at night."""
    pace = FULL / scene.shape[-1]
    for _ in range(count):
        if not night and dice.chance(0.15):
            for shape in _face(dice, scene.shape[0], pace):
                scene = draw(scene, shape)
            continue
        shape = _thing(dice, scene.shape[0], night and dice.chance(0.8), pace)
        fill = None
        if not shape.glow and dice.chance(0.3):
            names = photos.training_photos()
            levels = photos.pyramid(names[dice.pick(len(names))].name, str(scene.device))
            fill = levels[dice.pick(len(levels))]
        scene = draw(scene, shape, fill)
    return scene


def bright_things(clean: Tensor) -> Tensor:
    """Three bright things on fixed courses over [T, 3, H, W]."""
    t = torch.arange(clean.shape[0], dtype=torch.float32)
    round_trip = torch.stack([0.5 + 0.3 * torch.cos(t * 0.16), 0.45 + 0.3 * torch.sin(t * 0.16)])
    courses = (
        (round_trip[0], round_trip[1], (1.0, 0.85, 0.3)),
        (0.1 + 0.03 * t % 0.9, 0.75 + 0.05 * torch.sin(t * 0.4), (0.4, 0.9, 1.0)),
        (0.8 - 0.02 * t % 0.7, 0.2 + 0.012 * t % 0.6, (1.0, 0.5, 0.8)),
    )
    for index, (x, y, tint) in enumerate(courses):
        one = torch.ones_like(t)
        shape = Shape(
            path=Path(x, y, one * 0.0, one),
            half=(0.06, 0.06),
            corners=(0.0, 1.0, 0.0) if index != 1 else (0.0, 0.3, 0.7),
            petals=5,
            wave=0.0,
            ring=0.0,
            near=torch.tensor(tint),
            far=torch.tensor((1.0, 1.0, 0.95)),
            stripes=0.0,
            glow=False,
            soft=1.5,
        )
        clean = draw(clean, shape)
    return clean


def _course(dice: Dice, frames: int, speed: float) -> Path:
    """A path whose middle lies somewhere in the frame."""
    path = wander(dice, frames, speed)
    return replace(
        path,
        x=path.x + dice.number(0.1, 0.9),
        y=path.y + dice.number(0.1, 0.9),
        angle=path.angle * 3 + dice.number(0, 2 * math.pi),
    )


def _thing(dice: Dice, frames: int, light: bool, pace: float) -> Shape:
    """A light, a blob, a bar, a ring, a star or a striped plate."""
    corners = dice.uniform(0.05, 1, 3) ** 3
    corners = corners / corners.sum()
    reach = dice.number(0.015, 0.05) if light else dice.number(0.05, 0.28)
    # Strokes: one side in four is as thin as handwriting.
    slim = dice.number(0.06, 0.25) if dice.chance(0.25) and not light else dice.number(0.5, 1.2)
    bright = dice.uniform(0.55, 1.0, 3)
    return Shape(
        path=_course(dice, frames, pace * (0.10 if light else 0.06) * dice.number(0.1, 1.0)),
        half=(reach, max(reach * slim, 0.008)),
        corners=(corners[0].item(), corners[1].item(), corners[2].item()),
        petals=3 + dice.pick(4),
        wave=dice.number(0.1, 0.3) if dice.chance(0.3) and not light else 0.0,
        ring=dice.number(0.008, 0.02) if dice.chance(0.2) and not light else 0.0,
        near=bright / bright.max() if light else dice.uniform(0, 1, 3),
        far=dice.uniform(0, 1, 3),
        stripes=dice.number(4, 14) if dice.chance(0.25) else 0.0,
        glow=light,
        soft=dice.number(0.8, 3.0),
    )


def _face(dice: Dice, frames: int, pace: float) -> list[Shape]:
    """A drawn face: hair, skin, eyes and mouth that move together."""
    middle = replace(_course(dice, frames, pace * 0.025), angle=torch.zeros(frames))
    reach = dice.number(0.12, 0.26)
    skin = torch.tensor([0.92, 0.74, 0.60]) * dice.number(0.4, 1.05)
    hair = dice.uniform(0.02, 0.5, 3)
    mouth = torch.tensor([0.70, 0.25, 0.25]) * dice.number(0.7, 1.2)
    dark = dice.uniform(0.02, 0.25, 3)
    gaze = dice.number(-0.05, 0.05)
    parts = (
        (0.0, -0.25, 1.05, 1.15, hair),
        (0.0, 0.0, 0.85, 1.05, skin),
        (-0.34 + gaze, -0.15, 0.15, 0.10, dark),
        (0.34 + gaze, -0.15, 0.15, 0.10, dark),
        (gaze, 0.18, 0.08, 0.20, skin * 0.82),
        (gaze, 0.52, 0.30, dice.number(0.05, 0.16), mouth),
    )
    return [
        Shape(
            path=replace(
                middle,
                x=middle.x + dx * reach * middle.scale,
                y=middle.y + dy * reach * middle.scale,
            ),
            half=(wide * reach, high * reach),
            corners=(0.0, 1.0, 0.0),
            petals=0,
            wave=0.0,
            ring=0.0,
            near=tint,
            far=tint * 0.85,
            stripes=0.0,
            glow=False,
            soft=1.5,
        )
        for dx, dy, wide, high, tint in parts
    ]
