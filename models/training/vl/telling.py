"""Truth in words: captions and descriptions, several ways to say each."""

from __future__ import annotations

import numpy as np

from .shapes import SOMETHING
from .truth import State, Turn
from .world import Event

USUAL = 0.6
"""How often the first way to say it is taken."""

CAPTIONS: dict[str, tuple[str, ...]] = {
    "appear": ("a {x} appears", "a {x} comes into view", "there is now a {x}"),
    "vanish": ("the {x} disappears", "the {x} is gone", "the {x} leaves"),
    "move": ("the {x} moves {way}", "the {x} starts moving {way}", "the {x} goes {way}"),
    "stop": ("the {x} stops", "the {x} stops moving", "the {x} is still now"),
    "recolour": ("the {x} turns {way}", "the {x} changes to {way}"),
    "camera": ("the camera pans {way}", "the camera moves {way}"),
    "zoom": ("the camera zooms {way}",),
    "camera stop": ("the camera stops", "the camera is still now"),
    "darker": ("it gets darker", "the light goes down"),
    "brighter": ("it gets brighter", "the light is back"),
}
WISHES: dict[str, tuple[str, ...]] = {
    "motion": ("only motion", "tell me what moves", "only say what is moving"),
    "things": ("only objects", "only what appears and disappears", "only the things"),
    "camera": ("only the camera", "tell me what the camera does"),
    "light": ("only the light", "tell me when the light changes"),
    "color": ("only the colors", "tell me about the colors", "only colour changes"),
}
GRANTED: dict[str, tuple[str, ...]] = {
    "motion": ("move", "stop"),
    "things": ("appear", "vanish"),
    "camera": ("camera", "camera stop"),
    "light": ("darker", "brighter"),
    "color": ("recolour",),
}
"""Kinds of events that a wish leaves to be told."""


def pick(rng: np.random.Generator | None, ways: tuple[str, ...]) -> str:
    """One of several ways to say it; the first where nothing is left to chance."""
    if rng is None or len(ways) == 1 or rng.random() < USUAL:
        return ways[0]
    return ways[1 + int(rng.integers(len(ways) - 1))]


def _name(event: Event) -> str:
    return SOMETHING if event.shape == SOMETHING else f"{event.colour} {event.shape}"


def event_words(event: Event, rng: np.random.Generator | None = None) -> str:
    kind = "zoom" if event.kind == "camera" and event.way in ("in", "out") else event.kind
    text = pick(rng, CAPTIONS[kind]).format(x=_name(event), way=event.way)
    for article in ("a ", "the "):
        text = text.replace(article + SOMETHING, SOMETHING)
    return text.replace("a orange", "an orange")


def ground_words(state: State) -> str:
    """The background: "a photo", "a dark gray background"."""
    dark = "dark " if state.dark else ""
    if state.sky == "photo":
        return f"a {dark}photo"
    rough = "rough " if state.sky == "noise" else ""
    return f"a {dark}{rough}{state.tone} background"


def description(state: State) -> str:
    """What is seen, in one line."""
    names = [SOMETHING if t.shape == SOMETHING else f"a {t.name}" for t in state.things]
    text = ground_words(state)
    if names:
        listed = ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
        text = f"{listed} on {text}"
    return text.replace("a orange", "an orange")


def caption(turn: Turn, first: bool, rng: np.random.Generator | None = None, wish: str = "") -> str:
    """What a turn says; empty for silence."""
    if turn.fresh and not wish:
        return description(turn.state) if first else f"a new scene: {description(turn.state)}"
    events = [e for e in turn.events if not wish or e.kind in GRANTED[wish]]
    return " and ".join(event_words(event, rng) for event in events)
