"""Recording over HTTP: bounded, one at a time, and with both processes' part."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from millrace.app import tracing
from millrace.app.tracing import Recorder, newest, trace_routes
from millrace.streaming.frames import Stamp
from millrace.streaming.host import Output
from millrace.streaming.trace import Span, Trace

from .rig import EchoHost, paint
from .rig import Frame as RigFrame


class RecordingHost(EchoHost):
    """Its workers have one launch to tell about, and something stale from before."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder
        self.stale = True

    def record(self, on: bool) -> None:
        super().record(on)
        if on:
            frame = RigFrame(paint(3), 256, 256, 0, 9.9, 3)
            self.recorder.sent("a", Output(frame, 0, 10.04), 10.05)

    def recorded(self) -> tuple[Span, ...]:
        if self.stale:
            self.stale = False
            return (Span("stale", 10, 11, "a"),)
        trace = Trace()
        trace.launch("cpu", [("a", (Stamp(0, 9.9, 3),))], 10.0, [("model", 10.04)])
        return trace.drain()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TestClient, RecordingHost]]:
    monkeypatch.setattr(tracing, "BEAT_S", 0.0)
    recorder = Recorder()
    host = RecordingHost(recorder)
    app = FastAPI()
    app.include_router(trace_routes(host, recorder))
    with TestClient(app) as client:
        yield client, host


def test_a_recording_holds_both_processes_and_ends(
    web: tuple[TestClient, RecordingHost],
) -> None:
    client, host = web
    answer = client.get("/api/v1/trace?seconds=0.2")
    assert answer.status_code == 200
    names = [event["name"] for event in answer.json()["traceEvents"]]
    assert {"launch, 1 row", "model", "mailbox", "sent", "paced", "capture to sent"} <= set(names)
    assert "stale" not in names
    phases = [event["ph"] for event in answer.json()["traceEvents"]]
    assert [phases.count(phase) for phase in "stf"] == [1, 1, 1]
    assert host.recording == [True, False] and host.recorder.trace is None


def test_a_second_recording_waits_for_its_turn(web: tuple[TestClient, RecordingHost]) -> None:
    client, host = web
    host.recorder.trace = Trace()
    answer = client.get("/api/v1/trace?seconds=0.2")
    assert answer.status_code == 409 and "records already" in answer.json()["detail"]
    assert host.recording == []


@pytest.mark.parametrize("seconds", ["0", "31", "soon", "-1"])
def test_the_length_is_bounded(web: tuple[TestClient, RecordingHost], seconds: str) -> None:
    assert web[0].get(f"/api/v1/trace?seconds={seconds}").status_code == 422


def test_only_the_last_seconds_count() -> None:
    spans = [Span(str(n), n, n + 1, "a") for n in range(5)]
    assert [span.name for span in newest(spans, 2.5)] == ["3", "4"]
    assert newest([], 1.0) == []
