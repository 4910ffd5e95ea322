"""Conditions to wait for ("tell me when ..."), and whether they hold at a turn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .asking import NUMBERS
from .backgrounds import COLOURS
from .phrases import choose
from .shapes import SHAPES, SOMETHING
from .truth import Seen, Turn
from .world import WAYS, Event

Rng = np.random.Generator

APPEAR = ("{x} appears", "{x} shows up", "{x} comes into view", "you see {x}", "there is {x}")
VANISH = ("{x} disappears", "{x} is gone", "{x} leaves", "{x} vanishes")
MOVE = ("{x} moves", "{x} starts moving", "{x} is moving", "{x} starts to move")
MOVE_WAY = ("{x} moves {w}", "{x} goes {w}", "{x} is moving {w}")
STOP = ("{x} stops", "{x} stops moving")
TURN = ("{x} turns {c}", "{x} becomes {c}", "{x} changes to {c}")
CHANGE = ("{x} changes color", "{x} changes its colour")
PAN = ("the camera pans {w}", "the camera moves {w}")
ZOOM = ("the camera zooms {w}",)
FILM = ("the camera moves", "the camera is moving", "the camera starts moving")
DARKER = ("it gets dark", "it gets darker", "the light goes out", "it becomes dark")
BRIGHTER = ("it gets bright", "it gets brighter", "the light comes back", "the light goes on")
SCENE = ("the scene changes", "there is a new scene", "a new scene comes")
COUNT = ("there are {n} things", "you see {n} objects", "there are {n} objects")
ANY_MOVE = ("something moves", "anything moves", "something is moving")
ANY_APPEAR = (
    "something appears",
    "a new object appears",
    "anything appears",
    "a new thing appears",
)
ANY_GONE = ("something disappears", "an object disappears", "anything leaves")
ANY = ("anything happens", "something happens", "something changes", "anything changes")


@dataclass(frozen=True, slots=True)
class Condition:
    """What is waited for.

    Attributes:
        text: in a person's words, without "tell me when".
        kind: what it is about (for the tables).
        event: kind of event that makes it true, or empty for one that holds while a state does.
        shape, colour, way: of the thing; empty matches all.
        number: of things.
    """

    text: str
    kind: str
    event: str = ""
    shape: str = ""
    colour: str = ""
    way: str = ""
    number: int = -1

    def _fits(self, event: Event) -> bool:
        kinds = ("appear",) if self.event == "appear" else (self.event,)
        return (
            (self.event == "any" or event.kind in kinds)
            and self.shape in ("", event.shape)
            and self.colour in ("", event.colour)
            and self.way in ("", event.way)
        )

    def _like(self, thing: Seen) -> bool:
        return self.shape in ("", thing.shape) and self.colour in ("", thing.colour)

    def holds(self, turns: list[Turn], number: int) -> bool | None:
        """Whether it is so at a turn; None where that is in doubt."""
        turn = turns[number]
        if self.event:
            return self._happens(turns, number)
        state = turn.state
        if self.kind == "there":
            found = any(self._like(thing) for thing in state.things)
            return True if found else None if state.doubtful else False
        if self.kind == "motion":
            return self._moves(turn)
        if self.kind == "camera":
            if not state.camera:
                return None
            return state.camera == self.way if self.way else state.camera != "still"
        return None if state.doubtful else len(state.things) == self.number

    def _moves(self, turn: Turn) -> bool | None:
        if turn.state.camera != "still":
            return None
        ways = [thing.way for thing in turn.state.things if self._like(thing)]
        wanted = [way for way in ways if way == self.way or (not self.way and way != "still")]
        if any(wanted):
            return True
        return None if "" in ways else False

    def _happens(self, turns: list[Turn], number: int) -> bool | None:
        def at(index: int) -> bool:
            if not 0 <= index < len(turns):
                return False
            turn = turns[index]
            new = turn.fresh and index > 0
            if self.event == "scene" or (self.event == "any" and new):
                return new
            return any(self._fits(event) for event in turn.events)

        if at(number):
            return True
        # A second beside it is as good a time to say so.
        near = at(number - 1) or at(number + 1) or turns[number].fresh
        return None if near else False


def _of_event(rng: Rng, event: Event) -> Condition | None:
    """A condition that this event makes true."""
    name = SOMETHING if event.shape == SOMETHING else f"{event.colour} {event.shape}"
    loose = rng.random() < 0.3 and event.shape != SOMETHING
    colour = "" if loose else event.colour
    the = SOMETHING if event.shape == SOMETHING else f"the {event.shape if loose else name}"
    a = SOMETHING if event.shape == SOMETHING else f"a {event.shape if loose else name}"
    kind, shape = event.kind, event.shape
    if kind == "appear":
        if rng.random() < 0.3:
            return Condition(choose(rng, ANY_APPEAR), "appear", "appear")
        if shape == SOMETHING:
            return None
        return Condition(choose(rng, APPEAR).format(x=a), "there", "", shape, colour)
    if kind == "vanish":
        if rng.random() < 0.25 or shape == SOMETHING:
            return Condition(choose(rng, ANY_GONE), "vanish", "vanish")
        return Condition(choose(rng, VANISH).format(x=the), "vanish", "vanish", shape, colour)
    if kind == "move":
        if rng.random() < 0.3 or shape == SOMETHING:
            return Condition(choose(rng, ANY_MOVE), "motion")
        way = event.way if rng.random() < 0.4 else ""
        text = choose(rng, MOVE_WAY if way else MOVE).format(x=the, w=way)
        return Condition(text, "motion", "", shape, colour, way)
    if kind == "stop" and shape != SOMETHING:
        return Condition(choose(rng, STOP).format(x=the), "stop", "stop", shape, colour)
    if kind == "recolour":
        if rng.random() < 0.3:
            text = choose(rng, CHANGE).format(x=the)
            return Condition(text, "recolour", "recolour", shape, colour)
        text = choose(rng, TURN).format(x=f"the {shape}", c=event.way)
        return Condition(text, "recolour", "recolour", shape, "", event.way)
    return _of_camera(rng, event)


def _of_camera(rng: Rng, event: Event) -> Condition | None:
    if event.kind == "camera":
        if rng.random() < 0.4:
            return Condition(choose(rng, FILM), "camera")
        text = choose(rng, ZOOM if event.way in ("in", "out") else PAN)
        return Condition(text.format(w=event.way), "camera", way=event.way)
    words = {"darker": DARKER, "brighter": BRIGHTER, "scene": SCENE}
    if event.kind in words:
        return Condition(choose(rng, words[event.kind]), event.kind, event.kind)
    return None


def _random(rng: Rng) -> Condition | None:
    kinds = (
        "appear",
        "vanish",
        "move",
        "stop",
        "recolour",
        "camera",
        "darker",
        "brighter",
        "scene",
    )
    kind = choose(rng, kinds)
    colours = tuple(COLOURS)
    way = choose(rng, tuple(WAYS))
    if kind == "recolour":
        way = choose(rng, colours)
    if kind == "camera" and rng.random() < 0.3:
        way = choose(rng, ("in", "out"))
    return _of_event(rng, Event(kind, 0.0, choose(rng, SHAPES), choose(rng, colours), way))


def condition(rng: Rng, turns: list[Turn], number: int | None = None) -> Condition | None:
    """Something to wait for: what comes true at turn `number` or, without one, in the stream
    somewhere or nowhere."""
    form = rng.random()
    if form < 0.06:
        wanted = int(rng.integers(1, 5))
        if number is not None and rng.random() < 0.5:
            wanted = max(1, len(turns[number].state.things))
        text = choose(rng, COUNT).format(n=NUMBERS[wanted])
        if wanted == 1:
            text = choose(rng, ("there is one thing", "you see one object"))
        return Condition(text, "number", number=wanted)
    if form < 0.12:
        return Condition(choose(rng, ANY), "any", "any")
    chosen = turns if number is None else [turns[number]]
    events = [event for turn in chosen for event in turn.events]
    if number is not None and turns[number].fresh and number > 0:
        events.append(Event("scene", float(number)))
    if events and form < (0.75 if number is None else 0.95):
        return _of_event(rng, events[int(rng.integers(len(events)))])
    things = [thing for turn in chosen for thing in turn.state.things if thing.shape != SOMETHING]
    if things and form < 0.85:
        thing = things[int(rng.integers(len(things)))]
        moves = thing.way not in ("", "still") and rng.random() < 0.6
        event = Event("move" if moves else "appear", 0.0, thing.shape, thing.colour, thing.way)
        return _of_event(rng, event)
    return _random(rng)


def near_miss(rng: Rng, turns: list[Turn], number: int) -> Condition | None:
    """Something to wait for that differs in one thing from what happens at a turn, or a second or
    two before it; or that would be wrong of a thing that is there."""
    recent = [event for turn in turns[max(0, number - 2) : number + 1] for event in turn.events]
    things = [t for t in turns[number].state.things if t.shape != SOMETHING]
    if recent and (rng.random() < 0.6 or not things):
        event = recent[int(rng.integers(len(recent)))]
    elif things:
        thing = things[int(rng.integers(len(things)))]
        kind = choose(rng, ("move", "stop", "vanish", "recolour", "appear", "appear", "appear"))
        way = choose(rng, tuple(COLOURS) if kind == "recolour" else tuple(WAYS))
        shape, colour = thing.shape, thing.colour
        if kind == "appear":
            other = rng.random() < 0.5
            shape = choose(rng, SHAPES) if other else shape
            colour = colour if other else choose(rng, tuple(COLOURS))
        return _of_event(rng, Event(kind, 0.0, shape, colour, way))
    else:
        return None
    form = int(rng.integers(4))
    if form == 0 and event.shape:
        event = replace(event, shape=choose(rng, SHAPES))
    elif form == 1 and event.colour:
        event = replace(event, colour=choose(rng, tuple(COLOURS)))
    elif form == 2 and event.way:
        ways = COLOURS if event.way in COLOURS else WAYS
        event = replace(event, way=choose(rng, tuple(ways)))
    elif event.shape:
        kind = choose(rng, ("appear", "vanish", "move", "stop", "recolour"))
        way = choose(rng, tuple(COLOURS) if kind == "recolour" else tuple(WAYS))
        event = replace(event, kind=kind, way=way)
    return _of_event(rng, event)
