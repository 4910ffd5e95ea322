"""Training and evaluation clips, rendered on the fly.

A clip is two tensors: what the camera would deliver, with its faults, and the clean scene that
the targets are made from. A model that learns from such pairs has to repair the faults, and it can
only repair them with what it remembers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from . import photos
from .faults import degrade
from .scenes import Dice, Path, Shape, backdrop, draw, film, wander

HELD_OUT_KINDS = ("pan", "zoom", "still", "objects")

FULL = 256
"""Side of the pictures that clips of other sizes are cut-outs of, as far as motion goes."""
_CUT = 0.05
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True)
class Clip:
    """Clips of T frames.

    Attributes:
        source: [B, T, 3, H, W] in 0..1 as the camera would give it.
        clean: the same scenes without noise, flicker, blur or lost frames.
    """

    source: Tensor
    clean: Tensor


def render(
    generator: torch.Generator,
    clips: int,
    frames: int,
    size: int,
    device: torch.device | str = "cpu",
) -> Clip:
    """Random clips from the training photographs and painted scenes.

    About a quarter stand still, a quarter are painted, the rest move over photographs, half of
    them with things in front. Motion is in pixels, whatever the size: a small clip is a cut-out of
    a `FULL` one. (Motion that shrank with the clip would be less than the filters' blur, and a
    model would never need its memory.)

    Args:
        generator: decides everything; the same state gives the same clips on one device.
        clips: B, at least 1.
        frames: T, at least 1.
        size: side of the square frames, a multiple of 8.
        device: where to render.

    Raises:
        ValueError: a count is under 1 or the size is not a multiple of 8.
    """
    if clips < 1 or frames < 1 or size < 8 or size % 8:
        raise ValueError(
            f"cannot render {clips} clips of {frames} frames at {size}: "
            "counts from 1, size a multiple of 8"
        )
    device = torch.device(device)
    seed = torch.randint(2**62, (1,), generator=generator, device=generator.device).item()
    dice = Dice(int(seed))
    # Noise fields are large: they are drawn where the frames lie.
    noise = torch.Generator(device).manual_seed(int(seed) ^ 0x5EED)
    clean = torch.stack([_scene(dice, frames, size, device) for _ in range(clips)])
    clean = _cut(dice, clean)
    return Clip(degrade(dice, noise, clean), clean)


def held_out_clip(
    name: str, kind: str, frames: int, size: int, device: torch.device | str = "cpu"
) -> Clip:
    """One evaluation clip [1, T, 3, H, W] of a photograph that is never trained on.

    Args:
        name: of a held-out photograph: astronaut or coffee.
        kind: "pan", "zoom", "still" (with sensor noise of sigma 0.03) or "objects" (bright
            things that cross the photograph).

    Raises:
        KeyError: no such photograph.
        ValueError: the photograph is a training one, or there is no such kind.
    """
    photo = photos.find(name)
    if not photo.heldout:
        raise ValueError(f"{name!r} is trained on; held out are {_names(photos.heldout_photos())}")
    if kind not in HELD_OUT_KINDS:
        raise ValueError(f"no held-out clip {kind!r}; there are {', '.join(HELD_OUT_KINDS)}")
    levels = photos.pyramid(name, str(torch.device(device)))
    scale = size / (0.8 * min(levels[0].shape[-2:]))
    t = torch.arange(frames, dtype=torch.float32)
    path = Path.still(frames)
    if kind == "pan":
        path = replace(path, x=(t - (frames - 1) / 2) * 0.012, y=torch.sin(t * 0.35) * 0.03)
    elif kind == "zoom":
        path = replace(path, scale=torch.exp(t * 0.015), angle=t * 0.006)
    clean = film(levels, path, size, scale, (0.5, 0.45)).clamp(0, 1)
    if kind == "objects":
        clean = _bright_things(clean)
    source = clean
    if kind == "still":
        grain = torch.randn(clean.shape, generator=torch.Generator().manual_seed(7))
        source = (clean + 0.03 * grain.to(clean.device)).clamp(0, 1)
    return Clip(source[None], clean[None])


def _names(some: tuple[photos.Photo, ...]) -> str:
    return ", ".join(photo.name for photo in some)


def _bright_things(clean: Tensor) -> Tensor:
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


def _scene(dice: Dice, frames: int, size: int, device: torch.device) -> Tensor:
    """One clean clip [T, 3, H, W]."""
    kind = dice.number(0, 1)
    still = kind < 0.25
    painted = kind > 0.78
    pace = FULL / size
    speed = 0.0 if still else pace * (0.045 * dice.number(0, 1) ** 1.5 + 0.002)
    shake = pace * 0.004 if dice.chance(0.25) and not still else 0.0
    path = wander(dice, frames, speed, shake)
    centre = (dice.number(0.2, 0.8), dice.number(0.2, 0.8))
    if painted:
        scene = film(backdrop(dice, size, device), path, size, dice.number(0.8, 1.4), centre)
        night = dice.chance(0.45)
        scene = scene * dice.number(0.1, 0.35) if night else scene
        return _things(dice, scene, night, 2 + dice.pick(5)).clamp(0, 1)
    scene = _photographed(dice, path, size, centre, device)
    if dice.chance(0.3 if still else 0.5):
        night = dice.chance(0.35)
        scene = scene * dice.number(0.25, 0.5) if night else scene
        scene = _things(dice, scene, night, 1 + dice.pick(3))
    return scene.clamp(0, 1)


def _photographed(
    dice: Dice, path: Path, size: int, centre: tuple[float, float], device: torch.device
) -> Tensor:
    """A camera move over a random training photograph in random light."""
    # Faces, fur, leaves and buildings teach more than walls of gravel.
    common = ("camera", "chelsea", "rocket", "china", "flower")
    if dice.chance(0.68):
        name = common[dice.pick(len(common))]
    else:
        names = [photo.name for photo in photos.training_photos() if photo.name not in common]
        name = names[dice.pick(len(names))]
    levels = photos.pyramid(name, str(device))
    # From the whole photograph to a crop of it; wide views are the commoner ones, as in real life.
    widest = max(size / (1.15 * min(levels[0].shape[-2:])), 0.16)
    closest = max(1.6, 1.6 * widest)
    scale = widest * (closest / widest) ** (dice.number(0, 1) ** 1.7)
    scene = film(levels, path, size, scale, centre)
    if dice.chance(0.5):
        scene = scene.flip(-1)
    return _relight(dice, scene, levels[0])


def _relight(dice: Dice, scene: Tensor, photo: Tensor) -> Tensor:
    """Random exposure, contrast and colour cast; grey photographs get two random tints."""
    device = scene.device
    grey = bool((photo[:, ::16, ::16].amax(0) - photo[:, ::16, ::16].amin(0)).max() < 0.02)
    if grey and dice.chance(0.75):
        dark, light = dice.uniform(0, 0.4, 3, 1, 1), dice.uniform(0.5, 1.0, 3, 1, 1)
        scene = torch.lerp(dark.to(device), light.to(device), scene)
    mix = torch.eye(3)
    if dice.chance(0.25):
        mix = mix[torch.randperm(3, generator=torch.Generator().manual_seed(dice.pick(6)))]
    weights = torch.tensor(_LUMA).expand(3, 3)
    vividness = dice.number(0.5, 1.5)
    mix = vividness * mix + (1 - vividness) * weights
    mix = mix * dice.uniform(0.85, 1.15, 3, 1)
    contrast, lift = dice.number(0.75, 1.3), dice.number(-0.12, 0.12)
    flat = scene.reshape(scene.shape[0], 3, -1)
    flat = torch.baddbmm(
        torch.full((1, 1, 1), 0.5 * (1 - contrast) + lift, device=device),
        (contrast * mix).to(device).expand(flat.shape[0], 3, 3),
        flat,
    )
    lit = flat.clamp_(0, 1).view_as(scene)
    # A parabola bends the tones like a gamma between 0.6 and 1.6, for the price of two products.
    return lit + dice.number(-0.35, 0.35) * lit * (1 - lit)


def _things(dice: Dice, scene: Tensor, night: bool, count: int) -> Tensor:
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


def _cut(dice: Dice, clean: Tensor) -> Tensor:
    """Now and then a clip changes into another one in the middle."""
    count, frames = clean.shape[:2]
    whole = clean
    for row in range(count):
        if frames > 2 and dice.chance(_CUT):
            if whole is clean:
                clean = clean.clone()
            at = 1 + dice.pick(frames - 1)
            # With a single clip the other scene is its own mirror image in other colours.
            clean[row, at:] = whole[(row + 1) % count, at:].flip(-1).roll(1, -3)
    return clean
