"""Random streams: what happens in them, one thing at a time, with quiet stretches between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .backgrounds import COLOURS, GROUNDS, make, photo_names, photo_piece
from .shapes import SHAPES, SOMETHING
from .world import WAYS, Array, Camera, Event, Leg, Path, Scene, Stream, Thing

SIZES = ((128, 128), (96, 160), (96, 128), (128, 96), (160, 96))
SIZE_WEIGHTS = (0.35, 0.35, 0.16, 0.07, 0.07)
MOST = 4
"""Things at once."""
GAP = 1.3
"""Seconds between two events, at least."""
REACH = 0.45
"""How far the camera pans, in view heights."""


@dataclass(frozen=True, slots=True)
class Taste:
    """How lively a stream is.

    Attributes:
        quiet: chance of a long pause after an event.
        heldout: backgrounds from the photographs kept for evaluation.
        crowded: many things from the beginning.
        easy: plain backgrounds, and a camera without faults.
    """

    quiet: float = 0.12
    heldout: bool = False
    crowded: bool = False
    easy: bool = False


class Story:
    """Writes one stream, event after event."""

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
        if rng.random() < 0.1 and not taste.easy:
            self.light = float(rng.uniform(0.35, 0.5))
            self.stream.light = Path([0.0], [self.light])
        self.scene = self.cut()

    # Scenes and things

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
        radius = float(rng.uniform(0.15, 0.26)) * (scale if self.size[0] > 128 else 1.0)
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

    # Events: each gives the seconds until the next may come, or None where it cannot be

    def log(self, kind: str, thing: Thing | None = None, way: str = "", time: float = -1) -> None:
        time = self.now if time < 0 else time
        shape = thing.shape if thing else ""
        colour = thing.colour(self.now) if thing else ""
        self.stream.events.append(Event(kind, time, shape, colour, way))

    def appear(self) -> float | None:
        thing = self.add(self.now)
        if thing is None:
            return None
        self.log("appear", thing)
        return GAP

    def _one(self, moving: bool = False) -> Thing | None:
        chosen = [
            t
            for t in self.present()
            if self.stream.visible(t, self.now) and (t.leg(self.now).vx != 0) == moving
        ]
        return chosen[int(self.rng.integers(len(chosen)))] if chosen else None

    def vanish(self) -> float | None:
        thing = self._one()
        if thing is None:
            return None
        self.log("vanish", thing)
        thing.end = self.now
        return GAP

    def recolour(self) -> float | None:
        thing = self._one()
        colour = self._colour()
        taken = {(t.shape, t.colour(self.now)) for t in self.present()}
        if thing is None or colour is None or thing.shape == SOMETHING:
            return None
        if colour == thing.colour(self.now) or (thing.shape, colour) in taken:
            return None
        self.log("recolour", thing, colour)
        thing.colours.append((self.now, colour))
        return GAP

    def move(self) -> float | None:
        """Straight on, until it stops or has left the view."""
        thing = self._one()
        if thing is None:
            return None
        way = list(WAYS)[int(self.rng.integers(4))]
        dx, dy = WAYS[way]
        here = self.stream.place(thing, self.now)[0 if dx else 1]
        speed = float(self.rng.uniform(0.13, 0.45))
        limit = self.aspect if dx else 1.0
        zoom = self.scene.zoom.at(self.now)
        along = (here if dx + dy < 0 else limit - here) / zoom
        leave = self.rng.random() < 0.2 and self._still_camera()
        room = along + thing.radius * 1.1 if leave else along - thing.radius
        if room / speed < 1.4:
            return None
        seconds = room / speed if leave else float(self.rng.uniform(1.4, min(5.0, room / speed)))
        if not self._clear(thing, (dx, dy), seconds * speed * zoom):
            return None
        x, y = thing.legs[-1].at(self.now)
        thing.legs.append(Leg(self.now, x, y, dx * speed, dy * speed))
        self.log("move", thing, way)
        end = self.now + seconds
        if leave:
            thing.end = end
            gone = self.now + (along - 0.25 * thing.radius) / speed
            self.log("vanish", thing, time=gone)
            return end - self.now + GAP
        thing.legs.append(Leg(end, *thing.legs[-1].at(end)))
        self.log("stop", thing, time=end)
        # Now and then something else happens while it moves; never a stop within that second.
        return seconds + GAP if self.rng.random() < 0.6 or seconds < 3.2 else GAP

    def _still_camera(self) -> bool:
        return all(path.times[-1] <= self.now for path in (self.scene.x, self.scene.y))

    def pan(self) -> float | None:
        """The camera moves over the picture, and everything with it."""
        if not self._textured():
            return None
        way = list(WAYS)[int(self.rng.integers(4))]
        dx, dy = WAYS[way]
        path = self.scene.x if dx else self.scene.y
        here = path.at(self.now)
        room = REACH - here * (dx + dy)
        speed = float(self.rng.uniform(0.1, 0.35))
        if room / speed < 1.4:
            return None
        seconds = float(self.rng.uniform(1.4, min(4.0, room / speed)))
        path.go(self.now, self.now + seconds, here + (dx + dy) * speed * seconds)
        return self._filmed(way, seconds)

    def zoom(self) -> float | None:
        if not self._textured():
            return None
        here = self.scene.zoom.at(self.now)
        into = here < 1.2 if here < 0.9 or here > 1.2 else bool(self.rng.random() < 0.5)
        seconds = float(self.rng.uniform(1.4, 3.0))
        goal = here * float(self.rng.uniform(1.2, 1.35)) ** (seconds if into else -seconds)
        goal = float(np.clip(goal, 0.7, 1.8))
        if abs(np.log(goal / here)) < 0.12 * seconds:
            return None
        self.scene.zoom.go(self.now, self.now + seconds, goal)
        return self._filmed("in" if into else "out", seconds)

    def _textured(self) -> bool:
        moving = any(t.leg(self.now).vx or t.leg(self.now).vy for t in self.present())
        return self.scene.background.kind in ("photo", "noise") and not moving

    def _filmed(self, way: str, seconds: float) -> float:
        self.log("camera", way=way)
        self.log("camera stop", time=self.now + seconds)
        return seconds + GAP

    def dim(self) -> float | None:
        dark = self.light < 0.7
        goal = float(self.rng.uniform(0.9, 1.05) if dark else self.rng.uniform(0.3, 0.5))
        seconds = float(self.rng.uniform(0.1, 0.8))
        self.stream.light.go(self.now, self.now + seconds, goal)
        self.light = goal
        self.log("brighter" if dark else "darker", time=self.now + seconds / 2)
        return GAP + seconds

    def switch(self) -> float | None:
        self.cut()
        self.log("scene")
        return GAP

    def write(self) -> Stream:
        """All events up to the end."""
        rng = self.rng
        deeds = (
            (self.appear, 0.2),
            (self.move, 0.34),
            (self.vanish, 0.12),
            (self.recolour, 0.12),
            (self.pan, 0.1),
            (self.zoom, 0.05),
            (self.dim, 0.06),
            (self.switch, 0.05),
        )
        weights = np.array([weight for _, weight in deeds])
        self.now = float(rng.uniform(0.8, 3.0))
        while self.now < self.stream.seconds - 0.2:
            deed = deeds[int(rng.choice(len(deeds), p=weights / weights.sum()))][0]
            pause = deed()
            if pause is None:
                self.now += 0.01
                continue
            rest = rng.uniform(8, 25) if rng.random() < self.taste.quiet else rng.exponential(1.6)
            self.now += pause + float(rest)
        self.stream.events.sort(key=lambda event: event.time)
        return self.stream


def tell(
    seed: int, seconds: float, size: tuple[int, int] | None = None, taste: Taste | None = None
) -> Stream:
    """The stream of that seed."""
    rng = np.random.default_rng(seed)
    if size is None:
        size = SIZES[int(rng.choice(len(SIZES), p=SIZE_WEIGHTS))]
    return Story(rng, size, seconds, taste or Taste()).write()
