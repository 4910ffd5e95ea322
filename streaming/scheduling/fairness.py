"""Who has had how much: virtual time in two levels, users first, then the sessions of each.

After UWFQ (user-level weighted fair queueing). A user's tag grows by what its sessions were served,
divided by its weight; the virtual time of all is the mean of the tags, by weight. Whoever is ahead
of it gives way first when something has to give way.

What is divided is what the device makes: the quality of a chunk times the seconds that it shows, so
neither a faster camera nor chunks made with more effort than asked for count against a user. A
repeat of a picture that stood still takes nothing from anybody: it is neither served nor asked for,
and a user whose tabs show little has its share of the device for what moves in them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

LIMIT = 6.0
"""Most that a user is counted ahead or behind, in units of `SCALE`: neither debt nor credit grows
for ever while nobody wants the device (or one user wants little of it)."""
SCALE = 0.4
"""Seconds of service that make a user's chunks worth 1/e of another's. Small against the seconds
after which shares should be fair, large against a single chunk (some 10 to 70 ms)."""
LASTING_S = 20.0
"""Seconds in which a lag that stays is taken over by the lean. With a lag alone whoever wants much
keeps for ever the lead that holds it down, a fifteenth of its share of the first minute. Taken over
sooner, luck of the moment counts as well: at 5 s the simulator's mean quality is 2 % less."""
SILENCE_S = 1.0
"""A user whose sessions sent nothing new for so long is no longer waiting for its share. A still
chunk among others is shorter than that: what it leaves to others comes back with the next one."""


@dataclass(slots=True)
class Tag:
    """How far one user, or one session within its user, has come.

    Attributes:
        weight: of its share.
        lag: seconds of service by weight that it is ahead (positive) of the virtual time.
        lean: what it takes to hold it at its share; grows as long as there is a lag.
        heard: when it last asked for something.
    """

    weight: float = 1.0
    lag: float = 0.0
    lean: float = 0.0
    heard: float = -math.inf

    @property
    def pressure(self) -> float:
        """How much it has to give way, in seconds of service; within the limit."""
        most = LIMIT * SCALE
        return max(-most, min(most, self.lag + self.lean))


@dataclass(slots=True)
class Level:
    """Tags that share something among each other.

    Attributes:
        booked: when something was last served.
    """

    tags: dict[str, Tag] = field(default_factory=dict)
    booked: float = -math.inf

    def heard(self, now: float, name: str) -> None:
        """It asks for service. After a silence it starts at the virtual time: no credit is kept."""
        tag = self.tags[name]
        if now - tag.heard > SILENCE_S:
            tag.lag, tag.lean = max(0.0, tag.lag), max(0.0, tag.lean)
        tag.heard = now

    def book(self, now: float, name: str, amount: float) -> None:
        """It was served `amount` seconds: it moves ahead, the virtual time a little."""
        asking = [t for t in self.tags.values() if now - t.heard <= SILENCE_S]
        own = self.tags[name]
        total = sum(tag.weight for tag in asking)
        if not total:
            return
        for tag in asking:
            tag.lag -= amount / total
        own.lag += amount / own.weight
        most = LIMIT * SCALE
        lasted = min(now - self.booked, SILENCE_S) / LASTING_S
        self.booked = now
        for tag in asking:
            tag.lag = max(-most, min(most, tag.lag))
            tag.lean = max(-most, min(most, tag.lean + lasted * tag.lag))

    def forgive(self, share: float) -> None:
        """There was enough for all: what was served so far matters less."""
        for tag in self.tags.values():
            tag.lag *= 1.0 - share
            tag.lean *= 1.0 - share


class Fairness:
    """Both levels.

    Users that leave while they are ahead are remembered until the others have caught up, so that
    coming again is no way around it.
    """

    MOST_REMEMBERED = 256

    def __init__(self) -> None:
        self._users = Level()
        self._sessions: dict[str, Level] = {}
        self._gone: dict[str, Tag] = {}

    def join(self, now: float, user: str, session: str, weight: float) -> None:
        """A session of a user comes. Raises ValueError when the weight is not positive."""
        if not weight > 0:
            raise ValueError(f"a weight must be above 0; user {user!r} has {weight}")
        if user not in self._users.tags:
            debt = self._gone.pop(user, Tag())
            self._users.tags[user] = Tag(lag=max(0.0, debt.lag))
            self._sessions[user] = Level()
        self._users.tags[user].weight = weight
        self._sessions[user].tags.setdefault(session, Tag())
        self.heard(now, user, session)

    def leave(self, user: str, session: str) -> None:
        """A session of a user goes."""
        own = self._sessions[user]
        del own.tags[session]
        if not own.tags:
            del self._sessions[user]
            self._gone[user] = self._users.tags.pop(user)
            if len(self._gone) > self.MOST_REMEMBERED:
                self._gone.pop(next(iter(self._gone)))

    def heard(self, now: float, user: str, session: str) -> None:
        """A chunk of this session was released."""
        self._users.heard(now, user)
        self._sessions[user].heard(now, session)

    def book(self, now: float, user: str, session: str, amount: float) -> None:
        """A chunk was made: `amount` is its quality times the seconds that it shows."""
        self._users.book(now, user, amount)
        self._sessions[user].book(now, session, amount)

    def forgive(self, share: float) -> None:
        """Nobody had to give way just now."""
        self._users.forgive(share)
        for level in self._sessions.values():
            level.forgive(share)
        for tag in self._gone.values():
            tag.lag *= 1.0 - share

    def lag(self, user: str) -> float:
        """Seconds of service, by weight, that a user is ahead of the others."""
        return self._users.tags[user].lag

    def worth(self, user: str, session: str) -> float:
        """What this session's chunks count against others': 1 at its share, less ahead of it.

        The exponential makes it a control by lag and lean, that is by what was served so far and
        by how long that has been uneven: they grow until the difference in worth is as large as it
        must be for equal service, whatever the ladders are like, and then the lag is paid back.
        """
        return math.exp(
            -(self._users.tags[user].pressure + self._sessions[user].tags[session].pressure) / SCALE
        )
