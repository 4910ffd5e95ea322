"""What captions and questions add up to since the start, for /metrics."""

from __future__ import annotations

import threading
from collections import Counter

from prometheus_client import Histogram

DELAYS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Upper bounds of both histograms, seconds; fine where the goals (3 s and 2 s) lie."""


class CaptionTally:
    """Counts from any thread. No label names a viewer."""

    def __init__(self) -> None:
        self.delay = Histogram(
            "millrace_caption_delay_seconds",
            "From the capture of the last picture that a caption tells of until it was said.",
            buckets=DELAYS,
            registry=None,
        )
        self.first_word = Histogram(
            "millrace_answer_first_word_seconds",
            "From a question until the first word of its answer.",
            buckets=DELAYS,
            registry=None,
        )
        self._lock = threading.Lock()
        self._cues: Counter[str] = Counter()
        self._questions: Counter[str] = Counter()
        self._alerts = 0
        self._duplicates = 0

    def cue(self, kind: str, delay: float) -> None:
        """One more final cue of the track."""
        with self._lock:
            self._cues[kind] += 1
        if kind == "caption":
            self.delay.observe(max(delay, 0.0))

    def question(self, outcome: str) -> None:
        """One more question: "answered", "failed" or "refused"."""
        with self._lock:
            self._questions[outcome] += 1

    def alert(self) -> None:
        with self._lock:
            self._alerts += 1

    def duplicates(self, count: int) -> None:
        """Captions of a session that has ended which were not said because they said nothing
        new."""
        with self._lock:
            self._duplicates += count

    def counts(self) -> tuple[dict[str, int], dict[str, int], int, int]:
        """Cues by kind, questions by outcome, alerts that fired, duplicates of past sessions."""
        with self._lock:
            return dict(self._cues), dict(self._questions), self._alerts, self._duplicates
