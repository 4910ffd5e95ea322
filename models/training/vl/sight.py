"""When the pictures of a look are taken, and which events it is the one to see."""

from __future__ import annotations

import numpy as np

from .world import Array, Event, Stream, picture

BETWEEN = 0.5
"""Seconds between two pictures of a look."""
STEPS = (-1.0, -0.5, 0.0, 0.5)
"""When its pictures are taken, from the second that it is called after; the first two are those
that the look before ended with."""
LATE = {"move": 0.25, "stop": 0.25, "camera": 0.25, "camera stop": 0.25}
"""What begins up to this long after that second is seen in the look; half a second otherwise."""
DOUBT = 0.06
"""Seconds by which an event may as well belong to the look before or after."""


def pictures(stream: Stream, time: float) -> Array:
    """The pictures of the look of that second, float32 [4, H, W, 3]. Before the beginning of a
    stream nothing was seen: its first picture stands in."""
    return np.stack([picture(stream, max(0.0, time + step)) for step in STEPS])


def watch(stream: Stream, first: int, stop: int) -> Array:
    """The looks of seconds `first` .. `stop` - 1, float32 [looks, 4, H, W, 3]; they overlap."""
    halves = [max(0.0, 0.5 * index) for index in range(2 * first - 2, 2 * stop)]
    drawn = {when: picture(stream, when) for when in halves}
    return np.stack(
        [np.stack([drawn[max(0.0, n + step)] for step in STEPS]) for n in range(first, stop)]
    )


def late(event: Event) -> float:
    """How long after a look's second an event of that kind may come to be seen in it."""
    return LATE.get(event.kind, BETWEEN)


def recent(event: Event, time: float) -> bool | None:
    """Whether the look of second `time` is the one that sees an event; None where in doubt."""
    after = event.time - late(event)
    if min(abs(after - time), abs(after + 1 - time)) < DOUBT:
        return None
    return after < time <= after + 1
