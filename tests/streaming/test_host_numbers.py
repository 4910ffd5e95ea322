"""Counts and spans on their way from a worker: they outlive it, and come only when asked for."""

from __future__ import annotations

import os
import signal

import pytest
from fakes import Awaited, Feeder
from millrace.streaming.config import Options
from millrace.streaming.pipeline import StreamConfig
from millrace.streaming.supervisor import WorkerHost
from millrace.streaming.trace import chrome

from .test_trace import check_format

pytestmark = pytest.mark.slow

STREAM = StreamConfig(16, 16, 60)


def made(host: WorkerHost) -> float:
    """Pictures made since the host began."""
    counted: float = host.stats()["totals"].get("frames", {}).get("made", (0.0,))[0]
    return counted


def test_counts_outlive_the_worker_and_spans_come_when_asked_for() -> None:
    options = Options("fakes:build_delayed", device="cpu", dtype="float32", threads=1)
    host = WorkerHost(options, spare=False)
    host.start()
    host.ready(60)
    try:
        viewer = Awaited()
        session = host.open(STREAM, viewer)
        with Feeder(session):
            # The counts come with answers, about two a second, while pictures come all the time.
            viewer.wait_for(lambda: made(host) > 0)
            before = made(host)
            assert host.recorded() == (), "nobody asked for spans"
            host.record(True)
            spans = list(host.recorded())

            def came() -> bool:
                spans.extend(host.recorded())
                return bool(spans)

            viewer.wait_for(came)
            host.record(False)
            process = host.stats()["worker"]
            assert 0 <= process["busy_share"] <= 1 and process["interference"] > 0
            os.kill(process["pid"], signal.SIGKILL)
            viewer.wait_for(lambda: "interrupted" in viewer.kinds)
            assert made(host) >= before
            kept = made(host)
            viewer.wait_for(lambda: viewer.kinds[-1] == "live")
            viewer.wait_for(lambda: made(host) > kept)
    finally:
        host.stop()
    check_format(chrome(spans))
    assert {span.row for span in spans} == {"cpu", session.id}
    assert {"mailbox", "done"} <= {span.name for span in spans}
