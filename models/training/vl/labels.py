"""What the tokens of one look (two pictures, half a second apart) should let one read off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .backgrounds import COLOURS, GROUNDS
from .shapes import SHAPES, SOMETHING, distance
from .world import Array, Event, Stream, Thing, picture

Labels = NDArray[np.int64]

BETWEEN = 0.5
"""Seconds between the two pictures of a look."""
KINDS = ("none", *SHAPES, SOMETHING)
MOTIONS = ("still", "left", "right", "up", "down")
CHANGES = ("both", "appeared", "gone", "recoloured")
VIEWS = (*MOTIONS, "in", "out")
SKIES = ("plain", "gradient", "noise", "photo")
LIGHTS = ("steady", "darker", "brighter")
TONES = (*GROUNDS, "mixed")
UNKNOWN = -100
CELL = {
    "kind": len(KINDS),
    "colour": len(COLOURS),
    "motion": len(MOTIONS),
    "change": len(CHANGES),
    "centre": 2,
}
"""Labels of a token: what covers most of it; and whether a thing has its centre there, so that
things can be counted."""
FINE = 8
"""Points of a mask in a cell, each way."""
COVERED = 0.2
"""Share of a cell that something must cover to be what stands there."""
WHOLE = {
    "view": len(VIEWS),
    "sky": len(SKIES),
    "tone": len(TONES),
    "dark": 2,
    "light": len(LIGHTS),
    "count": 5,
    "cut": 2,
}
"""Labels of the whole picture."""


@dataclass(frozen=True, slots=True)
class Look:
    """Two pictures [2, H, W, 3] and their labels: `cells` {name: [h, w]}, `whole` {name: int},
    and `masks` [h, w, 2 * FINE * FINE]: where in a cell something lies, in each picture."""

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


def light(stream: Stream, start: float, end: float) -> int:
    ratio = stream.light.at(end) / stream.light.at(start)
    if 0.95 < ratio < 1.05:
        return 0
    return UNKNOWN if 0.8 < ratio < 1.25 else (1 if ratio < 1 else 2)


def _cell(stream: Stream, thing: Thing, start: float, end: float) -> dict[str, int]:
    before, after = thing.there(start), thing.there(end)
    time = end if after else start
    found = {"kind": KINDS.index(thing.shape), "colour": UNKNOWN, "motion": UNKNOWN, "change": 0}
    if thing.shape != SOMETHING:
        found["colour"] = list(COLOURS).index(thing.colour(time))
    if before and after:
        (x0, y0), (x1, y1) = thing.leg(start).at(start), thing.leg(end).at(end)
        found["motion"] = motion(x1 - x0, y1 - y0)
        if thing.colour(start) != thing.colour(end):
            found["change"] = 3
    else:
        found["change"] = 1 if after else 2
    return found


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
    """Mark the cell of a centre at (column, row); a neighbour that is as near is in doubt."""
    height, width = centres.shape
    column, row = int(np.clip(place[0], 0, width - 1)), int(np.clip(place[1], 0, height - 1))
    for near in (-0.1, 0.1):
        for x, y in ((place[0] + near, place[1]), (place[0], place[1] + near)):
            other = int(np.clip(y, 0, height - 1)), int(np.clip(x, 0, width - 1))
            centres[other] = UNKNOWN if other != (row, column) else centres[other]
    centres[row, column] = 1 if clear else UNKNOWN


def _things(
    stream: Stream, time: float, end: float, grid: tuple[int, int]
) -> tuple[dict[str, Labels], Array, int]:
    """Labels of the cells, masks, and how many things are seen (negative: in doubt)."""
    cells = {name: np.full(grid, UNKNOWN, np.int64) for name in CELL}
    cells["kind"][:] = 0
    cells["centre"][:] = 0
    most = np.full(grid, COVERED, np.float32)
    masks = np.zeros((2, *grid, FINE * FINE), np.float32)
    first, scene = stream.scene(time), stream.scene(end)
    count = 0
    for thing in scene.things:
        before = first is scene and thing.there(time) and stream.visible(thing, time, -0.9)
        after = thing.there(end) and stream.visible(thing, end, -0.9)
        if not before and not after:
            continue
        clear = stream.visible(thing, end if after else time, 0.25)
        own = [_cells(_mask(stream, thing, when, grid), grid) for when in (time, end)]
        masks[0] = np.maximum(masks[0], own[0]) if before else masks[0]
        masks[1] = np.maximum(masks[1], own[1]) if after else masks[1]
        share = own[1 if after else 0].mean(-1)
        here = share >= np.minimum(most, share.max()) if clear else share > 0.05
        most[here] = np.maximum(share, most)[here]
        for name, value in _cell(stream, thing, time, end).items():
            cells[name][here] = value if clear else UNKNOWN
        if after:
            x, y, _ = stream.place(thing, end)
            _centre(cells["centre"], (x * grid[0], y * grid[0]), clear)
        count = -9 if not clear else count + int(after)
    return cells, np.concatenate(list(masks), -1), count


def look(stream: Stream, time: float, factor: int) -> Look:
    """The look that begins at `time`, with labels on a grid of tokens of `factor` pixels."""
    end = time + BETWEEN
    first, scene = stream.scene(time), stream.scene(end)
    grid = stream.size[0] // factor, stream.size[1] // factor
    cells, masks, count = _things(stream, time, end, grid)
    whole = {
        "view": view(stream, time, end),
        "sky": SKIES.index(scene.background.kind),
        "tone": TONES.index(scene.background.colour),
        "dark": int(stream.light.at(end) < 0.7),
        "light": light(stream, time, end),
        "count": count if count >= 0 else UNKNOWN,
        "cut": int(first is not scene),
    }
    if scene.background.kind == "photo" and scene.zoom.at(end) != 1:
        whole["tone"] = UNKNOWN
    pictures = np.stack([picture(stream, time), picture(stream, end)])
    return Look(pictures, cells, whole, masks)


def moments(rng: np.random.Generator, stream: Stream, count: int) -> list[float]:
    """Times worth looking at: half of them where something goes on."""

    def near(event: Event) -> float:
        low, high = (0.0, 1.0) if event.kind in ("move", "camera") else (-0.5, 0.0)
        return event.time + float(rng.uniform(low, high))

    found = []
    for _ in range(count):
        if stream.events and rng.random() < 0.7:
            moves = [e for e in stream.events if e.kind in ("move", "camera")]
            among = moves if moves and rng.random() < 0.5 else stream.events
            time = near(among[int(rng.integers(len(among)))])
        else:
            time = float(rng.uniform(0, stream.seconds - 1))
        found.append(float(np.clip(time, 0, stream.seconds - BETWEEN)))
    return found
