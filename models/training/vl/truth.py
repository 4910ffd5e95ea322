"""What is so at each turn of a stream, and which turn should tell of each event."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .labels import MOTIONS, SKIES, UNKNOWN, VIEWS, motion, view
from .shapes import SOMETHING
from .sight import BETWEEN, late
from .world import Event, Stream, Thing


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing as it is seen. `way` is one of `MOTIONS`, or empty where it is in doubt."""

    shape: str
    colour: str
    way: str
    row: int
    column: int

    @property
    def place(self) -> str:
        words = ("top", "", "bottom")[self.row], ("left", "", "right")[self.column]
        return " ".join(word for word in words if word) or "middle"

    @property
    def name(self) -> str:
        return SOMETHING if self.shape == SOMETHING else f"{self.colour} {self.shape}"


@dataclass(frozen=True, slots=True)
class State:
    """What is so at a turn.

    Attributes:
        things: those that are seen well, by shape and colour.
        doubtful: some are seen in part only, so that counts are in doubt.
        bordering: names of things whose place is between two.
        camera: one of `VIEWS`, or empty where it is in doubt.
        sky, tone: kind of background and its main colour.
        dark: whether it is, or None in between.
    """

    things: tuple[Seen, ...]
    doubtful: bool
    bordering: frozenset[str]
    camera: str
    sky: str
    tone: str
    dark: bool | None


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of a stream: what is so, and what has happened."""

    state: State
    events: tuple[Event, ...]
    fresh: bool
    """A new scene: it is described."""


def turn_of(event: Event) -> int:
    """The turn that tells of an event: the first that sees what it changed."""
    return max(0, math.ceil(event.time - late(event)))


def _third(value: float) -> tuple[int, bool]:
    """Which third, and whether that is in doubt."""
    near = min(abs(value - 1 / 3), abs(value - 2 / 3))
    return min(2, max(0, int(value * 3))), near < 0.05


def _seen(stream: Stream, thing: Thing, start: float, end: float) -> tuple[Seen, bool]:
    x, y, _ = stream.place(thing, end)
    row, doubt_y = _third(y)
    column, doubt_x = _third(x * stream.size[0] / stream.size[1])
    way = ""
    if thing.there(start):
        (x0, y0), (x1, y1) = thing.leg(start).at(start), thing.leg(end).at(end)
        index = motion(x1 - x0, y1 - y0)
        way = "" if index == UNKNOWN else MOTIONS[index]
    colour = "" if thing.shape == SOMETHING else thing.colour(end)
    return Seen(thing.shape, colour, way, row, column), doubt_x or doubt_y


def state(stream: Stream, number: int) -> State:
    """What is so at turn `number`, whose pictures are of second `number` and half a second on."""
    start, end = float(number), number + BETWEEN
    scene = stream.scene(end)
    found, bordering, doubtful = [], set(), False
    for thing in scene.things:
        if not stream.visible(thing, end, -0.9):
            continue
        if not stream.visible(thing, end, 0.3):
            doubtful = True
            continue
        seen, border = _seen(stream, thing, start, end)
        found.append(seen)
        if border:
            bordering.add(seen.name)
    index = view(stream, start, end)
    gain = stream.light.at(end)
    moved = scene.zoom.at(end) != 1 or scene.x.at(end) != 0 or scene.y.at(end) != 0
    tone = "" if scene.background.kind == "photo" and moved else scene.background.colour
    return State(
        things=tuple(sorted(found, key=lambda item: (item.shape, item.colour))),
        doubtful=doubtful,
        bordering=frozenset(bordering),
        camera="" if index == UNKNOWN else VIEWS[index],
        sky=SKIES[SKIES.index(scene.background.kind)],
        tone=tone,
        dark=True if gain < 0.58 else False if gain > 0.8 else None,
    )


def timeline(stream: Stream) -> list[Turn]:
    """All turns of a stream of whole seconds."""
    count = int(stream.seconds - BETWEEN)
    told: dict[int, list[Event]] = {}
    for event in stream.events:
        told.setdefault(turn_of(event), []).append(event)
    turns = []
    for number in range(count):
        events = tuple(told.get(number, ()))
        fresh = number == 0 or any(event.kind == "scene" for event in events)
        turns.append(Turn(state(stream, number), () if fresh else events, fresh))
    return turns
