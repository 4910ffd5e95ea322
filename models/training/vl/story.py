"""Random streams: what happens in them, one thing at a time, with quiet stretches between."""

from __future__ import annotations

import numpy as np

from .shapes import SOMETHING
from .stage import Stage, Taste
from .world import WAYS, Event, Leg, Stream, Thing

SIZES = ((128, 128), (96, 160), (96, 128), (128, 96), (160, 96))
SIZE_WEIGHTS = (0.35, 0.35, 0.16, 0.07, 0.07)
GAP = 1.3
"""Seconds between two events, at least."""
REACH = 0.45
"""How far the camera pans, in view heights."""


class Story(Stage):
    """Writes one stream, event after event."""

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

    def _moves(self, thing: Thing) -> bool:
        leg = thing.leg(self.now)
        return bool(leg.vx or leg.vy)

    def _one(self) -> Thing | None:
        """One that stands still and is seen well."""
        chosen = [
            t for t in self.present() if self.stream.visible(t, self.now) and not self._moves(t)
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
        moving = any(self._moves(t) for t in self.present())
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


__all__ = ["SIZES", "SIZE_WEIGHTS", "Story", "Taste", "tell"]
