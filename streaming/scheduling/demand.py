"""The demand test: whether sessions can always be served in time, whatever their phases are.

For sporadic work that is not interrupted, earliest deadline first (Jeffay, Stanat and Martel 1991):
by each deadline t, counted from a moment when all begin together, the work due until then and one
launch that was already under way must fit into t.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

DEADLINES = 4096
"""Deadlines that are looked at, at most; if they were not enough the answer is no."""
EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Claim:
    """What a session takes of a device at the least.

    Attributes:
        seconds: for a chunk.
        period: least time between the releases of chunks that are made.
        deadline: from a chunk's release until it must be done.
    """

    seconds: float
    period: float
    deadline: float

    @property
    def share(self) -> float:
        return self.seconds / self.period


def first_overload(claims: Sequence[Claim], longest: float) -> float | None:
    """The first deadline by which more work is due than fits, if all begin together; or None when
    everyone is always in time.

    Args:
        longest: seconds of the launch that may be under way.
    """
    if not claims:
        return None
    end = _far_enough(claims, longest)
    deadlines = [(one.deadline, number) for number, one in enumerate(claims)]
    heapq.heapify(deadlines)
    due = longest
    for _ in range(DEADLINES):
        t, number = deadlines[0]
        if t > end:
            return None
        while deadlines[0][0] <= t + EPSILON:
            at, number = deadlines[0]
            due += claims[number].seconds
            heapq.heapreplace(deadlines, (at + claims[number].period, number))
        if due > t + EPSILON:
            return t
    return deadlines[0][0]


def _far_enough(claims: Sequence[Claim], longest: float) -> float:
    """The time after which no deadline can be the first to be missed: with a share U < 1 of the
    device in use, the work due by t is at most U t plus a constant."""
    share = sum(one.share for one in claims)
    if share >= 1.0:
        return float("inf")
    constant = sum(one.share * max(0.0, one.period - one.deadline) for one in claims)
    return max(max(one.deadline for one in claims), (longest + constant) / (1.0 - share))
