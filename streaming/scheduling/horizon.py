"""The look ahead: what each waiting and coming chunk can be, so that all are done in time.

Chunks are run through in the order in which they are due. Where one would come too late, the step
down the menus that loses least for each second that it saves is taken, among the chunks before it
that keep the device busy; then the next cheapest, until it fits. With menus whose prices rise this
is the best mixture, as in filling a hull with water.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from .menu import Menu
from .tasks import Task

GUARD_S = 0.010
"""Kept free before the deadline of what has not been released yet."""
EPSILON = 1e-9


@dataclass(slots=True)
class Part:
    """One chunk in the look ahead, or several that are launched as one.

    Attributes:
        release: when it can start.
        due: when it must be done.
        menu: the choices.
        worth: factor of the menu's prices.
        task: None while it is only expected.
        choice: the one taken from the menu.
        sure: it is made whatever happens; not to make it is no choice.
    """

    release: float
    due: float
    menu: Menu
    worth: float
    task: Task | None = None
    session: str = ""
    choice: int = 0
    sure: bool = False

    @property
    def made(self) -> bool:
        return self.choice < self.menu.nothing

    @property
    def lowest(self) -> int:
        return self.menu.nothing - self.sure


@dataclass(slots=True)
class Filled:
    """The outcome.

    Attributes:
        lost: worth that the steps down cost.
        end: when the last part is done.
        price: of the dearest step that was taken, 0 when there was enough for all.
    """

    lost: float = 0.0
    end: float = 0.0
    price: float = 0.0


def fill(now: float, parts: Sequence[Part]) -> Filled:
    """Choose from the menus, in place, until every part that is made is done when it is due.

    Args:
        parts: in the order of the launches.
    """
    outcome = Filled()
    steps: list[tuple[float, int]] = []
    time, first, began = now, 0, now
    for number, part in enumerate(parts):
        if part.release > time:
            # The device idles before this one: nothing earlier can help any more.
            time = began = part.release
            first = number
            steps.clear()
        time += part.menu.costs[part.choice]
        if part.choice < part.lowest:
            heapq.heappush(steps, (part.worth * part.menu.prices[part.choice], number))
        while time > part.due + EPSILON and steps and part.made:
            _lower(parts, steps, first, time - part.due, outcome)
            time, first, began = _again(parts, first, number, began)
    outcome.end = time
    return outcome


def _lower(
    parts: Sequence[Part], steps: list[tuple[float, int]], first: int, excess: float, out: Filled
) -> None:
    """Take the cheapest steps until `excess` seconds are saved or none is left."""
    while steps and excess > EPSILON:
        price, number = heapq.heappop(steps)
        if number < first:
            continue
        part = parts[number]
        saved = part.menu.costs[part.choice] - part.menu.costs[part.choice + 1]
        part.choice += 1
        excess -= saved
        out.lost += price * saved
        out.price = max(out.price, price)
        if part.choice < part.lowest:
            heapq.heappush(steps, (part.worth * part.menu.prices[part.choice], number))


def _again(parts: Sequence[Part], first: int, last: int, began: float) -> tuple[float, int, float]:
    """Run through the busy time once more: (end of `last`, first part after an idle time, its
    start); steps down may have opened a gap."""
    time = began
    for number in range(first, last + 1):
        part = parts[number]
        if part.release > time:
            time = began = part.release
            first = number
        time += part.menu.costs[part.choice]
    return time, first, began


def in_time(now: float, parts: Sequence[Part]) -> bool:
    """Whether everything that is made is done when it is due, with the choices as they are."""
    time = now
    for part in parts:
        time = max(time, part.release) + part.menu.costs[part.choice]
        if time > part.due + EPSILON and part.made:
            return False
    return True
