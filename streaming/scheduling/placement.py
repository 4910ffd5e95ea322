"""Which device a session belongs on, and when one should move: pure, time is an argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from .tasks import ServiceClass

Device = TypeVar("Device")

UNEVEN = 0.25
"""Difference of two devices' loads that is worth a move."""
LASTING_S = 5.0
"""How long it must have been so."""
REST_S = 5.0
"""Between two moves to or from a device."""
RANK: Mapping[ServiceClass, int] = {"best-effort": 0, "standard": 1, "guaranteed": 2}


@dataclass(frozen=True, slots=True)
class Offer:
    """A device that would take a session.

    Attributes:
        share: of the device that would be claimed with it.
        prompts: sessions there that have the same prompt, whose embedding it would share.
        sessions: there at all; decides where nothing is known of the costs yet.
    """

    share: float
    prompts: int = 0
    sessions: int = 0


def best(offers: Mapping[Device, Offer], even: bool = True) -> Device | None:
    """The device for a newcomer; ties, up to a tenth of a device, go to where its prompt is known
    already.

    Args:
        even: take the emptiest, so that everyone gets the most quality; otherwise best fit, the
            fullest that has room, which keeps others free for large sessions.
    """
    sign = 1 if even else -1
    ranked = sorted(
        offers.items(),
        key=lambda item: (round(sign * item[1].share, 1), -item[1].prompts, item[1].sessions),
    )
    return ranked[0][0] if ranked else None


@dataclass(frozen=True, slots=True)
class Movable:
    """A session that could move.

    Attributes:
        id: its name.
        share: of its device that it takes.
        state_bytes: what has to be carried.
    """

    id: str
    share: float
    state_bytes: int
    service: ServiceClass = "standard"


@dataclass
class Balance:
    """When load lies so unevenly, for so long, that a session should move."""

    _uneven_since: float | None = None
    _rests_until: dict[str, float] = field(default_factory=dict)

    def move(
        self, now: float, loads: Mapping[str, Sequence[Movable]], busy: Mapping[str, float]
    ) -> tuple[str, str] | None:
        """(session, device to move it to), or None to leave all as it is.

        Args:
            loads: what could move, by device.
            busy: share of each device's time that is claimed.
        """
        if len(busy) < 2:
            return None
        full, idle = max(busy, key=lambda d: busy[d]), min(busy, key=lambda d: busy[d])
        gap = busy[full] - busy[idle]
        if gap <= UNEVEN:
            self._uneven_since = None
            return None
        if self._uneven_since is None:
            self._uneven_since = now
        resting = max(self._rests_until.get(full, now), self._rests_until.get(idle, now))
        if now - self._uneven_since < LASTING_S or resting > now:
            return None
        # A session that would only turn the tables stays; best-effort first, then the lightest.
        candidates = [one for one in loads.get(full, ()) if 0.0 < one.share < gap]
        if not candidates:
            return None
        chosen = min(candidates, key=lambda one: (RANK[one.service], one.state_bytes, one.id))
        self._uneven_since = None
        self._rests_until |= {full: now + REST_S, idle: now + REST_S}
        return chosen.id, idle
