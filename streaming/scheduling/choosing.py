"""Which chunks are launched next, how many together, and with how much effort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .desk import Desk
from .horizon import Filled, Part, due_of, fill
from .load import ROWS
from .outlook import SPARE_S, Outlook
from .tasks import Task

PARTNER_S = 0.005
"""Longest wait for a partner."""
FILLER_WORTH = 0.2
"""Worth against that of the chunks to come below which a chunk is not even made in between: its
user has had so much more than the others that the device is better kept for them."""
IDLE_PRICE = 0.001
"""What a second of the device is worth when nothing is short of it: next to nothing, so that of
plans that lose nothing the one that is done sooner wins, which is mostly the larger batch."""
TRUST = 0.2
"""Weight of the newest price of device time in its average."""


@dataclass(slots=True)
class Choice:
    """One way to go on: `launched` first, then what `filled` says about the rest."""

    rows: list[Part]
    launched: Part
    filled: Filled
    score: float


class Chooser:
    """Compares launches by the worth that is lost in the look ahead behind them.

    Args:
        outlook: where the menus come from.
    """

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self._price = 0.0
        self._deferred: Task | None = None

    def took(self, choice: Choice) -> None:
        """This is launched: note what device time is worth at present."""
        self._price += TRUST * (choice.filled.price - self._price)

    def choose(
        self, now: float, desk: Desk, queued: list[Part], coming: list[Part]
    ) -> Choice | None:
        """The best number of rows for the next launch, and their effort."""
        parts = sorted([*queued, *coming], key=due_of)
        fill(now, parts)
        made = [part for part in queued if part.made]
        if not made:
            return self._filler(now, desk, queued, coming, parts)
        friends = [p for p in made if self._outlook.together(made[0].session, p.session)]
        best: Choice | None = None
        usual = made[0].choice
        for count in (rows for rows in reversed(ROWS) if rows <= len(friends)):
            choice = self._together(now, desk, friends[:count], parts)
            if choice is None:
                continue
            if best is not None and choice.score > best.score:
                # Fewer still are hardly better, and looking takes time.
                break
            best = choice
            if choice.filled.price and choice.launched.choice <= usual:
                # Time is scarce, and the most rows there are do not even need less effort.
                break
        return best or self._filler(now, desk, queued, coming, parts)

    def _filler(
        self,
        now: float,
        desk: Desk,
        queued: list[Part],
        coming: list[Part],
        parts: Sequence[Part],
    ) -> Choice | None:
        """The device would be kept free for chunks to come that are worth more. What can be made
        without missing one of them is made: the one of those that wait that is worth most."""
        fill(now, parts)
        latest = [part.due - part.menu.costs[part.choice] for part in coming if part.made]
        free = min(latest, default=float("inf"))
        least = FILLER_WORTH * max((part.worth for part in coming if part.made), default=0.0)
        for part in sorted(queued, key=lambda part: -part.worth):
            if part.worth < least:
                return None
            menu = self._outlook.menu(desk, part.session, 1)
            until = min(part.due, free)
            fits = (n for n in range(menu.nothing) if now + menu.costs[n] <= until)
            choice = next(fits, None)
            if choice is not None:
                launched = Part(now, until, menu, part.worth, choice=choice)
                return Choice([part], launched, Filled(price=self._price), 0.0)
        return None

    def _together(
        self, now: float, desk: Desk, rows: list[Part], parts: Sequence[Part]
    ) -> Choice | None:
        """The look ahead with these rows launched as one."""
        launched = Part(
            release=now,
            due=min(part.due for part in rows),
            menu=self._outlook.menu(desk, rows[0].session, len(rows)),
            worth=sum(part.worth for part in rows) / len(rows),
            # Against chunks that are only expected it would lose again and again.
            sure=True,
        )
        taken = {id(part) for part in rows}
        filled = fill(now, [launched, *(part for part in parts if id(part) not in taken)])
        if now + launched.menu.costs[launched.choice] > launched.due + SPARE_S:
            return None
        return Choice(rows, launched, filled, self._score(filled, now))

    def _score(self, filled: Filled, now: float) -> float:
        """What a choice costs: the worth it loses, and the device time that it uses at the price
        that time has had of late."""
        return filled.lost + max(self._price, IDLE_PRICE) * (filled.end - now)

    def partner(
        self, now: float, desk: Desk, choice: Choice, coming: Sequence[Part]
    ) -> float | None:
        """When to look again for a second row, if waiting for it gets both done sooner on average
        than one after the other. None: launch now."""
        head = choice.rows[0]
        if len(choice.rows) > 1 or head.task is self._deferred:
            return None
        two = self._outlook.menu(desk, head.session, 2)
        if choice.launched.choice >= two.nothing:
            return None
        single = choice.launched.menu.costs[choice.launched.choice]
        double = two.costs[choice.launched.choice]
        for part in coming:
            wait = part.release - now
            if not 0 < wait <= PARTNER_S or not self._outlook.together(head.session, part.session):
                continue
            # Both done at wait + double, against single and twice that.
            if 2 * (wait + double) < 3 * single and head.due - now > 2 * double + wait:
                self._deferred = head.task
                return part.release
        return None
