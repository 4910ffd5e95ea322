"""Several devices as one host: places, the queue, moves, and devices that fail."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import Awaited, Feeder, make_frame, run_alone
from millrace.streaming.config import Options
from millrace.streaming.fleet import Fleet
from millrace.streaming.host import HostRefused
from millrace.streaming.pipeline import StreamConfig
from millrace.streaming.scheduling.costs import CostTable
from millrace.streaming.scheduling.quotes import Quotes
from millrace.streaming.scheduling.tasks import Shape
from millrace.streaming.supervisor import WorkerHost
from millrace.streaming.ticket import Member
from millrace.streaming.waiting import WaitingRoom, ordinal
from moving_fakes import MovingPipeline

STREAM = StreamConfig(16, 16, 60)


def blocks() -> set[str]:
    """Shared memory that this process made."""
    return {path.name for path in Path("/dev/shm").glob(f"millrace-{os.getpid()}-*")}


@contextmanager
def running(*devices: str, **more: Any) -> Iterator[Fleet]:
    options = Options(
        "moving_fakes:build_moving", dtype="float32", threads=2, devices=devices, **more
    )
    before = set(multiprocessing.active_children()), blocks()
    fleet = Fleet(options, spare=False)
    fleet.start()
    try:
        fleet.ready(120)
        yield fleet
    finally:
        fleet.stop()
        assert set(multiprocessing.active_children()) <= before[0], "no process is left"
        assert blocks() <= before[1], "no shared memory is left"


@pytest.fixture(scope="module")
def pair() -> Iterator[Fleet]:
    with running("cpu", "cpu", max_sessions=2, queue=2) as fleet:
        yield fleet


def believe(fleet: Fleet, patch: pytest.MonkeyPatch, seconds: Mapping[str, float]) -> None:
    """Let the fleet count with these costs of a chunk instead of those that were measured."""

    def quotes(member: Member, tickets: object) -> Quotes:
        table = CostTable()
        table.seed("pass", Shape(16, 16, 1), None, 0.0, seconds[member.label])
        return Quotes(table)

    patch.setattr(fleet._muster, "_quotes", quotes)


def remember(patch: pytest.MonkeyPatch, fleet: Fleet, free: Mapping[str, float]) -> None:
    """Let the workers say that so much of their memory is free."""
    shares = {member.host: free[member.label] for member in fleet._muster.members}
    patch.setattr(WorkerHost, "memory_free", property(lambda host: shares[host]))


def leave(*guests: tuple[Any, Awaited]) -> None:
    for session, viewer in guests:
        session.close()
        viewer.wait_for(lambda v=viewer: "closed" in v.kinds)


def enter(fleet: Fleet, **changes: object) -> tuple[Any, Awaited]:
    viewer = Awaited()
    return fleet.open(STREAM, viewer, changes), viewer


def device(fleet: Fleet, session: Any) -> str:
    return str(fleet.session_stats(session)["device"])


@pytest.mark.slow
def test_sessions_spread_over_the_devices(pair: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    believe(pair, monkeypatch, {"cpu:0": 0.0, "cpu:1": 0.0})
    (one, first), (two, second) = enter(pair), enter(pair)
    assert {device(pair, one), device(pair, two)} == {"cpu:0", "cpu:1"}
    with Feeder(one), Feeder(two):
        for viewer in (first, second):
            viewer.wait_for(lambda v=viewer: len(v.outputs) > 5)
    states = [(d["device"], d["state"], d["sessions"]) for d in pair.stats()["devices"]]
    assert states == [("cpu:0", "live", 1), ("cpu:1", "live", 1)]
    leave((one, first), (two, second))


@pytest.mark.slow
def test_who_has_no_place_waits_and_is_told_where(pair: Fleet) -> None:
    first, second = enter(pair), enter(pair)
    third, fourth = enter(pair), enter(pair)
    assert third[0].state == "queued" and third[1].events[0].data["position"] == 1
    assert "2nd in the queue, about " in fourth[1].events[0].message
    assert fourth[1].events[0].data["estimate_s"] >= third[1].events[0].data["estimate_s"]
    third[0].put(make_frame(0))
    assert third[0].stats()["drops"] == {"queued": 1}
    with pytest.raises(HostRefused, match="all 2 places are taken; 2 viewers wait") as refusal:
        enter(pair)
    assert refusal.value.retry_s is not None and refusal.value.retry_s >= 5
    assert pair.stats()["sessions"] == {"admitted": 2, "queued": 2, "rejected": 1}
    leave(third)
    fourth[1].wait_for(lambda: fourth[1].events[-1].data.get("position") == 1)
    leave(first)
    fourth[1].wait_for(lambda: "live" in fourth[1].kinds)
    assert fourth[1].kinds == ["queued", "queued", "opening", "live"]
    with Feeder(fourth[0]):
        fourth[1].wait_for(lambda: len(fourth[1].outputs) > 3)
    leave(second, fourth)


@pytest.mark.slow
def test_a_move_is_bit_equal_to_staying(pair: Fleet) -> None:
    session, viewer = enter(pair, gain=0.75)
    ticket = pair._tickets[session.id]
    here = ticket.member
    (there,) = (member for member in pair._muster.members if member is not here)
    frames = [make_frame(i, seed=3) for i in range(12)]
    for number, frame in enumerate(frames):
        if number == 6:
            assert pair._mover.begin(ticket, there)
        session.put(frame)
        # One chunk is always in flight; a flush brings it out.
        viewer.wait_for(lambda n=number: len(viewer.outputs) > n)
    viewer.wait_for(lambda: viewer.kinds == ["live", "live"])
    assert viewer.events[-1].message == f"moved to {there.label}" and ticket.member is there
    alone = run_alone(MovingPipeline(delay=1), frames, gain=0.75)
    for mine, theirs in zip(viewer.outputs, alone, strict=True):
        assert mine.frame.index == theirs.frame.index
        assert np.array_equal(mine.frame.planes, theirs.frame.planes)
    leave((session, viewer))


@pytest.mark.slow
def test_moving_to_and_fro_keeps_the_order_and_interrupts_nobody(pair: Fleet) -> None:
    session, viewer = enter(pair)
    ticket = pair._tickets[session.id]
    with Feeder(session):
        for turn in range(4):
            count = len(viewer.outputs)
            viewer.wait_for(lambda n=count: len(viewer.outputs) > n + 5)
            (there,) = (m for m in pair._muster.members if m is not ticket.member)
            assert pair._mover.begin(ticket, there)
            session.change({"gain": turn / 4})
            viewer.wait_for(lambda n=turn: viewer.kinds.count("live") == n + 2)
        count = len(viewer.outputs)
        viewer.wait_for(lambda: viewer.outputs[-1].epoch == 4)
    assert set(viewer.kinds) == {"live"}
    assert viewer.indices == sorted(set(viewer.indices))
    leave((session, viewer))


@pytest.mark.slow
def test_the_counts_of_a_session_that_moves_never_fall(pair: Fleet) -> None:
    session, viewer = enter(pair)
    ticket = pair._tickets[session.id]
    here = ticket.member
    assert here is not None
    (there,) = (member for member in pair._muster.members if member is not here)
    # As if frames had been dropped around the first worker.
    line = here.host.exchange._lines[session.id]
    line.missed, line.inbox.dropped = 3, 5
    with Feeder(session):
        # Numbers come twice a second, pictures all the time.
        viewer.wait_for(lambda: session.stats().get("frames_out", 0) > 20)
        before = session.stats()
        assert pair._mover.begin(ticket, there)
        viewer.wait_for(lambda: viewer.kinds.count("live") == 2)
        at_once = session.stats()
        viewer.wait_for(lambda: session.stats()["frames_out"] > at_once["frames_out"] + 20)
        after = session.stats()
    assert after["device"] == there.label != before["device"]
    for one, next_ in ((before, at_once), (at_once, after)):
        for name in ("frames_in", "frames_out", "repeated"):
            assert next_[name] >= one[name]
        for cause, count in one["drops"].items():
            assert next_["drops"][cause] >= count
    assert after["drops"]["interrupted"] == 3 and after["drops"]["superseded"] >= 5
    assert after["ttff_ms"] == before["ttff_ms"]
    leave((session, viewer))


@pytest.mark.slow
def test_busy_devices_let_a_newcomer_wait_and_even_out_by_moving(
    pair: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    believe(pair, monkeypatch, {"cpu:0": 0.012, "cpu:1": 0.0})
    first, second = enter(pair), enter(pair)
    assert device(pair, first[0]) == device(pair, second[0]) == "cpu:1", "where there is room"
    believe(pair, monkeypatch, {"cpu:0": 0.012, "cpu:1": 0.012})
    monkeypatch.setattr(pair, "_options", replace(pair._options, max_sessions=9))
    third, fourth = enter(pair), enter(pair)
    assert device(pair, third[0]) == "cpu:0", "an idle device takes anyone"
    assert fourth[0].state == "queued" and "85% is the most" in fourth[1].events[0].message
    leave(fourth, third)
    with Feeder(first[0]), Feeder(second[0]):
        # Pictures go on coming, so each of them is an occasion to look.
        first[1].wait_for(
            lambda: any(viewer.kinds.count("live") == 2 for _, viewer in (first, second))
        )
    assert {device(pair, first[0]), device(pair, second[0])} == {"cpu:0", "cpu:1"}
    leave(first, second)


@pytest.mark.slow
def test_a_device_without_memory_leaves_newcomers_to_another_one(
    pair: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    believe(pair, monkeypatch, {"cpu:0": 0.0, "cpu:1": 0.0})
    remember(monkeypatch, pair, {"cpu:0": 0.02, "cpu:1": 0.5})
    first, second = enter(pair), enter(pair)
    assert device(pair, first[0]) == device(pair, second[0]) == "cpu:1"
    with Feeder(first[0]), Feeder(second[0]):
        for _, viewer in (first, second):
            viewer.wait_for(lambda v=viewer: len(v.outputs) > 3)
    leave(first, second)


@pytest.mark.slow
def test_where_all_memory_is_full_newcomers_wait_until_some_is_free(
    pair: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(monkeypatch, pair, {"cpu:0": 0.02, "cpu:1": 0.02})
    (one, first), (two, second) = enter(pair), enter(pair)
    assert one.state == two.state == "queued"
    assert "cpu:0 has no room: its memory is full; 1st in the queue" in first.events[0].message
    with pytest.raises(HostRefused, match="its memory is full; 2 viewers wait already") as refusal:
        enter(pair)
    assert refusal.value.retry_s is not None
    remember(monkeypatch, pair, {"cpu:0": 0.02, "cpu:1": 0.5})
    for viewer in (first, second):
        viewer.wait_for(lambda v=viewer: v.kinds[-1] == "live")
    assert device(pair, one) == device(pair, two) == "cpu:1"
    leave((one, first), (two, second))


@pytest.mark.slow
def test_who_waits_for_a_lone_device_gets_in_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with running("cpu", max_sessions=2, queue=2) as fleet:
        remember(monkeypatch, fleet, {"cpu": 0.02})
        guest, viewer = enter(fleet)
        assert guest.state == "queued"
        remember(monkeypatch, fleet, {"cpu": 0.5})
        viewer.wait_for(lambda: viewer.kinds[-1] == "live")
        leave((guest, viewer))


@pytest.mark.slow
def test_a_worker_says_how_much_memory_is_free(pair: Fleet) -> None:
    guest = enter(pair)
    hosts = [member.host for member in pair._muster.members]
    guest[1].wait_for(lambda: all("memory_free" in host.stats()["worker"] for host in hosts))
    assert all(0.0 < host.memory_free < 1.0 for host in hosts)
    leave(guest)


@pytest.mark.slow
def test_a_device_that_is_not_there_leaves_the_others_alone() -> None:
    with running("cpu", "cuda:9") as fleet:
        info = fleet.ready(1)
        assert info.devices == ("cpu",)
        assert any("cuda:9 is not there" in choice for choice in info.choices)
        session, viewer = enter(fleet)
        with Feeder(session):
            viewer.wait_for(lambda: len(viewer.outputs) > 3)
        reported = {d["device"]: d["state"] for d in fleet.stats()["devices"]}
        assert reported == {"cpu": "live", "cuda:9": "failed"}
        assert fleet.stats()["worker"]["state"] == "live"


@pytest.mark.slow
def test_the_sessions_of_a_device_that_is_given_up_go_on_elsewhere() -> None:
    with running("cpu", "cpu") as fleet:
        session, viewer = enter(fleet)
        with Feeder(session):
            viewer.wait_for(lambda: len(viewer.outputs) > 3)
            lost = fleet._tickets[session.id].member
            assert lost is not None
            lost.host.restarts.limit = 1
            viewer.wait_for(lambda: "pid" in lost.host.stats()["worker"])
            os.kill(lost.host.stats()["worker"]["pid"], signal.SIGKILL)
            viewer.wait_for(lambda: viewer.kinds[-1] == "live" and "interrupted" in viewer.kinds)
            count = len(viewer.outputs)
            viewer.wait_for(lambda: len(viewer.outputs) > count + 3)
        assert device(fleet, session) != lost.label


@pytest.mark.slow
def test_no_device_at_all_is_a_failed_start() -> None:
    fleet = Fleet(Options("moving_fakes:build_moving", devices=("cuda:8", "cuda:9")), spare=False)
    fleet.start()
    with pytest.raises(RuntimeError, match="cuda:8 is not there"):
        fleet.ready(120)
    with pytest.raises(HostRefused):
        enter(fleet)
    fleet.stop()


def test_the_queue_is_in_order_and_its_estimate_follows_what_was_seen() -> None:
    room = WaitingRoom(2)
    room.enter("a")
    room.enter("b")
    assert room.full and list(room) == ["a", "b"]
    room.enter("lost", first=True)
    assert list(room) == ["lost", "a", "b"]
    assert room.leave("a") and not room.leave("a")
    usual = room.estimate(1, served=4)
    for _ in range(9):
        room.ended(20.0)
    assert room.estimate(1, served=4) < usual
    assert room.estimate(2, served=1) == pytest.approx(2 * 20 / 0.693, abs=2.5)


def test_ordinals() -> None:
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 112)] == (
        "1st 2nd 3rd 4th 11th 12th 13th 21st 112th".split()
    )
