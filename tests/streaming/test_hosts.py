"""Both hosts: the same behaviour from a thread and from a worker process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import SIZE, Awaited, FakePipeline, Feeder, build_delayed, make_frame
from millrace.streaming.clock import SystemClock
from millrace.streaming.config import ConfigError, EngineConfig, Options
from millrace.streaming.controls import ControlError
from millrace.streaming.host import Host, HostRefused, Session
from millrace.streaming.local import LocalHost
from millrace.streaming.pipeline import PipelineContext, StreamConfig, Work
from millrace.streaming.supervisor import WorkerHost

FAST = Options(device="cpu", dtype="float32", threads=1, max_sessions=2)
"""Nothing left open, so nothing is measured."""
STREAM = StreamConfig(16, 16, 60)


@pytest.fixture(scope="module", params=["thread", "worker"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    made: Host
    if request.param == "thread":
        made = LocalHost(build_delayed(PipelineContext()), EngineConfig(max_sessions=2))
    else:
        made = WorkerHost(replace(FAST, pipeline="fakes:build_delayed"), spare=False)
    made.start()
    made.ready(60)
    yield made
    made.stop()
    made.stop()


class Door:
    """Opens sessions and sees everyone out at the end of a test."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._guests: list[tuple[Session, Awaited]] = []

    def __call__(self, **changes: object) -> tuple[Session, Awaited]:
        viewer = Awaited()
        session = self._host.open(STREAM, viewer, changes)
        self._guests.append((session, viewer))
        return session, viewer

    def close(self) -> None:
        for session, viewer in self._guests:
            session.close()
            viewer.wait_for(lambda v=viewer: "closed" in v.kinds)


@pytest.fixture
def enter(host: Host) -> Iterator[Door]:
    door = Door(host)
    yield door
    door.close()


def test_pictures_come_back_in_order_with_their_stamps(host: Host, enter: Door) -> None:
    session, viewer = enter()
    with Feeder(session):
        viewer.wait_for(lambda: len(viewer.outputs) >= 20)
    assert viewer.kinds == ["live"] and session.state == "live"
    assert viewer.indices == sorted(set(viewer.indices))
    now = SystemClock().now()
    for output in viewer.outputs:
        assert output.frame.pts == make_frame(output.frame.index).pts
        assert now - 60 < output.frame.captured_at <= output.finished_at <= now
    session.close("seen enough")
    viewer.wait_for(lambda: "closed" in viewer.kinds)
    assert viewer.events[-1].message == "seen enough" and session.state == "closed"
    session.put(make_frame(0))
    session.close()
    assert session.change({"gain": 0.5}) == 1, "a late change does no harm"
    assert session not in host.sessions()


def test_pixels_are_those_of_the_pipeline(enter: Door) -> None:
    session, viewer = enter(gain=0.0)
    with Feeder(session):
        viewer.wait_for(lambda: len(viewer.outputs) >= 4)
    assert all(np.all(o.frame.planes[: SIZE[1]] == 16) for o in viewer.outputs)
    epoch = session.change({"gain": 1.0})
    with Feeder(session):
        viewer.wait_for(lambda: viewer.outputs[-1].epoch == epoch)
    assert viewer.outputs[-1].frame.planes[: SIZE[1]].max() > 50


def test_dragging_a_slider_ends_at_its_last_position(enter: Door) -> None:
    session, viewer = enter()
    for step in range(2000):
        epoch = session.change({"gain": step / 2000})
    assert epoch == 2000
    with Feeder(session):
        viewer.wait_for(lambda: bool(viewer.outputs) and viewer.outputs[-1].epoch == epoch)
    assert session.reset() == 2001


def test_wrong_changes_are_refused_and_change_nothing(host: Host, enter: Door) -> None:
    session, _ = enter()
    for changes, words in [({"gain": 2}, "outside"), ({"gian": 0}, "gain, label, skip_still")]:
        with pytest.raises(ControlError, match=words):
            session.change(changes)
    assert session.controls.epoch == 0
    with pytest.raises(ControlError):
        host.open(STREAM, Awaited(), {"gain": "loud"})
    with pytest.raises(ValueError, match="takes 16x16"):
        session.put(make_frame(0, (32, 32)))


def test_a_step_that_raises_closes_its_session_only(enter: Door) -> None:
    (healthy, good), (broken, bad) = enter(), enter(label="bad")
    broken.put(make_frame(0))
    broken.put(make_frame(1))
    bad.wait_for(lambda: "closed" in bad.kinds)
    assert "label bad is cursed" in bad.events[-1].message
    with Feeder(healthy):
        good.wait_for(lambda: len(good.outputs) >= 6)
    assert good.kinds == ["live"]


def test_notes_arrive(enter: Door) -> None:
    session, viewer = enter(label="sea")
    with Feeder(session):
        viewer.wait_for(lambda: "notes" in viewer.kinds)
    assert viewer.events[-1].data == {"label": "sea"}


def test_a_full_host_and_a_wrong_size_refuse(host: Host, enter: Door) -> None:
    with pytest.raises(HostRefused, match="up to 2048"):
        host.open(StreamConfig(4096, 16), Awaited())
    enter()
    enter()
    with pytest.raises(HostRefused, match="all 2 places"):
        enter()


def test_a_listener_that_fails_ends_its_own_session_only(host: Host, enter: Door) -> None:
    def broken(item: object) -> None:
        raise RuntimeError("the page is gone")

    mine = host.open(STREAM, broken)
    other, viewer = enter()
    with Feeder(other):
        viewer.wait_for(lambda: mine.state == "closed")
        before = len(viewer.outputs)
        viewer.wait_for(lambda: len(viewer.outputs) >= before + 4)
    assert (mine.state, other.state) == ("closed", "live")


def test_statistics_reach_the_caller(host: Host, enter: Door) -> None:
    session, viewer = enter()
    with Feeder(session):
        viewer.wait_for(lambda: session.stats().get("frames_out", 0) > 10)
    numbers = session.stats()
    assert numbers["state"] == "live" and numbers["e2e_ms"]["p50"] > 0
    assert {"superseded"} <= set(numbers["drops"])
    told = host.stats()
    assert told["by_session"][session.id]["frames_out"] > 10
    assert told["worker"]["state"] == "live"


def test_a_host_that_is_not_started_refuses() -> None:
    for made in (LocalHost(FakePipeline()), WorkerHost(FAST)):
        with pytest.raises(HostRefused):
            made.open(STREAM, Awaited())
        with pytest.raises(TimeoutError):
            made.ready(0.01)
        made.stop()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(pipeline="fakes:build_never"), "the weights are elsewhere"),
        (Options(pipeline="nonsense"), "there are tiny, .*passthrough"),
        (Options(device="cuda:9"), "cuda:9 is not there"),
    ],
)
def test_a_failed_start_says_why(options: Options, words: str) -> None:
    host = LocalHost(replace(options, dtype="float32", threads=1))
    host.start()
    with pytest.raises((RuntimeError, ConfigError), match=words):
        host.ready(60)
    told = host.stats()
    assert told["worker"]["state"] == "failed" and told["totals"] == {}
    host.stop()


def test_a_lost_device_ends_the_engine_and_everyone_is_told() -> None:
    def lose(batch: Sequence[Work]) -> None:
        if any(work.controls.text("label") == "lost" for work in batch):
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    host = LocalHost(FakePipeline(on_step=lose))
    host.start()
    host.ready(60)
    here, there = Awaited(), Awaited()
    session, _ = host.open(STREAM, here, {"label": "lost"}), host.open(STREAM, there)
    session.put(make_frame(0))
    for viewer in (here, there):
        viewer.wait_for(lambda v=viewer: "closed" in v.kinds)
        assert "illegal memory access" in viewer.events[-1].message
    assert host.stats()["worker"]["state"] == "failed"
    host.stop()
    with pytest.raises(HostRefused):
        host.open(STREAM, Awaited())


def test_who_left_is_forgotten_without_anybody_asking() -> None:
    host = LocalHost(FakePipeline())
    host.start()
    host.ready(60)
    for _ in range(3):
        viewer = Awaited()
        host.open(STREAM, viewer).close()
        viewer.wait_for(lambda v=viewer: "closed" in v.kinds)
    host.open(STREAM, Awaited())
    assert len(host._records) == len(host._sessions) == 1
    host.stop()
