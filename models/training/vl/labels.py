"""What the tokens of one look (four pictures, half a second apart) should let one read off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .backgrounds import COLOURS, GROUNDS
from .shapes import SHAPES, SOMETHING, distance
from .sight import BETWEEN, late, pictures, recent
from .world import Array, Stream, Thing

Labels = NDArray[np.int64]

KINDS = ("none", *SHAPES, SOMETHING)
MOTIONS = ("still", "left", "right", "up", "down")
EVENTS = ("none", "appear", "vanish", "recolour", "move", "stop")
FILMED = ("none", "camera", "camera stop")
VIEWS = (*MOTIONS, "in", "out")
SKIES = ("plain", "gradient", "noise", "photo")
LIGHTS = ("none", "darker", "brighter")
TONES = (*GROUNDS, "mixed")
UNKNOWN = -100
CELL = {
    "kind": len(KINDS),
    "colour": len(COLOURS),
    "motion": len(MOTIONS),
    "before": len(MOTIONS),
    "event": len(EVENTS),
    "was": len(COLOURS),
    "centre": 3,
    "row": 3,
    "column": 3,
}
"""Labels of a token: what covers most of it, how that moves and moved before, what just happened to
it and which colour it had; how many things have their centres there, so that they can be counted;
and in which third of the picture the thing lies, which nothing else would make a tower tell."""
FINE = 8
"""Points of a mask in a cell, each way."""
COVERED, TOUCHED = 0.3, 0.08
"""Share of a cell that something must cover to be what stands there, and from which on that is in
doubt."""
WHOLE = {
    "view": len(VIEWS),
    "viewed": len(VIEWS),
    "filmed": len(FILMED),
    "sky": len(SKIES),
    "tone": len(TONES),
    "dark": 2,
    "light": len(LIGHTS),
    "count": 5,
    "cut": 2,
    **{f"number {name}": 5 for name in (*COLOURS, *SHAPES)},
}
"""Labels of the whole picture."""


@dataclass(frozen=True, slots=True)
class Look:
    """Pictures [4, H, W, 3] and their labels: `cells` {name: [h, w]}, `whole` {name: int}, and
    `masks` [h, w, 2 * FINE * FINE]: where in a cell something lies, before and at the end."""

    pictures: Array
    cells: dict[str, Labels]
    whole: dict[str, int]
    masks: Array


def motion(dx: float, dy: float, least: float = 0.035) -> int:
    """Index in `MOTIONS` of a displacement in view heights; `UNKNOWN` where it is in doubt."""
    far = max(abs(dx), abs(dy))
    if far < least:
        return 0 if far < 0.4 * least else UNKNOWN
    if abs(dx) > abs(dy):
        return 1 if dx < 0 else 2
    return 3 if dy < 0 else 4


def view(stream: Stream, start: float, end: float) -> int:
    """Index in `VIEWS` of what the camera does between two times."""
    first, last = stream.scene(start), stream.scene(end)
    if first is not last:
        return UNKNOWN
    ratio = last.zoom.at(end) / last.zoom.at(start)
    if abs(np.log(ratio)) > 0.04:
        return 5 if ratio > 1 else 6
    panned = motion(last.x.at(end) - last.x.at(start), last.y.at(end) - last.y.at(start), 0.03)
    return panned if abs(np.log(ratio)) < 0.015 or panned > 0 else UNKNOWN


def _whole_event(stream: Stream, time: float, kinds: tuple[str, ...]) -> int:
    """Which of the `kinds` (from the second on) of events the look sees, 0 for none."""
    found = 0
    for event in stream.events:
        if event.kind in kinds:
            seen = recent(event, time)
            if seen is None:
                return UNKNOWN
            found = kinds.index(event.kind) if seen else found
    return found


def _thing_event(stream: Stream, thing: Thing, time: float) -> int:
    """Index in `EVENTS` of what just happened to a thing."""
    found = 0
    for event in stream.events:
        if event.kind not in EVENTS or abs(event.time - time) > 2 or event.shape != thing.shape:
            continue
        before = event.time - (1e-6 if event.kind == "recolour" else 0.0)
        if event.colour == (thing.colour(before) if thing.shape != SOMETHING else ""):
            seen = recent(event, time)
            if seen is None:
                return UNKNOWN
            found = EVENTS.index(event.kind) if seen else found
    return found


def _way(thing: Thing, start: float) -> int:
    """Index in `MOTIONS` of how a thing moves in the half second from `start` on."""
    end = start + BETWEEN
    if not (thing.there(start) and thing.there(end)):
        return UNKNOWN
    (x0, y0), (x1, y1) = thing.leg(start).at(start), thing.leg(end).at(end)
    return motion(x1 - x0, y1 - y0)


def _cell(stream: Stream, thing: Thing, time: float) -> dict[str, int]:
    end = time + BETWEEN
    when = end if thing.there(end) else time if thing.there(time) else time - BETWEEN
    x, y, _ = stream.place(thing, when)
    named = thing.shape != SOMETHING
    colours = list(COLOURS)
    was = named and thing.there(time - BETWEEN)
    return {
        "kind": KINDS.index(thing.shape),
        "colour": colours.index(thing.colour(when)) if named else UNKNOWN,
        "motion": _way(thing, time),
        "before": _way(thing, time - 2 * BETWEEN),
        "event": _thing_event(stream, thing, time),
        "was": colours.index(thing.colour(time - BETWEEN)) if was else UNKNOWN,
        "row": _third(y),
        "column": _third(x * stream.size[0] / stream.size[1]),
    }


def _third(place: float) -> int:
    near = min(abs(place - 1 / 3), abs(place - 2 / 3)) < 0.04
    return UNKNOWN if near else min(2, max(0, int(3 * place)))


def _mask(stream: Stream, thing: Thing, time: float, grid: tuple[int, int]) -> Array:
    """Where a thing lies: 0 or 1 at points of [h * FINE, w * FINE]."""
    x, y, radius = stream.place(thing, time)
    step = 1 / (grid[0] * FINE)
    v = ((np.arange(grid[0] * FINE, dtype=np.float32) + 0.5) * step - y) / radius
    u = ((np.arange(grid[1] * FINE, dtype=np.float32) + 0.5) * step - x) / radius
    cos, sin = np.float32(np.cos(thing.angle)), np.float32(np.sin(thing.angle))
    turned = u[None] * cos + v[:, None] * sin, v[:, None] * cos - u[None] * sin
    return (distance(thing.shape, *turned) < 0).astype(np.float32)


def _cells(mask: Array, grid: tuple[int, int]) -> Array:
    """[h * FINE, w * FINE] -> [h, w, FINE * FINE]."""
    tiles = mask.reshape(grid[0], FINE, grid[1], FINE).transpose(0, 2, 1, 3)
    return tiles.reshape(*grid, FINE * FINE)


def _centre(centres: Labels, place: tuple[float, float], clear: bool) -> None:
    """Count the cell of a centre at (column, row); a neighbour that is as near is in doubt."""
    height, width = centres.shape
    column, row = int(np.clip(place[0], 0, width - 1)), int(np.clip(place[1], 0, height - 1))
    for near in (-0.05, 0.05):
        for x, y in ((place[0] + near, place[1]), (place[0], place[1] + near)):
            other = int(np.clip(y, 0, height - 1)), int(np.clip(x, 0, width - 1))
            if other != (row, column):
                centres[other] = centres[row, column] = UNKNOWN
    if not clear:
        centres[row, column] = UNKNOWN
    elif centres[row, column] >= 0:
        centres[row, column] += 1


def _things(
    stream: Stream, time: float, grid: tuple[int, int]
) -> tuple[dict[str, Labels], Array, int]:
    """Labels of the cells, masks, and how many things are seen (negative: in doubt)."""
    cells = {name: np.full(grid, UNKNOWN, np.int64) for name in CELL}
    for name in ("kind", "event", "centre"):
        cells[name][:] = 0
    most = np.full(grid, COVERED, np.float32)
    masks = np.zeros((2, *grid, FINE * FINE), np.float32)
    end, begin = time + BETWEEN, time - BETWEEN
    scene = stream.scene(end)
    count = 0
    for thing in scene.things:
        after = thing.there(end) and stream.visible(thing, end, -0.9)
        whens = [when for when in (begin, time) if stream.scene(when) is scene]
        whens = [when for when in whens if stream.visible(thing, when, -0.9)]
        if not whens and not after:
            continue
        last = end if after else whens[-1]
        clear = stream.visible(thing, last, 0.25)
        own = _cells(_mask(stream, thing, last, grid), grid)
        masks[1] = np.maximum(masks[1], own) if after else masks[1]
        if whens:
            masks[0] = np.maximum(masks[0], _cells(_mask(stream, thing, whens[0], grid), grid))
        share = own.mean(-1)
        here = share >= np.minimum(most, share.max()) if clear else share > 0.05
        most[here] = np.maximum(share, most)[here]
        touched = (share > TOUCHED) & ~here & (cells["kind"] == 0)
        for name in ("kind", "event"):
            cells[name][touched] = UNKNOWN
        for name, value in _cell(stream, thing, time).items():
            cells[name][here] = value if clear else UNKNOWN
        if after:
            x, y, _ = stream.place(thing, end)
            _centre(cells["centre"], (x * grid[0], y * grid[0]), clear)
        count = -9 if not clear else count + int(after)
    return cells, np.concatenate(list(masks), -1), count


def _numbers(stream: Stream, time: float, sure: bool) -> dict[str, int]:
    """How many things there are of each colour and shape."""
    things = [t for t in stream.scene(time).things if stream.visible(t, time, -0.9)]
    names = [(thing.colour(time), thing.shape) for thing in things]
    return {
        f"number {name}": sum(name in pair for pair in names) if sure else UNKNOWN
        for name in (*COLOURS, *SHAPES)
    }


def look(stream: Stream, time: float, factor: int) -> Look:
    """The look of second `time`, with labels on a grid of tokens of `factor` pixels."""
    end = time + BETWEEN
    scene = stream.scene(end)
    grid = stream.size[0] // factor, stream.size[1] // factor
    cells, masks, count = _things(stream, time, grid)
    cut = _whole_event(stream, time, ("", "scene"))
    whole = {
        "view": view(stream, time, end),
        "viewed": view(stream, time - 2 * BETWEEN, time - BETWEEN),
        "filmed": _whole_event(stream, time, FILMED),
        "sky": SKIES.index(scene.background.kind),
        "tone": TONES.index(scene.background.colour),
        "dark": int(stream.light.at(end) < 0.7),
        "light": _whole_event(stream, time, LIGHTS),
        "count": count if count >= 0 else UNKNOWN,
        "cut": cut,
    }
    whole |= _numbers(stream, end, count >= 0)
    if scene.background.kind == "photo" and scene.zoom.at(end) != 1:
        whole["tone"] = UNKNOWN
    if cut:
        cells["event"][:] = UNKNOWN
    return Look(pictures(stream, time), cells, whole, masks)


def moments(rng: np.random.Generator, stream: Stream, count: int) -> list[float]:
    """Times worth looking at: two thirds of them where something has just happened."""
    found = []
    for _ in range(count):
        time = float(rng.uniform(0, stream.seconds - 1))
        if stream.events and rng.random() < 0.65:
            event = stream.events[int(rng.integers(len(stream.events)))]
            time = event.time - late(event) + float(rng.uniform(0, 1))
        elif rng.random() < 0.4:
            moves = [e for e in stream.events if e.kind in ("move", "camera")]
            if moves:
                time = moves[int(rng.integers(len(moves)))].time + float(rng.uniform(0, 2.5))
        found.append(float(np.clip(time, 0, stream.seconds - BETWEEN)))
    return found
