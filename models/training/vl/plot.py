"""What of a recording a lesson tells, and what its memory holds after each turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .remembered import Memory, Told
from .telling import caption, event_words
from .truth import Turn
from .world import Event

Rng = np.random.Generator
VISION_TURNS, WORD_TURNS = 16, 100
STILL, EVERY = 2, 5
"""As the live path: still turns that are read after a change, and seconds after which one is read
however still it is."""
WISHED = 0.4
"""Share of lessons in which the viewer wishes to be told of one kind of events alone. With a share
of 0.06 the decoder learnt that there was a wish, and not which; of what happens most it learnt
first, so that wishes for it are the rarest."""
WISHES_DRAWN = {"motion": 0.24, "things": 0.08, "camera": 0.24, "light": 0.22, "color": 0.22}
LOST, WRONG, FALSE = 0.08, 0.04, 0.01
"""Shares of captions that are missing in the stream, tell of something else, or tell of nothing:
in use they are the model's own."""


@dataclass(frozen=True, slots=True)
class Plot:
    """Attributes:
    seconds: of the recording that are read, ascending.
    seen: how many of the newest have pictures.
    vision, text: turns that the window keeps.
    start: what is added to a second for its stamp; stamps begin anywhere.
    wish: of the viewer; empty mostly.
    """

    seconds: tuple[int, ...]
    seen: int
    vision: int = VISION_TURNS
    text: int = WORD_TURNS
    start: int = 0
    wish: str = ""

    @property
    def turns(self) -> int:
        return len(self.seconds)

    @property
    def first(self) -> int:
        """The first turn with pictures."""
        return self.turns - self.seen


def plot(rng: Rng, turns: list[Turn]) -> Plot:
    """A random piece of a recording: where it does not begin at the beginning, what was before has
    left the cache."""
    stop = int(rng.integers(12, len(turns) + 1))
    before = int(rng.integers(4, 60)) if rng.random() < 0.3 else 0
    pictures = int(rng.integers(14, 25))
    first = max(0, stop - pictures - before) if rng.random() < 0.85 else 0
    read = list(range(max(first, stop - 75), stop))
    if rng.random() < 0.3:
        read = lively(turns, read)
    vision, text = VISION_TURNS, WORD_TURNS
    form = rng.random()
    if form > 0.85:
        vision = text = int(rng.integers(3, 7))
    elif form > 0.75:
        vision = int(rng.integers(2, 17))
    start = int(rng.integers(0, 1000)) if rng.random() < 0.8 else 0
    drawn = str(rng.choice(list(WISHES_DRAWN), p=list(WISHES_DRAWN.values())))
    wish = drawn if rng.random() < WISHED else ""
    return Plot(tuple(read), min(len(read), pictures), vision, text, start, wish)


def lively(turns: list[Turn], read: list[int]) -> list[int]:
    """Of these seconds those that the live path reads: still pictures are left out."""
    found: list[int] = []
    still = 0
    for number in read:
        turn, last = turns[number], turns[max(0, number - 1)]
        calm = not turn.events and not turn.fresh and turn.state == last.state
        calm = calm and turn.state.camera == "still"
        calm = calm and all(thing.way == "still" for thing in turn.state.things)
        still = still + 1 if calm else 0
        if still <= STILL or not found or number - found[-1] >= EVERY:
            found.append(number)
    return found


def tell_of(rng: Rng | None, turns: list[Turn], plan: Plot) -> Told:
    """The turns that are read with what is true and what is said of each; no faults and no variety
    without `rng`."""
    own = [turns[second] for second in plan.seconds]
    true = [
        caption(turn, second == 0, rng, plan.wish)
        for turn, second in zip(own, plan.seconds, strict=True)
    ]
    said = list(true)
    for index in range(len(said) if rng is not None else 0):
        assert rng is not None
        form = rng.random()
        if true[index] and form < LOST:
            said[index] = ""
        elif (true[index] and form < LOST + WRONG) or form < FALSE:
            said[index] = _other(rng, own)
    return Told(own, list(plan.seconds), true, said)


def _other(rng: Rng, turns: list[Turn]) -> str:
    """A caption of something that happened at another time."""
    events: list[Event] = [event for turn in turns for event in turn.events]
    return event_words(events[int(rng.integers(len(events)))], rng) if events else ""


def window(rng: Rng, plan: Plot, turn: int) -> Memory:
    """What the window holds after a turn, sometimes with holes, sometimes little."""
    index = np.arange(plan.turns)
    there: NDArray[np.bool_] = index <= turn
    text = there & (turn - index < plan.text)
    pictures = there & (turn - index < plan.vision) & (index >= plan.first)
    form = rng.random()
    if form < 0.1:
        pictures &= (rng.random(plan.turns) > 0.4) | (index == turn)
    elif form < 0.15:
        text &= (rng.random(plan.turns) > 0.25) | (index == turn)
        pictures &= text
    elif form < 0.5:
        # With few pictures it is found sooner where to look.
        pictures &= turn - index < int(rng.integers(1, 5))
        text &= pictures | (rng.random() < 0.5)
    elif form < 0.6:
        # What a memory finds for a question comes back in its place.
        pictures |= text & (rng.random(plan.turns) < 0.3) & (index >= plan.first)
    return Memory(text, pictures, text)


def unsaid(rng: Rng, memory: Memory, turn: int, share: float = 0.5) -> Memory:
    """Now and then without what was just said, so that the pictures have to be looked at."""
    if rng.random() > share:
        return memory
    said = memory.said.copy()
    said[turn] = False
    return Memory(memory.words, memory.pictures, said)


def focused(rng: Rng, plan: Plot, span: tuple[float, float], turn: int) -> Memory:
    """What `models.vl.memory.focus` leaves of a stream for a question about `span`; now and then
    without the words, so that pictures are looked at."""
    seconds = np.array(plan.seconds)
    index = np.arange(plan.turns)
    there = (seconds >= span[0] - 0.5) & (seconds <= span[1] + 0.5) & (index <= turn)
    before = np.flatnonzero((seconds < span[0] - 0.5) & (index <= turn))
    there[before[-1:]] = True
    pictures = there & (index >= plan.first)
    if rng.random() < 0.05:
        pictures &= False
    said = there & (rng.random(plan.turns) > (0.15 if pictures.any() else 0.0))
    return Memory(there, pictures, said)
