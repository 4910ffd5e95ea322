"""How long the viewer of a session waits: for captions, for answers, for knowing. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..telemetry import Window
from .counts import percentiles

STATS_S = 600.0
"""How far back percentiles look."""


class Timings:
    """Times are the clock's. Not safe for several threads."""

    def __init__(self) -> None:
        self._delays = Window(STATS_S)
        self._first_words = Window(STATS_S)
        self._ages = Window(STATS_S)
        self._known: float | None = None
        """When the newest picture was captured up to which all was told."""

    def said(self, now: float, delay: float) -> None:
        """A caption came, so many seconds after its last picture."""
        self._delays.add(now, 1e3 * delay)

    def answering(self, now: float, asked: float) -> None:
        """An answer's first word came."""
        self._first_words.add(now, 1e3 * (now - asked))

    def seen(self, now: float, delay: float) -> None:
        """All is told up to a picture that was captured so many seconds ago. Just before, what was
        known was as old as it ever was."""
        if self._known is not None:
            self._ages.add(now, 1e3 * (now - self._known))
        self._known = now - delay

    def stats(self, now: float) -> Mapping[str, Any]:
        """delay_ms, first_word_ms, seen_age_ms {p50, p95}; seen_age_s: how old what is known is
        now, None before the first look."""
        age = None if self._known is None else round(max(0.0, now - self._known), 3)
        return {
            "delay_ms": percentiles(self._delays, now),
            "first_word_ms": percentiles(self._first_words, now),
            "seen_age_ms": percentiles(self._ages, now),
            "seen_age_s": age,
        }
