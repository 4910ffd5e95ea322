"""Whether a device has room for one more session: pure, from costs that were measured.

Three tests in turn: memory, utilisation, and the non-preemptive demand test, which looks at every
deadline of the near future. A guaranteed session counts with its best effort and the others with
their cheapest, since that is what they are brought down to before anyone is late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .demand import Claim, first_overload
from .quotes import Quotes, row_of
from .tasks import Profile

MOST_BUSY = 0.85
"""Share of a device's time that sessions may claim; the rest is for what no table knows."""
MEMORY_SHARE = 0.9
"""Share of a device's memory that may be in use."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether there is room.

    Attributes:
        reason: why not; empty where there is.
        share: of the device that would be claimed.
    """

    reason: str
    share: float

    @property
    def admitted(self) -> bool:
        return not self.reason


def claim(quotes: Quotes, profile: Profile, neighbours: int) -> Claim:
    """What a session takes in the worst case that it must be admitted for.

    Args:
        neighbours: sessions of its shape that it may share launches with, itself included.
    """
    efforts = profile.efforts[:1] if profile.service == "guaranteed" else profile.efforts
    found = [
        Claim(
            quotes.each(row_of(profile, effort), neighbours),
            profile.period / max(effort.rate, 1e-6),
            profile.deadline,
        )
        for effort in efforts
    ]
    return min(found, key=lambda one: one.share)


def admit(
    quotes: Quotes, present: Sequence[Profile], newcomer: Profile, memory_free: float = 1.0
) -> Verdict:
    """Whether a device takes a newcomer beside those that are there.

    A device with nobody on it takes anyone: a lone viewer gets what the device can do, and is late
    by its own work only.

    Args:
        memory_free: share of the device's memory that is free.
    """
    everyone = [*present, newcomer]
    alike = [sum(other.shape == one.shape for other in everyone) for one in everyone]
    claims = [claim(quotes, one, n) for one, n in zip(everyone, alike, strict=True)]
    share = sum(one.share for one in claims)
    if memory_free < 1.0 - MEMORY_SHARE:
        return Verdict("its memory is full", share)
    if not present:
        return Verdict("", share)
    if share > MOST_BUSY:
        return Verdict(f"it would be {share:.0%} busy, {MOST_BUSY:.0%} is the most", share)
    longest = max(quotes.alike(row_of(one, one.efforts[-1]), 1) for one in everyone)
    late = first_overload(claims, longest)
    if late is not None:
        return Verdict(f"not everyone's pictures would be in time {1e3 * late:.0f} ms ahead", share)
    return Verdict("", share)
