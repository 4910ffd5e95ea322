"""A session that moves from one engine to another goes on as if it had stayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import Collector, FakePipeline, Rig, make_frame, run_alone
from millrace.streaming.moving import Parcel
from moving_fakes import MovingPipeline

FRAMES = [make_frame(i, seed=3) for i in range(24)]


def feed(rig: Rig, session: Any, frames: list[Any]) -> None:
    for frame in frames:
        session.mailbox.put(frame)
        rig.pass_time(1 / 30)


def park(rig: Rig, session: Any) -> Parcel:
    parcels: list[Parcel] = []
    rig.engine.park(session, parcels.append)
    rig.settle()
    (parcel,) = parcels
    return parcel


@pytest.mark.parametrize("delay", [0, 2])
def test_what_moves_is_bit_equal_to_what_stays(delay: int, tmp_path: Path) -> None:
    here, there = Rig(MovingPipeline(delay=delay)), Rig(MovingPipeline(delay=delay))
    there.clock.advance(9 / 30)
    session, seen = here.open(skip_still=True)
    here.change(session, gain=0.75)
    feed(here, session, FRAMES[:9])
    parcel = park(here, session)
    parcel.write(tmp_path / "parcel")
    late = Collector()
    moved = there.engine.open(
        "s0",
        session.config,
        session.controls,
        late,
        parcel=Parcel.read(tmp_path / "parcel"),
    )
    there.engine.tick()
    here.engine.close(session, "it moved")
    here.settle()
    feed(there, moved, FRAMES[9:])
    moved.mailbox.end()
    there.settle()
    assert seen.indices + late.indices == list(range(24))
    alone = run_alone(MovingPipeline(delay=delay), FRAMES, gain=0.75, skip_still=True)
    both = [*seen.outputs, *late.outputs]
    for mine, theirs in zip(both, alone, strict=True):
        assert np.array_equal(mine.frame.planes, theirs.frame.planes)


def test_its_counts_go_on_where_it_moves(tmp_path: Path) -> None:
    here, there = Rig(MovingPipeline()), Rig(MovingPipeline())
    session, _ = here.open()
    feed(here, session, FRAMES[:5])
    for frame in FRAMES[5:8]:
        session.mailbox.put(frame)
    here.settle()
    session.telemetry.dropped("late_drop", 2)
    before = here.engine.session_stats(session)
    assert (before["frames_in"], before["frames_out"]) == (6, 6)
    assert before["drops"] == {"superseded": 2, "late_drop": 2}
    park(here, session).write(tmp_path / "parcel")
    parcel = Parcel.read(tmp_path / "parcel")
    emit = Collector()
    moved = there.engine.open("s0", session.config, session.controls, emit, parcel=parcel)
    there.settle()
    after = there.engine.session_stats(moved)
    same = "frames_in frames_out repeated drops ttff_ms superseded_rate deadline_miss_rate".split()
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    for frame in FRAMES[8:10]:
        moved.mailbox.put(frame)
    there.settle()
    after = there.engine.session_stats(moved)
    assert (after["frames_in"], after["frames_out"]) == (7, 7)
    assert after["drops"] == {"superseded": 3, "late_drop": 2}
    # Each engine counts for itself: what the first one counted is not counted again.
    assert there.engine.totals.counted("frames", "made") == 1
    assert there.engine.totals.counted("drops", "superseded") == 1
    assert there.engine.totals.counted("drops", "late_drop") == 0


def test_frames_that_wait_come_along_in_order() -> None:
    here, there = Rig(MovingPipeline(chunk=4)), Rig(MovingPipeline(chunk=4))
    session, _ = here.open()
    for frame in FRAMES[:6]:
        session.mailbox.put(frame)
        here.settle()
    parcel = park(here, session)
    assert [frame.index for frame in parcel.frames(session.config)] == [4, 5]
    seen = Collector()
    moved = there.engine.open("s0", session.config, session.controls, seen, parcel=parcel)
    moved.mailbox.put(FRAMES[6])
    there.engine.tick()
    feed(there, moved, FRAMES[7:8])
    assert seen.indices == [4, 5, 6, 7]


def test_a_move_that_is_called_off_loses_nothing() -> None:
    rig = Rig(MovingPipeline(chunk=2))
    session, seen = rig.open()
    feed(rig, session, FRAMES[:3])
    parcel = park(rig, session)
    assert len(session.mailbox) == 0
    rig.engine.unpark(session, parcel)
    feed(rig, session, FRAMES[3:8])
    assert seen.indices == list(range(8))


def test_only_some_pipelines_can_move() -> None:
    assert Rig(MovingPipeline()).engine.portable
    assert not Rig(FakePipeline()).engine.portable


def test_a_launch_names_its_sessions_until_it_is_over() -> None:
    rig = Rig(FakePipeline())
    told: list[tuple[str, ...]] = []
    (one, _), (two, _) = rig.open(lossless=True), rig.open(lossless=True)
    rig.engine.watch_launches = lambda ids: told.append(tuple(ids))
    one.mailbox.put(FRAMES[0])
    two.mailbox.put(FRAMES[0])
    rig.settle()
    assert told == [("s0", "s1"), ()]


def test_a_suspect_steps_alone() -> None:
    rig = Rig(FakePipeline())
    told: list[tuple[str, ...]] = []
    opened = [rig.open(lossless=True) for _ in range(4)]
    rig.engine.watch_launches = lambda ids: told.append(tuple(ids))
    opened[1][0].suspect = True
    for session, _ in opened:
        session.mailbox.put(FRAMES[0])
    rig.settle()
    assert told == [("s0", "s2", "s3"), ("s1",), ()]
    assert all(seen.indices == [0] for _, seen in opened)
