"""Where each frame spent its time, as spans in a bounded ring, and as a Chrome trace.

Nothing is recorded until somebody asks: whoever could record holds None instead of a `Trace`. The
format is the JSON object of the Trace Event Format (the document "Trace Event Format", sections
"JSON Object Format", "Complete Events", "Async Events", "Flow Events"); Perfetto and
chrome://tracing open it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .frames import Stamp

LIMIT = 20_000
"""Spans kept; then the oldest leave. Five seconds of sixteen sessions at 30 frames a second."""
SESSIONS, DEVICES = 1, 2
"""The two groups of rows, "processes" to the viewer: one row a session, one a device."""
MOMENT = 1e-6
"""Length of a span that stands for a moment, seconds; arrows need something to point at."""

FrameKey = tuple[str, int]
"""(session, index of the frame)."""


@dataclass(frozen=True, slots=True)
class Span:
    """One piece of work or waiting, monotonic seconds.

    Attributes:
        row: id of a session, or name of a device when `device`.
        frames: those that it is about; of a chunk, the newest one.
        floating: it may overlap others of its row (frames that wait), so it is drawn beside it.
    """

    name: str
    start: float
    end: float
    row: str
    frames: tuple[FrameKey, ...] = ()
    device: bool = False
    floating: bool = False


class Trace:
    """A ring of spans; any thread may add. Full, it forgets the oldest (`lost` counts them)."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._lock = threading.Lock()
        self._spans: deque[Span] = deque(maxlen=limit)
        self.lost = 0

    def add(self, *spans: Span) -> None:
        with self._lock:
            self.lost += max(0, len(self._spans) + len(spans) - (self._spans.maxlen or 0))
            self._spans.extend(spans)

    def drain(self) -> tuple[Span, ...]:
        """All that is there, oldest first; the ring is empty afterwards."""
        with self._lock:
            spans = tuple(self._spans)
            self._spans.clear()
            return spans

    def launch(
        self,
        device: str,
        rows: Sequence[tuple[str, Sequence[Stamp]]],
        start: float,
        marks: Sequence[tuple[str, float]],
    ) -> None:
        """One launch of a batch.

        Args:
            rows: (session, stamps of its chunk) for each row of the batch.
            start: when the frames were taken.
            marks: (name, end) of each stage, in order.
        """
        if not marks or not rows:
            return
        keys = tuple((session, stamps[-1].index) for session, stamps in rows if stamps)
        words = f"launch, {len(rows)} row{'s' if len(rows) > 1 else ''}"
        self.add(Span(words, start, marks[-1][1], device, keys, device=True))
        begun = start
        for name, end in marks:
            self.add(Span(name, begun, end, device, device=True))
            for session, stamps in rows:
                of = ((session, stamps[-1].index),) if stamps else ()
                self.add(Span(name, begun, end, session, of))
            begun = end
        for session, stamps in rows:
            for s in stamps:
                key = ((session, s.index),)
                self.add(Span("mailbox", s.captured_at, start, session, key, floating=True))

    def left(self, name: str, session: str, stamp: Stamp, now: float) -> None:
        """A frame went out of the engine ("done") or to the viewer ("sent")."""
        key = ((session, stamp.index),)
        whole = f"capture to {name}"
        self.add(
            Span(whole, stamp.captured_at, now, session, key, floating=True),
            Span(name, now, now + MOMENT, session, key),
        )


def chrome(spans: Iterable[Span]) -> dict[str, Any]:
    """Spans as a Chrome trace: times in microseconds since the first one, arrows from the first
    work on a frame through its launch to the moment when it left."""
    ordered = sorted(spans, key=lambda span: (span.start, -span.end))
    origin = ordered[0].start if ordered else 0.0
    rows: dict[tuple[bool, str], int] = {}
    for span in ordered:
        rows.setdefault((span.device, span.row), len(rows) + 1)
    events = _names(rows)
    for number, span in enumerate(ordered):
        events += _drawn(span, number, rows[span.device, span.row], origin)
    events += _arrows(ordered, rows, origin)
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _names(rows: dict[tuple[bool, str], int]) -> list[dict[str, Any]]:
    def named(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
        return {
            "name": what, "cat": "__metadata", "ph": "M", "ts": 0, "pid": pid, "tid": tid,
            "args": {"name": name},
        }  # fmt: skip

    events = [
        named("process_name", SESSIONS, 0, "Sessions"),
        named("process_name", DEVICES, 0, "Devices"),
    ]
    for (device, row), tid in rows.items():
        pid, kind = (DEVICES, "device") if device else (SESSIONS, "session")
        events.append(named("thread_name", pid, tid, f"{kind} {row}"))
    return events


def _drawn(span: Span, number: int, tid: int, origin: float) -> list[dict[str, Any]]:
    at = _micros(span.start - origin)
    event: dict[str, Any] = {
        "name": span.name,
        "cat": "wait" if span.floating else "work",
        "ph": "X",
        "ts": at,
        "pid": DEVICES if span.device else SESSIONS,
        "tid": tid,
        "args": {"frames": [f"{session}/{index}" for session, index in span.frames]},
    }
    length = _micros(max(0.0, span.end - span.start))
    if not span.floating:
        return [event | {"dur": length}]
    begun = event | {"ph": "b", "id": f"w{number}"}
    ended = {k: v for k, v in begun.items() if k != "args"} | {"ph": "e", "ts": at + length}
    return [begun, ended]


def _arrows(
    ordered: Sequence[Span], rows: dict[tuple[bool, str], int], origin: float
) -> list[dict[str, Any]]:
    """For each frame: out of its session's row, into the device's, and back to where it left."""
    by_frame: dict[FrameKey, list[Span]] = {}
    for span in ordered:
        for key in span.frames:
            if not span.floating:
                by_frame.setdefault(key, []).append(span)
    events = []
    for (session, index), own in by_frame.items():
        launch = next((span for span in own if span.device), None)
        mine = [span for span in own if not span.device]
        if launch is None or len(mine) < 2:
            continue
        first, last = mine[0], mine[-1]
        for phase, span in (("s", first), ("t", launch), ("f", last)):
            event = {
                "name": "frame", "cat": "flow", "ph": phase, "id": f"{session}/{index}",
                "ts": _micros(span.start - origin), "tid": rows[span.device, span.row],
                "pid": DEVICES if span.device else SESSIONS,
            }  # fmt: skip
            events.append(event | ({"bp": "e"} if phase != "s" else {}))
    return events


def _micros(seconds: float) -> float:
    return round(seconds * 1e6, 3)
