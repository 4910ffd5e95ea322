"""What training clips are drawn from: camera moves over pictures, painted backdrops, moving shapes.

Everything random is drawn from a `Dice` on the CPU, so a clip is the same on every device up to
rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from .photos import LEVELS_PER_HALVING

FULL = 256
"""Side of the pictures that clips of other sizes are cut-outs of, as far as motion goes."""


class Dice:
    """Random numbers for scene parameters, from one seed."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator)

    def number(self, low: float, high: float) -> float:
        return self.uniform(low, high, 1).item()

    def chance(self, probability: float) -> bool:
        return self.number(0, 1) < probability

    def pick(self, count: int) -> int:
        return int(torch.randint(count, (1,), generator=self._generator).item())


@dataclass(frozen=True, slots=True)
class Path:
    """A camera or object path, one value per frame [T]: place (x, y), angle (rad), scale."""

    x: Tensor
    y: Tensor
    angle: Tensor
    scale: Tensor

    @staticmethod
    def still(frames: int, x: float = 0.0, y: float = 0.0, scale: float = 1.0) -> Path:
        """A path that stays where it is."""
        one = torch.ones(frames)
        return Path(one * x, one * y, one * 0.0, one * scale)


def wander(dice: Dice, frames: int, speed: float, shake: float = 0.0) -> Path:
    """A smooth move that speeds up or slows down, around its own middle.

    Args:
        speed: typical step per frame as a part of the picture's side.
        shake: size of a hand-held jitter, same unit.
    """
    t = torch.arange(frames, dtype=torch.float32) - (frames - 1) / 2
    heading = dice.number(0, 2 * math.pi)
    rate = speed * dice.number(0.2, 1.0)
    pull = dice.normal(2) * speed * 0.12
    jitter = dice.normal(2, frames) * shake
    x = math.cos(heading) * rate * t + pull[0] * t * t + jitter[0]
    y = math.sin(heading) * rate * t + pull[1] * t * t + jitter[1]
    turn = dice.number(-1, 1) * speed * 0.6
    zoom = dice.number(-1, 1) * speed * 0.9
    return Path(x, y, turn * t, torch.exp(zoom * t))


def film(
    levels: tuple[Tensor, ...], path: Path, size: int, scale: float, centre: tuple[float, float]
) -> Tensor:
    """Frames seen by a camera that moves over a picture; beyond the border the picture mirrors.

    Args:
        levels: the picture [3, H, W] at full size and smaller by `LEVELS_PER_HALVING`.
        path: of the camera, in parts of the frame's side; `path.scale` zooms in.
        size: side of the square frames.
        scale: frame pixels per pixel of the full picture, before the zoom of the path.
        centre: where the path's origin lies on the picture, in 0..1.

    Returns:
        [T, 3, size, size].
    """
    level = min(max(round(-math.log2(scale) * LEVELS_PER_HALVING), 0), len(levels) - 1)
    picture = levels[level]
    device, frames = picture.device, path.x.shape[0]
    height, width = levels[0].shape[-2:]
    reach = size / (scale * path.scale)
    cos, sin = torch.cos(path.angle) * reach, torch.sin(path.angle) * reach
    ahead_x = centre[0] * width + path.x * size / scale
    ahead_y = centre[1] * height + path.y * size / scale
    theta = torch.stack([cos, -sin, ahead_x, sin, cos, ahead_y], -1).view(frames, 2, 3)
    unit = _unit(size, device) - 0.5
    across, down = unit.expand(size, size), unit[:, None].expand(size, size)
    base = torch.stack([across, down, torch.ones_like(across)], -1)
    at = base.view(1, -1, 3) @ theta.to(device).transpose(1, 2)
    at = at * at.new_tensor([2 / width, 2 / height]) - 1
    return _looked_up(picture, at.view(frames, size, size, 2))


def _unit(size: int, device: torch.device) -> Tensor:
    """Middles of `size` pixels in a row, in parts of the row."""
    return (torch.arange(size, dtype=torch.float32, device=device) + 0.5) / size


def _looked_up(picture: Tensor, at: Tensor) -> Tensor:
    """The picture [3, h, w] at the places `at` [T, H, W, 2] in -1..1; beyond it, it mirrors."""
    frames, height, width = at.shape[:3]
    # All frames as one tall grid: the picture is read in place instead of once per frame.
    seen = functional.grid_sample(
        picture[None],
        at.view(1, frames * height, width, 2),
        padding_mode="reflection",
        align_corners=False,
    )
    return seen.view(3, frames, height, width).transpose(0, 1)


def backdrop(dice: Dice, size: int, device: torch.device) -> tuple[Tensor, ...]:
    """A painted picture [3, 2 size, 2 size] as a one-level pyramid: clouds, gradient or stripes."""
    side = 2 * size
    low, high = dice.uniform(0, 1, 3, 1, 1).to(device), dice.uniform(0, 1, 3, 1, 1).to(device)
    rows = torch.linspace(0, 1, side, device=device)
    angle = dice.number(0, 2 * math.pi)
    ramp = math.cos(angle) * rows[None, :] + math.sin(angle) * rows[:, None]
    kind = dice.pick(4)
    if kind == 0:
        tone = clouds(dice, side, 1.0, device)
    elif kind == 1:
        tone = 0.5 + 0.5 * torch.tanh(ramp)
        tone = tone + 0.15 * (clouds(dice, side, 1.4, device) - 0.5)
    elif kind == 2:
        waves = torch.sin(ramp * dice.number(20, 90) + 3 * clouds(dice, side, 2.0, device))
        tone = torch.sigmoid(waves * dice.number(1, 6))
    else:
        tone = clouds(dice, side, 0.6, device)
        third = dice.uniform(0, 1, 3, 1, 1).to(device)
        low = torch.lerp(low, third, clouds(dice, side, 1.6, device))
    return (torch.lerp(low, high, tone).clamp(0, 1),)


def clouds(dice: Dice, side: int, smooth: float, device: torch.device) -> Tensor:
    """Noise [side, side] around 0.5 in 0..1 whose detail falls by 2^-smooth per octave."""
    total = torch.zeros(1, 1, side, side, device=device)
    cells, weight = 3, 1.0
    while cells <= side // 2:
        grid = dice.normal(1, 1, cells, cells).to(device)
        total += weight * functional.interpolate(
            grid, (side, side), mode="bicubic", align_corners=False
        )
        cells, weight = cells * 2, weight * 2.0**-smooth
    return torch.sigmoid(total[0, 0] * 1.2)


@dataclass(frozen=True, slots=True)
class Shape:
    """One moving thing: an outline between diamond, ellipse and box, with waves, filled.

    Attributes:
        path: of its middle, x and y in 0..1 of the frame's side.
        half: half its width and height, parts of the side.
        corners: weights of the 1, 2 and infinity norm (diamond, ellipse, box); their sum is 1.
        petals: number of waves around it; `wave` is their depth (0 for none).
        ring: half the thickness of its outline when only that is drawn; 0 fills it.
        near, far: colours [3] at its two ends.
        stripes: waves of colour across it; 0 for a plain blend.
        glow: light that adds to what is behind, with a halo; else paint that covers.
        soft: width of its edge in pixels.
    """

    path: Path
    half: tuple[float, float]
    corners: tuple[float, float, float]
    petals: int
    wave: float
    ring: float
    near: Tensor
    far: Tensor
    stripes: float
    glow: bool
    soft: float


def draw(frames: Tensor, shape: Shape, fill: Tensor | None = None) -> Tensor:
    """The frames [T, 3, H, W] with `shape` over them.

    Args:
        fill: a picture [3, h, w] to fill the shape with instead of its colours.
    """
    size, device = frames.shape[-1], frames.device
    path = {f.name: getattr(shape.path, f.name).to(device)[:, None, None] for f in fields(Path)}
    unit = _unit(size, device)
    dx, dy = unit[None, None, :] - path["x"], unit[None, :, None] - path["y"]
    cos, sin = torch.cos(path["angle"]), torch.sin(path["angle"])
    u = (dx * cos + dy * sin) / (path["scale"] * shape.half[0])
    v = (dy * cos - dx * sin) / (path["scale"] * shape.half[1])
    radius = (u * u + v * v).sqrt()
    away = (_outline(shape, u, v, radius) - 1) * (min(shape.half) * size)
    if shape.ring:
        away = away.abs() - shape.ring * size
    cover = torch.sigmoid(away * (-2.0 / shape.soft)).unsqueeze(1)
    if shape.glow:
        halo = torch.exp(-radius.square() * 0.35).unsqueeze(1)
        light = (cover + 0.35 * halo) * shape.near.to(device).view(3, 1, 1)
        return 1 - (1 - frames) * (1 - light.clamp(0, 1))
    if fill is not None:
        return torch.lerp(frames, _looked_up(fill, torch.stack([u, v], -1) * 0.7), cover)
    mix = 0.5 + 0.5 * (torch.sin(u * shape.stripes) if shape.stripes else u.clamp(-1, 1))
    near, far = shape.near.to(device).view(3, 1, 1), shape.far.to(device).view(3, 1, 1)
    return torch.lerp(frames, torch.lerp(near, far, mix.unsqueeze(1)), cover)


def _outline(shape: Shape, u: Tensor, v: Tensor, radius: Tensor) -> Tensor:
    """The shape's norm of (u, v): 1 on its outline, less inside."""
    norm = shape.corners[1] * radius
    if shape.corners[0] or shape.corners[2]:
        across, down = u.abs(), v.abs()
        norm = norm + shape.corners[0] * (across + down)
        norm = norm + shape.corners[2] * torch.maximum(across, down)
    if shape.wave:
        norm = norm + shape.wave * torch.cos(shape.petals * torch.atan2(v, u)) * radius
    return norm
