"""The look ahead: what each waiting and coming chunk can be, so that all are done in time.

Chunks are run through in the order in which they are due. Where one would come too late, the step
down the menus that loses least for each second that it saves is taken, among the chunks before it
that keep the device busy; then the next cheapest, until it fits. With menus whose prices rise this
is the best mixture, as in filling a hull with water.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace

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
    """Choose anew from the menus until every part that is made is done when it is due.

    Args:
        parts: in the order of the launches.
    """
    outcome = Filled()
    steps: list[tuple[float, int]] = []
    # Plain variables: this loop is most of what a plan costs.
    end, room, busy = now, math.inf, _Busy(now, 0, now)
    for number, part in enumerate(parts):
        menu, release = part.menu, part.release
        part.choice = 0
        if release > now:
            wait = end - release
            if wait < 0:
                # The device idles before this one: nothing earlier can help any more.
                end, room, busy = release, math.inf, _Busy(release, number, release)
                steps.clear()
            elif wait < room:
                room = wait
        end += menu.costs[0]
        if menu.nothing > part.sure:
            heappush(steps, (part.worth * menu.prices[0], number))
        limit = part.due + EPSILON
        while end > limit and steps and part.choice < menu.nothing:
            saved = _lower(parts, steps, busy.first, part, end - part.due, outcome)
            end -= saved
            room -= saved
            if room < 0:
                busy = _again(now, parts, busy, number)
                end, room = busy.end, busy.room
    outcome.end = end
    return outcome


@dataclass(slots=True)
class _Busy:
    """A time in which the device never idles.

    Attributes:
        began: when.
        first: the part that it began with.
        end: of the last part so far.
        room: seconds by which its parts can move forward without a gap, at the least: none of
            those that are still to be released may start before that.
    """

    began: float
    first: int
    end: float
    room: float = math.inf


def _lower(
    parts: Sequence[Part],
    steps: list[tuple[float, int]],
    first: int,
    late: Part,
    excess: float,
    out: Filled,
) -> float:
    """Take the cheapest steps until `excess` seconds are saved, the late part is given up, or no
    step is left; the seconds."""
    total, enough, nothing = 0.0, excess - EPSILON, late.menu.nothing
    while steps and total < enough and late.choice < nothing:
        price, number = steps[0]
        part = parts[number]
        menu, choice = part.menu, part.choice + 1
        if number >= first:
            saved = menu.costs[choice - 1] - menu.costs[choice]
            part.choice = choice
            total += saved
            out.lost += price * saved
            if price > out.price:
                out.price = price
            if choice < menu.nothing - part.sure:
                heapreplace(steps, (part.worth * menu.prices[choice], number))
                continue
        heappop(steps)
    return total


def _again(now: float, parts: Sequence[Part], busy: _Busy, last: int) -> _Busy:
    """Run through a busy time once more; steps down may have opened a gap in it."""
    again = _Busy(busy.began, busy.first, busy.began)
    for number in range(busy.first, last + 1):
        part = parts[number]
        wait = again.end - part.release
        if wait < 0:
            again = _Busy(part.release, number, part.release)
        elif part.release > now and number > again.first and wait < again.room:
            again.room = wait
        again.end += part.menu.costs[part.choice]
    return again


def in_time(now: float, parts: Sequence[Part]) -> bool:
    """Whether everything that is made is done when it is due, with the choices as they are."""
    time = now
    for part in parts:
        time = max(time, part.release) + part.menu.costs[part.choice]
        if time > part.due + EPSILON and part.made:
            return False
    return True


def due_of(part: Part) -> float:
    """For sorting."""
    return part.due
