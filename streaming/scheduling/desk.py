"""What the scheduler and its policies share: who is there, and what waits."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from .quotes import Quotes
from .tasks import Costs, Profile, Task

FIRST_ACTIVITY = 0.9
"""Before anything is known of a source; webcams show something new in most chunks, not in all."""
ACTIVITY_MEMORY = 0.05
"""Weight of the newest chunk in a session's share of chunks that show something new."""
SILENT_PERIODS, SILENT_S = 1.5, 0.1
"""A source that is late by more than this has stopped for now; nothing is kept free for it."""


@dataclass(slots=True)
class Seat:
    """One session at the desk.

    Attributes:
        queue: chunks that wait; one at most, unless the policy keeps all.
        released: when its last chunk came, None before the first.
        activity: share of its chunks that showed something new.
        effort: the rung that its last chunk was made at.
        reason: why that is not the first, empty when it is.
    """

    profile: Profile
    queue: deque[Task] = field(default_factory=deque)
    released: float | None = None
    activity: float = FIRST_ACTIVITY
    effort: int = 0
    reason: str = ""

    def came(self, task: Task) -> None:
        """Note a chunk that was just released."""
        self.released = task.released
        self.activity += ACTIVITY_MEMORY * ((not task.still) - self.activity)

    def asks(self, now: float) -> bool:
        """Whether chunks are still coming: the last one is not long ago."""
        if self.released is None:
            return False
        return now - self.released <= SILENT_PERIODS * self.profile.period + SILENT_S

    def next_release(self, now: float) -> float:
        """When its next chunk is to be expected, never in the past."""
        if self.released is None:
            return now
        return max(now, self.released + self.profile.period)


class Desk:
    """All sessions of one device, their waiting chunks, and what launches cost there."""

    def __init__(self, costs: Costs) -> None:
        self.seats: dict[str, Seat] = {}
        self.quotes = Quotes(costs)

    def waiting(self) -> list[Task]:
        """The oldest waiting chunk of each session, the one that is due first in front."""
        heads = [seat.queue[0] for seat in self.seats.values() if seat.queue]
        heads.sort(key=lambda task: (task.deadline, task.released, task.session))
        return heads

    def take(self, task: Task) -> None:
        """This chunk is launched or held: it waits no longer."""
        self.seats[task.session].queue.remove(task)
