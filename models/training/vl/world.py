"""A stream as data: scenes, things that move in them, a camera and light; and pictures of it."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .backgrounds import COLOURS, MARGIN, Background, sample
from .shapes import draw

Array = NDArray[np.float32]

WAYS: dict[str, tuple[float, float]] = {
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
}
BLOCK = 1 << 20


@dataclass(slots=True)
class Leg:
    """A straight part of a path from `start` on: position, and speed (view heights a second)."""

    start: float
    x: float
    y: float
    vx: float = 0.0
    vy: float = 0.0

    def at(self, time: float) -> tuple[float, float]:
        passed = max(0.0, time - self.start)
        return self.x + self.vx * passed, self.y + self.vy * passed


@dataclass(slots=True, eq=False)
class Thing:
    """Attributes:
    shape: one of `SHAPES`, or `SOMETHING`.
    colours: (from when, name); none of `SOMETHING`.
    shade: what is added to its colour.
    radius: in view heights.
    legs: its path; positions in view heights from the view's top left corner.
    start, end: when it is there.
    texture: [h, w, 3] of `SOMETHING`.
    """

    shape: str
    colours: list[tuple[float, str]]
    shade: Array
    radius: float
    angle: float
    legs: list[Leg]
    start: float
    end: float
    texture: Array | None = None

    def colour(self, time: float) -> str:
        return [name for since, name in self.colours if since <= time or since == self.start][-1]

    def leg(self, time: float) -> Leg:
        return [leg for leg in self.legs if leg.start <= time or leg is self.legs[0]][-1]

    def there(self, time: float) -> bool:
        return self.start <= time < self.end


@dataclass(slots=True)
class Path:
    """A value that changes linearly between the given times, and holds before and after."""

    times: list[float]
    values: list[float]

    def at(self, time: float) -> float:
        return float(np.interp(time, self.times, self.values))

    def go(self, start: float, end: float, value: float) -> None:
        """From what it is at `start` to `value` at `end`."""
        self.values += [self.at(start), value]
        self.times += [start, end]


@dataclass(slots=True, eq=False)
class Scene:
    """What is seen from `start` to the next cut. `x`, `y` pan the camera (view heights), `zoom`
    scales."""

    start: float
    background: Background
    things: list[Thing] = field(default_factory=list)
    x: Path = field(default_factory=lambda: Path([0.0], [0.0]))
    y: Path = field(default_factory=lambda: Path([0.0], [0.0]))
    zoom: Path = field(default_factory=lambda: Path([0.0], [1.0]))
    _held: tuple[tuple[float, float, float], Array] | None = None

    def ground(self, size: tuple[int, int], time: float) -> Array:
        """The background as the camera sees it; not to be written to."""
        zoom, x, y = self.zoom.at(time), self.x.at(time), self.y.at(time)
        if self._held is not None and self._held[0] == (zoom, x, y):
            return self._held[1]
        height, width = size
        rows = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / zoom
        columns = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / zoom
        rows += height * (0.5 + MARGIN + y) - 0.5
        columns += width * (0.5 + MARGIN) + height * x - 0.5
        self._held = (zoom, x, y), sample(self.background.canvas, rows, columns)
        return self._held[1]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        kind: "appear", "vanish", "move", "stop", "recolour", "camera", "camera stop", "darker",
            "brighter" or "scene".
        time: second of the stream.
        shape, colour: of the thing, where it is about one.
        way: where to ("left", .., "in", "out"), or the new colour.
    """

    kind: str
    time: float
    shape: str = ""
    colour: str = ""
    way: str = ""


@dataclass(frozen=True, slots=True)
class Camera:
    """Faults of the camera: noise (of 1), blur, JPEG quality (0: none), exposure jitter."""

    noise: float = 0.0
    blur: bool = False
    jpeg: int = 0
    jitter: float = 0.0


@dataclass(slots=True, eq=False)
class Stream:
    """Attributes:
    size: (height, width) of a picture.
    seconds: how long it is.
    events: all of them, by time.
    """

    size: tuple[int, int]
    seconds: float
    scenes: list[Scene]
    light: Path
    camera: Camera
    events: list[Event]
    seed: int

    def scene(self, time: float) -> Scene:
        return [s for s in self.scenes if s.start <= time or s is self.scenes[0]][-1]

    def place(self, thing: Thing, time: float) -> tuple[float, float, float]:
        """Where a thing stands in the view, in view heights, and its radius there."""
        scene = self.scene(time)
        zoom = scene.zoom.at(time)
        aspect = self.size[1] / self.size[0]
        x, y = thing.leg(time).at(time)
        return (
            (x - aspect / 2 - scene.x.at(time)) * zoom + aspect / 2,
            (y - 0.5 - scene.y.at(time)) * zoom + 0.5,
            thing.radius * zoom,
        )

    def visible(self, thing: Thing, time: float, inside: float = 0.25) -> bool:
        """Whether it is there and its centre at least `inside` radii within the view."""
        if not thing.there(time):
            return False
        x, y, radius = self.place(thing, time)
        edge = radius * inside
        return edge < x < self.size[1] / self.size[0] - edge and edge < y < 1 - edge


_normals: list[Array] = []


def _grain(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal noise cut from a fixed block: drawing it anew would cost more than the picture."""
    if not _normals:
        _normals.append(np.random.default_rng(5).standard_normal(BLOCK, dtype=np.float32))
    count = int(np.prod(shape))
    start = int(rng.integers(BLOCK - count))
    return _normals[0][start : start + count].reshape(shape)


def picture(stream: Stream, time: float) -> Array:
    """What the camera sees at `time`: float32 [H, W, 3] in 0..1."""
    height = stream.size[0]
    scene = stream.scene(time)
    image = scene.ground(stream.size, time).copy()
    for thing in scene.things:
        if not thing.there(time):
            continue
        x, y, radius = stream.place(thing, time)
        fill = thing.texture
        if fill is None:
            colour = np.asarray(COLOURS[thing.colour(time)], np.float32)
            fill = np.clip(colour + thing.shade, 0, 1)
        draw(image, thing.shape, (x * height, y * height), radius * height, thing.angle, fill)
    return _develop(image * np.float32(stream.light.at(time)), stream, time)


def _develop(image: Array, stream: Stream, time: float) -> Array:
    faults = stream.camera
    rng = np.random.default_rng([stream.seed, int(time * 1000)])
    if faults.jitter:
        image = image * np.float32(1 + faults.jitter * rng.uniform(-1, 1))
    if faults.blur:
        image[:, 1:-1] = (image[:, :-2] + image[:, 1:-1] + image[:, 2:]) / 3
        image[1:-1] = (image[:-2] + image[1:-1] + image[2:]) / 3
    if faults.noise:
        image = image + _grain(rng, image.shape) * np.float32(faults.noise)
    image = np.clip(image, 0, 1)
    if faults.jpeg:
        from PIL import Image

        held = io.BytesIO()
        Image.fromarray((image * 255).astype(np.uint8)).save(held, "JPEG", quality=faults.jpeg)
        image = np.asarray(Image.open(held), np.float32) / np.float32(255)
    return np.ascontiguousarray(image, dtype=np.float32)
