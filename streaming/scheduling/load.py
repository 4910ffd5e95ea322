"""The load that lasts: how much of the device the sessions take at the least, and who steps down a
visible rung when that is too much."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .desk import Desk, Seat
from .ladder import GOOD_CHUNKS, Rung, Shown
from .quotes import TYPICAL, row_of
from .tasks import Profile

DOWN_ABOVE = 1.0
"""Share of the device that the present rungs may take at their cheapest effort."""
UP_BELOW = 0.95
"""The same after a step up; far enough below that it is not taken back at once."""
REVIEW_S = 0.25
CLEARLY_MORE = 2.0
"""Ratio of two sessions' worths from which on they change places (see `Fairness.worth`)."""
ROWS = 1, 2, 4, 8
"""Rows of a launch; few numbers, since devices may prepare a program for each."""
SERVICE_RANK = {"best-effort": 0, "standard": 1, "guaranteed": 2}


@dataclass(slots=True)
class Place:
    """A session's place on its ladder.

    Attributes:
        groups: efforts that differ in no visible way; a best-effort session has an empty one at
            the end: suspended.
        rung: which of the groups is in use.
        shown: what the viewer is told.
        owed: chunks, or a part of one, that a rung of lower rate lets through.
        rests: whether the newest chunk is one that it does not let through.
    """

    groups: tuple[tuple[int, ...], ...]
    rung: Rung
    shown: Shown = field(default_factory=Shown)
    owed: float = 0.0
    rests: bool = False

    @classmethod
    def of(cls, profile: Profile, groups: tuple[tuple[int, ...], ...]) -> Place:
        """A new place, on the first of these groups."""
        if profile.service == "best-effort":
            groups = (*groups, ())
        return cls(groups, Rung(len(groups) - 1))

    @property
    def group(self) -> tuple[int, ...]:
        return self.groups[self.rung.position]

    def came(self, profile: Profile) -> None:
        """A chunk was released: is it one that this rung makes?"""
        rate = profile.efforts[self.group[0]].rate if self.group else 1.0
        self.owed = min(1.0, self.owed + rate)
        self.rests = self.owed < 1.0
        if not self.rests:
            self.owed -= 1.0


def batch_of(alike: int, profile: Profile) -> int:
    """Rows that a launch is likely to have when `alike` sessions like this one are there: those
    that are released while one of them waits, half of its deadline on average."""
    together = alike * min(1.0, profile.deadline / (2 * profile.period))
    return next((rows for rows in reversed(ROWS) if rows <= together), 1)


class SteadyLoad:
    """Moves sessions between groups of efforts.

    Args:
        places: by session; shared with the policy.
        worth: of a session's chunks against others' (see `Fairness.worth`).
    """

    def __init__(
        self,
        places: Mapping[str, Place],
        worth: Callable[[Seat], float],
        down_above: float = DOWN_ABOVE,
        up_below: float = UP_BELOW,
    ) -> None:
        self._places = places
        self._worth = worth
        self._down_above = down_above
        self._up_below = up_below
        self._reviewed = float("-inf")

    def review(
        self,
        now: float,
        desk: Desk,
        seats: Sequence[Seat],
        usual_rows: Mapping[str, int] | None = None,
        pressed: bool = True,
    ) -> None:
        """Step sessions down until the cheapest efforts fit, or one of them up.

        Args:
            seats: those that send chunks at present.
            usual_rows: that launches of each of them have; None where every chunk goes alone.
            pressed: whether chunks had to give way to others of late. The load is an estimate, and
                while nobody loses anything by it nobody steps down.
        """
        if now - self._reviewed < REVIEW_S:
            return
        self._reviewed = now
        rows = usual_rows or dict.fromkeys((seat.profile.session for seat in seats), 1)
        total = sum(self._share(desk, seat, rows, 0) for seat in seats)
        if total > self._down_above:
            if pressed:
                self._down(now, desk, seats, rows, total)
        else:
            self._up(now, desk, seats, rows, total)

    def _down(
        self,
        now: float,
        desk: Desk,
        seats: Sequence[Seat],
        rows: Mapping[str, int],
        total: float,
    ) -> None:
        victims = [(self._first_to_yield(seat), n) for n, seat in enumerate(seats)]
        heapq.heapify(victims)
        while victims and total > self._down_above:
            _, number = heapq.heappop(victims)
            seat = seats[number]
            rung = self._places[seat.profile.session].rung
            if rung.position == rung.last:
                continue
            total += self._share(desk, seat, rows, 1) - self._share(desk, seat, rows, 0)
            rung.down(now)
            heapq.heappush(victims, (self._first_to_yield(seat), number))

    def _up(
        self,
        now: float,
        desk: Desk,
        seats: Sequence[Seat],
        rows: Mapping[str, int],
        total: float,
    ) -> None:
        for seat in sorted(seats, key=self._first_to_yield, reverse=True):
            rung = self._places[seat.profile.session].rung
            if rung.position == 0 or not rung.rested(now):
                continue
            more = self._share(desk, seat, rows, -1) - self._share(desk, seat, rows, 0)
            if total + more <= self._up_below and rung.good >= GOOD_CHUNKS:
                rung.up(now)
                return
            other = self._change_with(now, seat, seats)
            if other is not None:
                self._places[other.profile.session].rung.down(now)
                rung.up(now)
                return

    def _change_with(self, now: float, seat: Seat, seats: Sequence[Seat]) -> Seat | None:
        """Somebody of the same class who has had clearly more and stands higher, if there is one:
        when not all can, they take turns."""
        position = self._places[seat.profile.session].rung.position
        others = [
            other
            for other in seats
            if other.profile.service == seat.profile.service
            and self._places[other.profile.session].rung.position < position
            and self._places[other.profile.session].rung.rested(now)
            and self._worth(other) * CLEARLY_MORE < self._worth(seat)
        ]
        return min(others, key=self._worth, default=None)

    def _first_to_yield(self, seat: Seat) -> tuple[int, int, float]:
        place = self._places[seat.profile.session]
        return SERVICE_RANK[seat.profile.service], place.rung.position, self._worth(seat)

    def _share(self, desk: Desk, seat: Seat, rows: Mapping[str, int], step: int) -> float:
        """Share of the device of a session at its cheapest effort, `step` groups further down."""
        profile = seat.profile
        place = self._places[profile.session]
        group = place.groups[place.rung.position + step]
        if not group:
            return 0.0
        effort = profile.efforts[group[-1]]
        seconds = desk.quotes.each(row_of(profile, effort), rows[profile.session], TYPICAL)
        return seat.activity * effort.rate * seconds / profile.period
