"""The ring of spans, and the trace that is made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from millrace.streaming.frames import Stamp
from millrace.streaming.trace import DEVICES, SESSIONS, Span, Trace, chrome

REQUIRED = {
    "M": {"name", "ph", "pid", "args"},
    "X": {"name", "cat", "ph", "ts", "dur", "pid", "tid"},
    "b": {"name", "cat", "ph", "ts", "pid", "tid", "id"},
    "e": {"name", "cat", "ph", "ts", "pid", "tid", "id"},
    "s": {"name", "cat", "ph", "ts", "pid", "tid", "id"},
    "t": {"name", "cat", "ph", "ts", "pid", "tid", "id"},
    "f": {"name", "cat", "ph", "ts", "pid", "tid", "id", "bp"},
}
"""Keys that the Trace Event Format asks for, by phase."""


def two_launches() -> Trace:
    trace = Trace()
    for number in range(2):
        at = 10 + number
        stamps = {s: (Stamp(0, at - 0.02, number),) for s in ("a", "b")}
        marks = [("encode", at + 0.01), ("pass 1", at + 0.03), ("decode", at + 0.04)]
        trace.launch("cpu", list(stamps.items()), at, marks)
        for session, (stamp,) in stamps.items():
            trace.left("done", session, stamp, at + 0.04)
    return trace


def check_format(document: dict[str, Any]) -> None:
    """Whether it is a trace: required keys, nesting rows, paired waits, arrows that hit a slice."""
    json.dumps(document, allow_nan=False)
    events = document["traceEvents"]
    rows: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in events:
        assert REQUIRED[event["ph"]] <= set(event), event
        assert event.get("ts", 0) >= 0
        if event["ph"] == "X":
            rows.setdefault((event["pid"], event["tid"]), []).append(
                (event["ts"], event["ts"] + event["dur"])
            )
    for slices in rows.values():
        open_until: list[float] = []
        for start, end in sorted(slices, key=lambda s: (s[0], -s[1])):
            while open_until and open_until[-1] <= start + 1e-3:
                open_until.pop()
            assert not open_until or end <= open_until[-1] + 1e-3, "slices of a row cross"
            open_until.append(end)
    for phase, other in (("b", "e"), ("s", "f")):
        ids = [sorted(e["id"] for e in events if e["ph"] == p) for p in (phase, other)]
        assert ids[0] == ids[1]
    for event in (e for e in events if e["ph"] in "stf"):
        slices = rows[event["pid"], event["tid"]]
        assert any(start <= event["ts"] <= end for start, end in slices)


def test_a_trace_has_the_keys_that_the_format_asks_for() -> None:
    document = chrome(two_launches().drain())
    check_format(document)
    events = document["traceEvents"]
    names = {e["args"]["name"] for e in events if e["ph"] == "M"}
    assert names == {"Sessions", "Devices", "session a", "session b", "device cpu"}
    assert {e["id"] for e in events if e["ph"] == "s"} == {"a/0", "a/1", "b/0", "b/1"}
    on_device = [e["name"] for e in events if e["ph"] == "X" and e["pid"] == DEVICES]
    assert on_device == ["launch, 2 rows", "encode", "pass 1", "decode"] * 2
    passes = [e for e in events if e["name"] == "pass 1" and e["pid"] == SESSIONS]
    assert len(passes) == 4 and passes[0]["dur"] == pytest.approx(20_000)


def test_a_repeat_without_a_launch_makes_no_arrow() -> None:
    trace = Trace()
    trace.left("sent", "a", Stamp(0, 1.0, 7), 1.1)
    document = chrome(trace.drain())
    check_format(document)
    assert not [e for e in document["traceEvents"] if e["ph"] in "stf"]


def test_the_ring_is_bounded_and_says_what_it_lost() -> None:
    trace = Trace(limit=3)
    for number in range(5):
        trace.add(Span(str(number), number, number + 1, "a"))
    assert trace.lost == 2
    assert [span.name for span in trace.drain()] == ["2", "3", "4"]
    assert trace.drain() == ()
    assert chrome(())["traceEvents"][0]["ph"] == "M"
