"""The one owner of cadence: when the next finished picture leaves. Pure; time is an argument.

Pictures leave spaced like their captures, a constant delay after them. The delay is the smallest
seen in the last seconds plus a buffer J that takes up what varies: the jitter of the work, and the
pictures of a chunk all being done at once. J is the p95 of the lateness, at most one chunk; it
grows at once and shrinks by 1 ms a second. With chunks of one picture there is nothing to spread
and a picture leaves when it is done: a browser smooths jitter itself, and better.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from .telemetry import Window

Item = TypeVar("Item")
SHRINK = 1e-3
"""Seconds of buffer given back in a second."""
CATCH_UP = 0.75
"""After a late picture the next ones follow at this share of their spacing until on time again."""


@dataclass(frozen=True, slots=True)
class Decision(Generic[Item]):
    """What to do now.

    send: `item` leaves. repeat: the last picture leaves again, as nothing came for long. wait:
    nothing until the monotonic second `until` (None: until something is pushed).
    """

    action: Literal["send", "repeat", "wait"]
    item: Item | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class _Held(Generic[Item]):
    item: Item
    captured_at: float


class Pacer(Generic[Item]):
    """Holds finished pictures until it is their time.

    Args:
        fps: nominal frames a second.
        chunk: T, pictures that are done at once.
        patience_s: silence after which the last picture is repeated.
    """

    def __init__(self, fps: float, chunk: int, patience_s: float = 0.5) -> None:
        self._interval = 1.0 / fps
        self._chunk = chunk
        self._patience = patience_s
        self._held: deque[_Held[Item]] = deque()
        self._latencies = Window()
        self._buffer = 0.25 * self._most
        self._delay = 0.0
        """From capture to leaving, as of the last push."""
        self._pushed_at: float | None = None
        self._left_at: float | None = None
        self._shown_at: float | None = None
        """When something last left, a repeat included."""
        self._left_captured = 0.0
        self.sent = 0
        self.skipped = 0
        """Pictures that gave way to newer ones."""
        self.repeated = 0
        self.late = 0
        """Pictures that left after their time."""

    @property
    def buffer_s(self) -> float:
        """J, seconds."""
        return self._buffer

    def push(self, item: Item, captured_at: float, now: float) -> None:
        """A picture is done.

        Args:
            captured_at: of its source; never falls from one push to the next.
        """
        self._latencies.add(now, now - captured_at)
        self._adapt(now)
        self._held.append(_Held(item, captured_at))
        # A chunk that waits and a chunk that arrives; more would be delay and nothing else.
        while len(self._held) > 2 * self._chunk:
            self._held.popleft()
            self.skipped += 1

    def decide(self, now: float) -> Decision[Item]:
        """What to do at `now`; call again after a send or repeat, at `until`, and after a push."""
        if self._chunk == 1 and self._held:
            # All that are here are due, and of those only the newest is worth sending.
            while len(self._held) > 1:
                self._held.popleft()
                self.skipped += 1
        due = self._due()
        if due is not None and due <= now:
            return self._send(self._held.popleft(), now)
        if due is not None or self._shown_at is None:
            return Decision("wait", until=due)
        if self._shown_at + self._patience > now:
            return Decision("wait", until=self._shown_at + self._patience)
        self._shown_at = now
        self.repeated += 1
        return Decision("repeat")

    @property
    def _most(self) -> float:
        return self._chunk * self._interval if self._chunk > 1 else 0.0

    def _adapt(self, now: float) -> None:
        least = self._latencies.least(now)
        (high,) = self._latencies.percentiles(now, (0.95,))
        wanted = min(high - least, self._most)
        idle = 0.0 if self._pushed_at is None else now - self._pushed_at
        self._buffer = max(wanted, self._buffer - SHRINK * idle)
        self._delay = least + self._buffer
        self._pushed_at = now

    def _due(self) -> float | None:
        if not self._held:
            return None
        captured = self._held[0].captured_at
        if self._chunk == 1:
            return captured
        due = captured + self._delay
        if self._left_at is None:
            return due
        # However late the one before was, the next keeps (most of) its distance: never a burst.
        distance = min(max(captured - self._left_captured, 0.0), self._interval)
        return max(due, self._left_at + CATCH_UP * distance)

    def _send(self, held: _Held[Item], now: float) -> Decision[Item]:
        if self._chunk > 1 and now > held.captured_at + self._delay + 0.5 * self._interval:
            self.late += 1
        self.sent += 1
        self._left_at = self._shown_at = now
        self._left_captured = held.captured_at
        return Decision("send", held.item)
