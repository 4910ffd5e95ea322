"""What a random stream shows: scenes with things that can be told apart and seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .backgrounds import COLOURS, GROUNDS, make, photo_names, photo_piece
from .shapes import SHAPES, SOMETHING
from .world import Array, Camera, Leg, Path, Scene, Stream, Thing

MOST = 4
"""Things at once."""


@dataclass(frozen=True, slots=True)
class Taste:
    """How lively a stream is.

    Attributes:
        quiet: chance of a long pause after an event.
        heldout: backgrounds from the photographs kept for evaluation.
        crowded: many things from the beginning.
        easy: plain backgrounds, and a camera without faults.
        dark: chance of little light from the beginning.
        least: radius of the smallest things, in view heights.
    """

    quiet: float = 0.12
    heldout: bool = False
    crowded: bool = False
    easy: bool = False
    dark: float = 0.1
    least: float = 0.15


class Stage:
    """A stream that is being written: the scene of the moment and the things in it."""

    def __init__(
        self, rng: np.random.Generator, size: tuple[int, int], seconds: float, taste: Taste
    ) -> None:
        self.rng, self.taste, self.size = rng, taste, size
        self.aspect = size[1] / size[0]
        self.now = -1.0
        self.light = 1.0
        faulty = rng.random() < 0.8 and not taste.easy
        camera = Camera(
            noise=float(rng.uniform(0.0, 0.05)) if faulty else 0.0,
            blur=bool(rng.random() < 0.25) and faulty,
            jpeg=int(rng.integers(45, 92)) if rng.random() < 0.3 and faulty else 0,
            jitter=float(rng.uniform(0, 0.03)) if faulty else 0.0,
        )
        self.stream = Stream(
            size, seconds, [], Path([0.0], [1.0]), camera, [], int(rng.integers(1 << 30))
        )
        if rng.random() < taste.dark and not taste.easy:
            self.light = float(rng.uniform(0.35, 0.5))
            self.stream.light = Path([0.0], [self.light])
        self.scene = self.cut()

    def cut(self) -> Scene:
        """A new background with new things on it; what the old ones were about to do is void."""
        events = self.stream.events
        events[:] = [event for event in events if event.time <= self.now]
        kinds = ("plain", "gradient", "noise", "photo")
        kind = kinds[int(self.rng.choice(4, p=(0.3, 0.15, 0.12, 0.43)))]
        kind = "plain" if self.taste.easy else kind
        heldout = self.taste.heldout
        scene = Scene(self.now, make(self.rng, self.size, kind, heldout))
        self.stream.scenes.append(scene)
        self.scene = scene
        weights = (0.3, 0.3, 0.25, 0.15) if kind == "photo" else (0.08, 0.3, 0.27, 0.2, 0.15)
        count = int(self.rng.choice(len(weights), p=weights))
        for _ in range(MOST if self.taste.crowded and self.rng.random() < 0.8 else count):
            self.add(self.now)
        return scene

    def present(self) -> list[Thing]:
        return [thing for thing in self.scene.things if thing.there(self.now)]

    def _free(self, radius: float) -> tuple[float, float] | None:
        """A place in the view where a thing of that radius touches no other, or None."""
        spots = [self.stream.place(t, self.now) for t in self.present()]
        for _ in range(20):
            x = float(self.rng.uniform(radius, self.aspect - radius))
            y = float(self.rng.uniform(radius, 1 - radius))
            if all(np.hypot(x - a, y - b) > (radius + r) * 0.95 for a, b, r in spots):
                return x, y
        return None

    def _clear(self, thing: Thing, way: tuple[float, float], length: float) -> bool:
        """Whether a thing that goes that far touches no other."""
        x, y, radius = self.stream.place(thing, self.now)
        for other in self.present():
            if other is thing:
                continue
            a, b, r = self.stream.place(other, self.now)
            along = np.clip((a - x) * way[0] + (b - y) * way[1], 0, length)
            if np.hypot(x + way[0] * along - a, y + way[1] * along - b) < 0.85 * (radius + r):
                return False
        return True

    def add(self, time: float) -> Thing | None:
        """A thing that differs from all that are there, where there is room."""
        rng = self.rng
        scale = min(1.0, self.aspect)
        radius = float(rng.uniform(self.taste.least, 0.26)) * (scale if self.size[0] > 128 else 1.0)
        radius *= 1.75 if self.size[0] < 96 else 1.0  # as many pixels in a small picture
        place = self._free(radius)
        if place is None or len(self.present()) >= MOST:
            return None
        patch = 0.25 if self.scene.background.kind == "photo" else 0.03
        if rng.random() < patch and not any(t.shape == SOMETHING for t in self.present()):
            names = photo_names(self.taste.heldout)
            texture = photo_piece(rng, names[int(rng.integers(len(names)))], 48, 48)
            texture = self._apart(texture)
            shape, colours = SOMETHING, [(time, "")]
        else:
            chosen = self._looks()
            if chosen is None:
                return None
            shape, colours = chosen[0], [(time, chosen[1])]
            texture = None
        zoom = self.scene.zoom.at(self.now)
        leg = Leg(
            time,
            (place[0] - self.aspect / 2) / zoom + self.aspect / 2 + self.scene.x.at(self.now),
            (place[1] - 0.5) / zoom + 0.5 + self.scene.y.at(self.now),
        )
        thing = Thing(
            shape,
            colours,
            rng.uniform(-0.06, 0.06, 3).astype(np.float32),
            radius / zoom,
            float(rng.uniform(-0.3, 0.3)),
            [leg],
            time,
            np.inf,
            texture,
        )
        self.scene.things.append(thing)
        return thing

    def _apart(self, texture: Array) -> Array:
        """Lighter or darker than the background: what nobody can see cannot be asked about."""
        ground = float(self.scene.background.canvas.mean())
        return np.asarray(texture * 0.45 + (0.55 if ground < 0.5 else 0.0), np.float32)

    def _colour(self) -> str | None:
        """A colour that stands out from a background of one colour."""
        ground = self.scene.background
        for _ in range(8):
            name = list(COLOURS)[int(self.rng.integers(len(COLOURS)))]
            if ground.kind == "photo" or ground.colour == "mixed":
                return name
            apart = np.subtract(COLOURS[name], GROUNDS[ground.colour])
            if float(np.abs(apart).sum()) > 0.6:
                return name
        return None

    def _looks(self) -> tuple[str, str] | None:
        taken = {(t.shape, t.colour(self.now)) for t in self.present()}
        for _ in range(8):
            colour = self._colour()
            shape = SHAPES[int(self.rng.integers(len(SHAPES)))]
            if colour and (shape, colour) not in taken:
                return shape, colour
        return None
