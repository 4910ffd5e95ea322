"""Questions with their answers, and conditions to wait for, many ways to say each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .backgrounds import COLOURS
from .phrases import (
    ANY_MOVES,
    BRIGHT,
    CAMERA,
    CAMERA_MOVES,
    COLOR,
    COUNT,
    COUNT_SOME,
    DARK,
    DESCRIBE,
    EXIST,
    FOREIGN,
    GROUND,
    IS_PHOTO,
    LIGHT,
    MOVING,
    PHOTO,
    SHAPE,
    STILL,
    WAY,
    WHERE,
    WHO_MOVES,
    choose,
)
from .shapes import SHAPES, SOMETHING
from .telling import description
from .truth import Seen, State

NUMBERS = ("none", "one", "two", "three", "four")
Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Asked:
    """A question in a person's words, its answer, and what it is about (for the tables)."""

    text: str
    answer: str
    kind: str


def unique(state: State, test: Callable[[Seen], bool]) -> Seen | None:
    found = [thing for thing in state.things if test(thing)]
    return found[0] if len(found) == 1 else None


def _named(rng: Rng, state: State, thing: Seen) -> str:
    """A way to name the thing that fits no other."""
    if thing.shape == SOMETHING:
        return SOMETHING
    names = [f"{thing.colour} {thing.shape}"]
    if sum(t.shape == thing.shape for t in state.things) == 1:
        names += [thing.shape] * 2
    if sum(t.colour == thing.colour for t in state.things) == 1:
        names.append(f"{thing.colour} thing")
    return names[int(rng.integers(len(names)))]


def _some(rng: Rng, state: State, shaped: bool = False) -> Seen | None:
    things = [t for t in state.things if not shaped or t.shape != SOMETHING]
    return things[int(rng.integers(len(things)))] if things else None


def _absent_shape(rng: Rng, state: State) -> str | None:
    there = {thing.shape for thing in state.things}
    absent = [shape for shape in SHAPES if shape not in there]
    return absent[int(rng.integers(len(absent)))] if absent and not state.doubtful else None


def _color(rng: Rng, state: State) -> Asked | None:
    if rng.random() < 0.12 and (shape := _absent_shape(rng, state)):
        text = choose(rng, (*COLOR, *WHERE)).format(s=shape, x=shape)
        return Asked(text, f"i see no {shape}", "absent")
    thing = _some(rng, state, shaped=True)
    if thing is None or unique(state, lambda t: t.shape == thing.shape) is None:
        return None
    return Asked(choose(rng, COLOR).format(s=thing.shape), thing.colour, "color")


def _shape(rng: Rng, state: State) -> Asked | None:
    thing = _some(rng, state, shaped=True)
    if thing is None or unique(state, lambda t: t.colour == thing.colour) is None:
        return None
    return Asked(choose(rng, SHAPE).format(c=thing.colour), f"a {thing.shape}", "shape")


def plural_of(shape: str) -> str:
    return "crosses" if shape == "cross" else shape + "s"


def _count(rng: Rng, state: State) -> Asked | None:
    if state.doubtful:
        return None
    if rng.random() < 0.5:
        return Asked(choose(rng, COUNT), NUMBERS[len(state.things)], "count")
    there = _some(rng, state, shaped=True)
    if rng.random() < 0.6:
        shape = there.shape if there and rng.random() < 0.6 else choose(rng, SHAPES)
        plural = plural_of(shape)
        number = sum(t.shape == shape for t in state.things)
    else:
        colour = there.colour if there and rng.random() < 0.6 else choose(rng, tuple(COLOURS))
        plural = f"{colour} {choose(rng, ('things', 'objects'))}"
        number = sum(t.colour == colour for t in state.things)
    return Asked(choose(rng, COUNT_SOME).format(p=plural), NUMBERS[number], "count")


def _exist(rng: Rng, state: State) -> Asked | None:
    thing = _some(rng, state, shaped=True)
    true = thing is not None and rng.random() < 0.55
    if true and thing:
        shape, colour = thing.shape, thing.colour
    else:
        shape, colour = choose(rng, SHAPES), choose(rng, tuple(COLOURS))
        if thing and rng.random() < 0.6:
            shape, colour = (thing.shape, colour) if rng.random() < 0.5 else (shape, thing.colour)
    what = (f"{colour} {shape}", shape, f"{colour} thing")[int(rng.choice(3, p=(0.5, 0.3, 0.2)))]
    tests = {f"{colour} {shape}": (colour, shape), shape: ("", shape)}
    wanted, form = tests.get(what, (colour, ""))
    holds = any(
        (not wanted or t.colour == wanted) and (not form or t.shape == form) for t in state.things
    )
    if state.doubtful and not holds:
        return None
    return Asked(choose(rng, EXIST).format(a=f"a {what}"), "yes" if holds else "no", "exist")


def _motion(rng: Rng, state: State) -> Asked | None:
    if any(not thing.way for thing in state.things) or state.camera != "still":
        return None
    moving = [thing for thing in state.things if thing.way != "still"]
    form = rng.random()
    if form < 0.15 and not state.doubtful:
        if len(moving) > 1:
            return None
        name = "nothing"
        if moving:
            name = SOMETHING if moving[0].shape == SOMETHING else f"the {moving[0].name}"
        if rng.random() < 0.5:
            return Asked(choose(rng, WHO_MOVES), name, "motion")
        return Asked(choose(rng, ANY_MOVES), "yes" if moving else "no", "motion")
    thing = _some(rng, state)
    if moving and rng.random() < 0.65:
        thing = moving[int(rng.integers(len(moving)))]
    if thing is None:
        return None
    name = _named(rng, state, thing)
    if form < 0.7:
        answer = "it is still" if thing.way == "still" else thing.way
        text = choose(rng, WAY)
    else:
        still = rng.random() < 0.3
        answer = "yes" if (thing.way == "still") == still else "no"
        text = choose(rng, STILL if still else MOVING)
    return Asked(_article(text.format(x=name)), answer, "motion")


def _article(text: str) -> str:
    return text.replace(f"the {SOMETHING}", SOMETHING)


def _where(rng: Rng, state: State) -> Asked | None:
    thing = _some(rng, state)
    if thing is None or thing.name in state.bordering:
        return None
    name = _named(rng, state, thing)
    return Asked(_article(choose(rng, WHERE).format(x=name)), thing.place, "place")


def _camera(rng: Rng, state: State) -> Asked | None:
    if not state.camera or (state.camera == "still" and rng.random() < 0.5):
        return None
    if rng.random() < 0.3:
        return Asked(
            choose(rng, CAMERA_MOVES), "no" if state.camera == "still" else "yes", "camera"
        )
    way = state.camera
    answer = f"it zooms {way}" if way in ("in", "out") else f"it pans {way}"
    return Asked(choose(rng, CAMERA), "it is still" if way == "still" else answer, "camera")


def _light(rng: Rng, state: State) -> Asked | None:
    if state.dark is None:
        return None
    form = int(rng.integers(3))
    if form == 0:
        return Asked(choose(rng, LIGHT), "dark" if state.dark else "bright", "light")
    answer = state.dark == (form == 1)
    return Asked(choose(rng, DARK if form == 1 else BRIGHT), "yes" if answer else "no", "light")


def _ground(rng: Rng, state: State) -> Asked | None:
    photo = state.sky == "photo"
    form = rng.random()
    if form < 0.25:
        return Asked(choose(rng, PHOTO), "a photo" if photo else "a drawing", "background")
    if form < 0.45:
        return Asked(choose(rng, IS_PHOTO), "yes" if photo else "no", "background")
    if photo and form < 0.8:
        if not state.tone:
            return None
        tone = "many colors" if state.tone == "mixed" else state.tone
        return Asked("what is the main color of the photo", tone, "photo color")
    return Asked(choose(rng, GROUND), "a photo" if photo else state.tone, "background")


def described(rng: Rng, state: State) -> Asked | None:
    """All that is there; None where some of it is in doubt."""
    return None if state.doubtful else Asked(choose(rng, DESCRIBE), description(state), "describe")


NOW: tuple[tuple[Callable[[Rng, State], Asked | None], float], ...] = (
    (_color, 0.18),
    (_shape, 0.1),
    (_count, 0.28),
    (_exist, 0.3),
    (_motion, 0.14),
    (_where, 0.2),
    (_camera, 0.07),
    (_light, 0.03),
    (_ground, 0.05),
    (described, 0.05),
)
_MAKERS = tuple(maker for maker, _ in NOW)
_WEIGHTS = np.array([weight for _, weight in NOW]) / sum(weight for _, weight in NOW)


def about(rng: Rng, state: State) -> Asked | None:
    """A random question about what is so."""
    for _ in range(6):
        asked = _MAKERS[int(rng.choice(len(_MAKERS), p=_WEIGHTS))](rng, state)
        if asked is not None:
            return asked
    return None


def foreign(rng: Rng) -> Asked:
    """A question that the model cannot answer."""
    text = choose(rng, FOREIGN)
    while "{u}" in text:
        text = text.replace("{u}", f"qq{int(rng.integers(100))}", 1)
    return Asked(text, "<limits>", "foreign")
