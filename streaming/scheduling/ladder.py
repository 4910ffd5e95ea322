"""Rungs that a viewer sees as a change: down at once when the load asks for it, up with patience.

Efforts with the same picture size and rate form a group: within one the planner chooses for every
chunk anew. Between groups a session moves as a whole, because a change is visible and costs a new
cache; that is decided here, by the load that lasts and not by the chunks of the moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .tasks import Profile

GOOD_CHUNKS = 20
"""Chunks in a row, done with `GOOD_SLACK` of a period to spare, before a step up."""
GOOD_SLACK = 0.25
DWELL_S = 2.0
"""Least time between two steps up: a change of size fills its cache anew."""


def groups_of(profile: Profile) -> tuple[tuple[int, ...], ...]:
    """The indices of the profile's efforts, those that differ in no visible way together."""
    groups: list[list[int]] = []
    for index, effort in enumerate(profile.efforts):
        look = effort.scale, effort.rate
        before = profile.efforts[groups[-1][-1]] if groups else None
        if before is not None and look == (before.scale, before.rate):
            groups[-1].append(index)
        else:
            groups.append([index])
    return tuple(tuple(group) for group in groups)


@dataclass(slots=True)
class Rung:
    """Where one session stands among positions 0 (the best) to `last`.

    Attributes:
        position: the present one.
        last: the lowest.
        good: good chunks in a row.
        since: when it last moved.
    """

    last: int
    position: int = 0
    good: int = 0
    since: float = field(default=float("-inf"))

    def down(self, now: float) -> None:
        """One step, at once."""
        assert self.position < self.last, "there is nothing below the last rung"
        self.position += 1
        self.good, self.since = 0, now

    def rested(self, now: float) -> bool:
        """Whether the last move is long enough ago for a step up."""
        return now - self.since >= DWELL_S

    def up(self, now: float) -> None:
        """One step; the next one has to be earned anew."""
        self.position -= 1
        self.good, self.since = 0, now

    def done(self, slack: float, period: float) -> None:
        """A chunk was done `slack` seconds before it was due."""
        self.good = self.good + 1 if slack > GOOD_SLACK * period else 0


@dataclass(slots=True)
class Shown:
    """The effort that a viewer is told of: the worst of late, so the words do not flicker."""

    effort: int = 0
    _run: int = 0
    _worst: int = 0

    def note(self, effort: int) -> None:
        """A chunk was made with this effort."""
        if effort >= self.effort:
            self.effort, self._run, self._worst = effort, 0, 0
            return
        self._run += 1
        self._worst = max(self._worst, effort)
        if self._run >= GOOD_CHUNKS:
            self.effort, self._run, self._worst = self._worst, 0, 0


def reason_of(rung: int, sessions: int) -> str:
    """Why a session is not on its first rung, for its viewer; empty when it is."""
    if not rung:
        return ""
    if sessions > 1:
        return f"{sessions} viewers share this device"
    return "the device is slower than the source"
