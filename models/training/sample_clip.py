"""Draws `assets/clip.mp4`, the first moving picture that a new user sees restyled.

Ten seconds: a cat's face among rising balloons, a rocket at dusk, lights in a night sky. The end
melts into the beginning, so that the clip loops without a cut. Run it with
`python -m millrace.models.training.sample_clip`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import av
import torch
from torch import Tensor
from torch.nn import functional

from ...assets import FOLDER
from .manifest import record
from .photos import pyramid

NAME = "clip.mp4"
SIZE = 320
FPS = 30
SECONDS = 10
FADE = 0.5
"""Seconds in which one scene melts into the next."""
OVERSAMPLE = 2


@dataclass(frozen=True, slots=True)
class View:
    """Where the camera looks: centre in 0..1 of the photograph, height of the view in pixels of
    the photograph, and roll in radians."""

    x: float
    y: float
    height: float
    roll: float = 0.0

    def towards(self, other: View, part: float) -> View:
        """The view on a smooth way to `other`; zooms are even in ratio, not in size."""
        ease = part * part * (3 - 2 * part)
        return View(
            self.x + (other.x - self.x) * ease,
            self.y + (other.y - self.y) * ease,
            self.height * (other.height / self.height) ** ease,
            self.roll + (other.roll - self.roll) * ease,
        )


def look(photo: Tensor, view: View) -> Tensor:
    """What the camera sees of a photograph, [3, SIZE, SIZE], averaged over 2x2 samples a pixel."""
    height, width = photo.shape[1:]
    axis = (torch.arange(SIZE * OVERSAMPLE) + 0.5) / (SIZE * OVERSAMPLE) - 0.5
    dy, dx = torch.meshgrid(axis * view.height, axis * view.height, indexing="ij")
    cos, sin = math.cos(view.roll), math.sin(view.roll)
    x = (view.x * width + cos * dx - sin * dy) / width
    y = (view.y * height + sin * dx + cos * dy) / height
    grid = torch.stack([x, y], -1)[None] * 2 - 1
    seen = functional.grid_sample(photo[None], grid, "bicubic", "reflection", align_corners=False)
    return functional.avg_pool2d(seen, OVERSAMPLE)[0].clamp(0, 1)


def coordinates() -> tuple[Tensor, Tensor]:
    """Pixel centres, x to the right and y downwards, both in 0..1, each [SIZE, SIZE]."""
    axis = (torch.arange(SIZE) + 0.5) / SIZE
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x, y


X, Y = coordinates()
PIXEL = 1 / SIZE


def colour(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([red, green, blue])[:, None, None]


def paint(picture: Tensor, cover: Tensor, what: Tensor) -> Tensor:
    """`what` over the picture where `cover` (0..1, [SIZE, SIZE]) says so."""
    return picture + (what - picture) * cover


def glow(picture: Tensor, x: float, y: float, radius: float, light: Tensor) -> Tensor:
    """A light: a small white core and a wide coloured halo, added to the picture."""
    square = ((X - x) ** 2 + (Y - y) ** 2) / radius**2
    core, halo = torch.exp(-4 * square), torch.exp(-0.5 * square)
    return (picture + light * halo * 0.75 + core).clamp(0, 1)


def balloon(picture: Tensor, x: float, y: float, radius: float, hue: Tensor) -> Tensor:
    """A shiny balloon on a string, smooth at its edges."""
    dx, dy = (X - x) / radius, (Y - y) / (1.18 * radius)
    distance = torch.sqrt(dx**2 + dy**2)
    string_x = x + 0.12 * radius * torch.sin((Y - y) * 22)
    string = torch.exp(-(((X - string_x) / (0.7 * PIXEL)) ** 2))
    string = string * ((Y > y + 1.1 * radius) & (Y < y + 3.4 * radius))
    picture = paint(picture, 0.7 * string, colour(0.95, 0.95, 0.9))
    cover = torch.sigmoid((1 - distance) * radius / (0.6 * PIXEL))
    shade = (1.08 - 0.55 * distance.clamp(0, 1) ** 2 - 0.18 * dy).clamp(0, 1.1)
    shine = torch.exp(-(((dx + 0.35) / 0.2) ** 2 + ((dy + 0.42) / 0.3) ** 2))
    body = (hue * shade + 0.75 * shine).clamp(0, 1)
    return paint(picture, cover, body)


BALLOONS = (
    (0.16, 1.55, 0.085, 0.0, (0.93, 0.20, 0.22)),
    (0.86, 1.32, 0.070, 1.7, (0.98, 0.78, 0.13)),
    (0.72, 1.95, 0.095, 3.1, (0.12, 0.62, 0.78)),
    (0.34, 2.15, 0.065, 4.4, (0.55, 0.30, 0.80)),
)
"""Start x and y, radius, phase of the swing, colour."""


def cat(t: float, part: float) -> Tensor:
    """A slow push in on the cat's eyes; balloons rise in front."""
    picture = look(
        pyramid("chelsea")[0], View(0.50, 0.50, 292).towards(View(0.535, 0.44, 196, -0.05), part)
    )
    for x, y, radius, phase, hue in BALLOONS:
        swing = x + 0.03 * math.sin(1.7 * t + phase)
        picture = balloon(picture, swing, y - 0.42 * t, radius, colour(*hue))
    return picture


def rocket(t: float, part: float) -> Tensor:
    """From the lamps at the foot up along the rocket and away from it."""
    start, end = View(0.50, 0.80, 165, 0.02), View(0.505, 0.49, 400, 0.0)
    return look(pyramid("rocket")[0], start.towards(end, part))


def skyline() -> tuple[Tensor, Tensor]:
    """A town at night: its cover [SIZE, SIZE] and its picture [3, SIZE, SIZE] with lit windows."""
    generator = torch.Generator().manual_seed(7)
    cover, town = torch.zeros(SIZE, SIZE), torch.zeros(3, SIZE, SIZE)
    left = -4
    while left < SIZE:
        width, height = torch.randint(22, 42, (2,), generator=generator).tolist()
        top = SIZE - 24 - int(1.9 * height)
        span = slice(max(left, 0), left + width)
        cover[top:, span] = 1
        town[:, top:, span] = colour(0.05, 0.055, 0.12)
        for wy in range(top + 6, SIZE - 24, 8):
            for wx in range(max(left, 0) + 4, min(left + width, SIZE) - 5, 7):
                if torch.rand((), generator=generator) < 0.42:
                    warm = 0.55 + 0.45 * float(torch.rand((), generator=generator))
                    town[:, wy : wy + 4, wx : wx + 3] = warm * colour(1.0, 0.82, 0.45)
        left += width + 1
    cover[SIZE - 24 :], town[:, SIZE - 24 :] = 1, colour(0.02, 0.02, 0.035)
    return cover, town


TOWN_COVER, TOWN = skyline()
SPARKS = (((1.0, 0.35, 0.15), 0.0), ((0.2, 0.75, 1.0), 2.1), ((0.65, 1.0, 0.3), 4.2))


def night(t: float, part: float) -> Tensor:
    """Stars turn behind a town; three lights draw loops, cars pass, a firework opens."""
    view = View(0.62, 0.56, 520).towards(View(0.72, 0.60, 380, 0.35), part)
    # The photograph's stars are dimmed, so that the moving lights are the brightest thing there.
    stars = look(pyramid("hubble")[0], view) ** 1.25 * 0.62
    dusk = Y**2 * colour(0.20, 0.10, 0.36) + (1 - Y) * colour(0.01, 0.015, 0.07)
    picture = paint((dusk + stars).clamp(0, 1), TOWN_COVER, TOWN)
    for hue, phase in SPARKS:
        angle = 2.6 * t + phase
        x, y = 0.5 + 0.36 * math.sin(angle), 0.36 + 0.22 * math.sin(2 * angle + 0.4)
        picture = glow(picture, x, y, 0.042, colour(*hue))
    for lane, (speed, hue) in enumerate(((0.55, (1.0, 0.95, 0.8)), (-0.42, (1.0, 0.15, 0.1)))):
        for number in range(3):
            x = (0.37 * number + 0.2 * lane + speed * t) % 1.3 - 0.15
            picture = glow(picture, x, 0.945 + 0.03 * lane, 0.013, colour(*hue))
    return firework(picture, t - 1.5)


def firework(picture: Tensor, age: float) -> Tensor:
    """Sixteen sparks that fly apart, fall and fade within 1.4 s."""
    if not 0 < age < 1.4:
        return picture
    reach, strength = 0.30 * (1 - math.exp(-2.6 * age)), (1 - age / 1.4) ** 1.5
    for number in range(16):
        angle = 2 * math.pi * number / 16
        x = 0.5 + reach * math.cos(angle)
        y = 0.30 + reach * math.sin(angle) + 0.07 * age * age
        hue = colour(1.0, 0.55 + 0.35 * (number % 2), 0.25 + 0.5 * (number % 3 == 0))
        lit = glow(torch.zeros_like(picture), x, y, 0.02, hue)
        picture = (picture + strength * lit).clamp(0, 1)
    return picture


SCENES = ((cat, 3.6), (rocket, 2.9), (night, 3.5))
"""Each scene and how long until the next one has begun to melt in; together SECONDS."""


def frame(number: int) -> Tensor:
    """Picture `number` of the clip, [3, SIZE, SIZE] in 0..1."""
    now, start = number / FPS, 0.0
    for index, (scene, length) in enumerate(SCENES):
        if now < start + length:
            t = now - start
            # The clip loops: the last scene melts into it before the first one takes over.
            picture = scene(t + FADE, (t + FADE) / (length + FADE))
            following, next_length = SCENES[(index + 1) % len(SCENES)]
            ahead = t + FADE - length
            if ahead > 0:
                mix = ahead / FADE
                picture = torch.lerp(picture, following(ahead, ahead / (next_length + FADE)), mix)
            return picture
        start += length
    raise ValueError(f"the clip has {SECONDS * FPS} pictures; got {number}")


def write(path: Path) -> None:
    """Encode the clip; the same pictures always give the same file."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        options = {"crf": "20", "preset": "slow", "threads": "1", "tune": "film"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(SECONDS * FPS):
            pixels = (frame(number).permute(1, 2, 0) * 255).round().byte().numpy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def main() -> None:
    """Make the clip and enter it into the manifest."""
    write(FOLDER / NAME)
    asset = record(
        NAME,
        "CC0-1.0",
        "photographs: Chelsea by Stéfan van der Walt (CC0), Falcon 9 by SpaceX (public domain), "
        "Hubble eXtreme Deep Field by NASA and STScI (public domain), all from scikit-image",
        "python -m millrace.models.training.sample_clip",
    )
    print(f"{FOLDER / NAME}: {asset.bytes / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
