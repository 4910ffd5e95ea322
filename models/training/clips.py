"""Training and evaluation clips, rendered on the fly.

A clip is two tensors: what the camera would deliver, with its faults, and the clean scene that
the targets are made from. A model that learns from such pairs has to repair the faults, and it can
only repair them with what it remembers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from . import photos
from .faults import degrade
from .scenes import FULL, Dice, Path, backdrop, film, wander
from .things import bright_things, things

HELD_OUT_KINDS = ("pan", "zoom", "still", "objects")

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
        clean = bright_things(clean)
    source = clean
    if kind == "still":
        grain = torch.randn(clean.shape, generator=torch.Generator().manual_seed(7))
        source = (clean + 0.03 * grain.to(clean.device)).clamp(0, 1)
    return Clip(source[None], clean[None])


def _names(some: tuple[photos.Photo, ...]) -> str:
    return ", ".join(photo.name for photo in some)


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
        return things(dice, scene, night, 2 + dice.pick(5)).clamp(0, 1)
    scene = _photographed(dice, path, size, centre, device)
    if dice.chance(0.3 if still else 0.5):
        night = dice.chance(0.35)
        scene = scene * dice.number(0.25, 0.5) if night else scene
        scene = things(dice, scene, night, 1 + dice.pick(3))
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
