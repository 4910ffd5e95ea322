"""What a well-behaved client does, and when one that does not is told or cut off.

Pure: time is an argument. None of it is needed to keep others from harm (every queue is bounded
anyway); it is there so that a client learns why it gets less than it sends.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

RATE_SLACK = 1.25
"""Cameras are not exact: this many times the agreed rate is let through."""
BURST_S = 0.5
"""Pictures of this many seconds may come at once, as after a pause of the network."""
FAULTS, FAULTS_S = 50, 60.0
"""So many bad messages within so many seconds end a session."""
SILENCE_S = 5.0
"""Without a picture for so long a viewer is told that none comes."""
DEAF_S = 15.0
"""A client that takes nothing for so long has gone, whatever its connection says."""


@dataclass
class Rated:
    """Lets pictures through at an agreed rate, with some slack (token bucket).

    Args:
        fps: pictures a second that were agreed on.
    """

    fps: float
    _level: float = field(init=False)
    _last: float | None = None

    def __post_init__(self) -> None:
        self._level = self._most

    @property
    def _most(self) -> float:
        return max(2.0, BURST_S * RATE_SLACK * self.fps)

    def takes(self, now: float) -> bool:
        """Whether a picture that comes now is let through."""
        if self._last is not None:
            gained = (now - self._last) * RATE_SLACK * self.fps
            self._level = min(self._most, self._level + gained)
        self._last = now
        if self._level < 1.0:
            return False
        self._level -= 1.0
        return True


@dataclass
class Faults:
    """Counts what a client did wrong lately."""

    _times: deque[float] = field(default_factory=lambda: deque(maxlen=FAULTS))

    def another(self, now: float) -> bool:
        """True when it is one too many."""
        self._times.append(now)
        return len(self._times) == FAULTS and now - self._times[0] < FAULTS_S


@dataclass
class Silence:
    """Notices that pictures stop coming; said once each time."""

    _said: bool = False

    def noticed(self, now: float, last: float | None, paused: bool) -> bool:
        """Whether to say so now.

        Args:
            last: when the last picture came; None before the first one.
        """
        quiet = last is not None and not paused and now - last > SILENCE_S
        fresh = quiet and not self._said
        self._said = quiet
        return fresh


@dataclass
class Deafness:
    """Notices that a client takes nothing any longer.

    It is heard of when it reports what it received, or when what waits for it becomes less.
    """

    _heard: float | None = None
    _reports: int = 0
    _waiting: int = 0

    def lasts(self, now: float, reports: int, waiting: int) -> float:
        """Seconds since it last took something.

        Args:
            reports: how many reports on received packets have come in all.
            waiting: bytes of messages that it has not taken yet.
        """
        taking = reports > self._reports or waiting < self._waiting
        if self._heard is None or taking:
            self._heard = now
        self._reports, self._waiting = reports, waiting
        return now - self._heard
