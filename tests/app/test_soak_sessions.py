"""The long run with joins and leaves: its arithmetic, and a short one."""

from __future__ import annotations

import os
from typing import Any

import pytest
from millrace.app import soak_sessions
from millrace.app.soak_sessions import Soak, Watch, passed, report, table
from millrace.streaming.clock import ManualClock
from millrace.streaming.config import Options
from millrace.streaming.host import Event, Output
from millrace.streaming.simulation.arrivals import Visit

from .rig import EchoHost, paint
from .rig import Frame as RigFrame


def test_the_watch_counts_what_came_and_who_left() -> None:
    clock = ManualClock(10.0)
    watch = Watch(clock, 9.0)
    watch.opened()
    frame = RigFrame(paint(1), 256, 256, 0, 9.5, 1)
    watch(Output(frame, 0, 9.9))
    watch(Output(frame, 0, 9.9, repeated=True))
    assert list(watch.latencies) == [(1.0, 500.0)]
    watch(Event("closed", "it broke"))
    assert watch.all_closed() and watch.ended == {"it broke": 1}


def soaked() -> Soak:
    """A short run against a host that answers at once."""
    visits = [
        Visit("a", "u", 0.0, 0.15, 40.0),
        Visit("b", "v", 0.05, 9.0, 40.0, prompts=(0.1,)),
        Visit("c", "w", 0.1, 9.0, 40.0),
    ]
    from millrace.streaming.clock import SystemClock

    host = EchoHost(rooms=2)
    soak = Soak(host, SystemClock(), visits, Options(width=64, height=64), every=0.1)
    soak.run(0.3)
    assert host.sessions() == ()
    return soak


def test_viewers_come_and_go(capsys: pytest.CaptureFixture[str]) -> None:
    soak = soaked()
    assert (soak.came, soak.rejected, soak.most) == (2, 1, 2)
    assert len(soak.memory) == 2 and len(soak.watch.latencies) > 5
    numbers = report(soak, 0.3, {"sessions": 0}, 0)
    assert numbers["sessions"] == {"admitted": 2, "rejected": 1, "at_once": 2}
    assert set(numbers["growth"]) == {"latency_ms_per_min", "memory_mb_per_min", "blocks_per_min"}
    assert "2 came and went" in table(numbers) and passed(numbers)


@pytest.mark.parametrize(
    "changes",
    [
        {"left_behind": {"sessions": 1}},
        {"left_behind": {"sessions": 0, "shared_memory": 1}},
        {"worker_restarts": 1},
    ],
)
def test_whatever_stays_behind_is_a_failure(changes: dict[str, Any]) -> None:
    fine = {"left_behind": {"sessions": 0}, "worker_restarts": 0}
    assert passed(fine) and not passed(fine | changes)


@pytest.mark.slow
def test_a_short_run_leaves_nothing_behind() -> None:
    options = Options("passthrough", "cpu", "float32", 1, 64, 64, max_sessions=4)
    numbers = soak_sessions.measure(options, 2.0, 3.0, 1, 0.5)
    assert passed(numbers), numbers["left_behind"]
    assert numbers["sessions"]["admitted"] > 3 and numbers["frames"] > 20
    assert not soak_sessions.blocks(), os.getpid()
