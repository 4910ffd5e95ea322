"""What lies ahead: the chunks that wait and those that are to be expected, with their menus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from .desk import Desk, Seat
from .horizon import GUARD_S, Part
from .load import Place, batch_of
from .menu import Menu, menu_of
from .tasks import Profile, Task

MOST_AHEAD_S = 0.5
"""How far the look ahead goes at most; else to the next chunk of the slowest session."""
IN_THE_BUSH = 0.97
"""Worth of a chunk that is only expected against one that is there: if both were worth the same,
the present one could be given up again and again for the next."""
PARTS = 16
"""Steps in which the share of chunks that show something new is told apart."""
SPARE_S = 0.004
"""Planned to be left before the deadline of what waits; costs are never known exactly."""
RELAXED = 1.25
"""Deadlines that the cheapest effort cannot meet are put off to this many times what it takes."""


class Outlook:
    """Builds the parts of a look ahead; remembers menus while the costs stay.

    Args:
        places: of the sessions on their ladders.
    """

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places
        self._kinds: dict[str, int] = {}
        self._numbers: dict[object, int] = {}
        self._menus: dict[tuple[int, int, int, bool, int], Menu] = {}
        self._version = -1

    def joined(self, profile: Profile) -> bool:
        """Note a session's kind; True when it is new or another one than before."""
        kind = profile.shape, profile.efforts, profile.passes, profile.service == "best-effort"
        number = self._numbers.setdefault(kind, len(self._numbers))
        before = self._kinds.get(profile.session)
        self._kinds[profile.session] = number
        return before != number

    def left(self, session: str) -> None:
        del self._kinds[session]

    def usual_rows(self, asking: Sequence[Seat]) -> dict[str, int]:
        """For each session that sends chunks, the rows that its launches are likely to have."""
        kinds = [self._kinds[seat.profile.session] for seat in asking]
        counts, known = Counter(kinds), dict[int, int]()
        rows = {}
        for seat, kind in zip(asking, kinds, strict=True):
            if kind not in known:
                known[kind] = batch_of(counts[kind], seat.profile)
            rows[seat.profile.session] = known[kind]
        return rows

    def together(self, one: str, other: str) -> bool:
        """Whether chunks of two sessions can go in one launch: same kind, same picture size."""
        same = self._kinds[one] == self._kinds[other]
        return same and self._places[one].rung.position == self._places[other].rung.position

    def menu(
        self, desk: Desk, session: str, rows: int, alone: bool = False, parts: int = PARTS
    ) -> Menu:
        """See `menu_of`; of the session's present group, for `parts` of `PARTS` chunks."""
        if self._version != desk.quotes.version:
            self._menus.clear()
            self._version = desk.quotes.version
        place = self._places[session]
        key = self._kinds[session], place.rung.position, rows, alone, parts
        menu = self._menus.get(key)
        if menu is None:
            profile = desk.seats[session].profile
            whole = menu_of(desk.quotes, profile, place.group, rows, alone=alone)
            menu = self._menus[key] = whole.scaled(parts / PARTS)
        return menu

    def due(self, desk: Desk, task: Task) -> float:
        """When a chunk must be done: its deadline, or later where even the cheapest effort would
        miss that on an idle device. Such a viewer gets late pictures rather than none."""
        least = self.menu(desk, task.session, 1).costs[-2]
        return max(task.deadline, task.released + RELAXED * least)

    def waiting(
        self,
        desk: Desk,
        tasks: Sequence[Task],
        rows: Mapping[str, int],
        worths: Mapping[str, float],
    ) -> list[Part]:
        """The chunks that wait, in the order in which they are due.

        Args:
            rows: see `usual_rows`. Costs are those of one chunk out of so many, as for the chunks
                to come, so that both are judged alike.
            worths: of each session's chunks against others'.
        """
        parts = []
        for task in tasks:
            session = task.session
            menu = self.menu(desk, session, rows.get(session, 1), True)
            due = self.due(desk, task) - SPARE_S
            parts.append(Part(task.released, due, menu, worths[session], task, session))
        return parts

    def coming(
        self,
        now: float,
        desk: Desk,
        asking: Sequence[Seat],
        rows: Mapping[str, int],
        worths: Mapping[str, float],
    ) -> list[Part]:
        """The chunks to expect until the slowest session has sent its next one."""
        end = now + min(MOST_AHEAD_S, max(seat.profile.period for seat in asking))
        parts = []
        for seat in asking:
            profile = seat.profile
            session = profile.session
            group = self._places[session].group
            release = seat.next_release(now)
            if not group or release >= end:
                continue
            menu = self.menu(desk, session, rows[session], True, round(seat.activity * PARTS))
            worth = IN_THE_BUSH * worths[session]
            due = max(profile.deadline, RELAXED * menu.costs[-2]) - GUARD_S
            period = profile.period / profile.efforts[group[0]].rate
            while release < end:
                parts.append(Part(release, release + due, menu, worth, None, session))
                release += period
        return parts
