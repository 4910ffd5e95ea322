"""Deadlines in the engine: who is held back, what viewers are told, what is learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from fakes import SIZE, Collector, FakePipeline, Rig, make_frame
from millrace.streaming.agenda import profile_of, useful
from millrace.streaming.pipeline import NOMINAL, Effort, PipelineInfo, Work
from millrace.streaming.publish import tell_rung
from millrace.streaming.scheduling.costs import CostTable
from millrace.streaming.scheduling.tasks import Shape, Standing
from millrace.streaming.session import EngineSession
from millrace.streaming.tiny_info import EFFORTS

SHAPE = Shape(SIZE[0], SIZE[1], 1)


class Slow(FakePipeline):
    """Takes its time: so many seconds a row, turned on the rig's clock, in as many passes."""

    def __init__(self, per_row: float, **knobs: int) -> None:
        super().__init__(**knobs)
        self.per_row = per_row
        self.rig: Rig | None = None
        self.worked: list[Work] = []
        efforts = (NOMINAL, Effort("half rate", 0.5, rate=0.5))
        self.info: PipelineInfo = replace(self.info, efforts=efforts)
        self.on_step = self._work

    def _work(self, batch: Sequence[Work]) -> None:
        assert self.rig is not None
        self.worked += batch
        self.rig.clock.advance(self.per_row * len(batch))
        batch[0].mark("pass", len(batch), None)


def rig_of(pipeline: Slow, seconds: float | None = None) -> Rig:
    costs = CostTable()
    if seconds is not None:
        costs.seed("pass", SHAPE, None, 0.0, seconds)
    pipeline.rig = rig = Rig(pipeline, costs=costs)
    return rig


def film(rig: Rig, cameras: list[EngineSession], chunks: int, fps: float = 30.0) -> None:
    """Live cameras: each puts a frame at its rate, whatever the engine is doing meanwhile."""
    start = rig.clock.now()
    for index in range(chunks):
        for number, camera in enumerate(cameras):
            due = start + (index + number / len(cameras)) / fps
            rig.clock.advance(max(0.0, due - rig.clock.now()))
            camera.mailbox.put(make_frame(index, captured_at=rig.clock.now()))
            rig.engine.tick()
    rig.settle()


def test_a_lone_viewer_gets_all_that_the_device_can_do_at_full_effort() -> None:
    """Slower than the camera: the newest frame wins, nothing is held back or made worse."""
    pipeline = Slow(0.050)
    rig = rig_of(pipeline, 0.050)
    session, collector = rig.open()
    start = rig.clock.now()
    film(rig, [session], 60)
    made = len(collector.outputs) / (rig.clock.now() - start)
    assert made == pytest.approx(1 / 0.050, rel=0.05)
    assert not any(output.repeated for output in collector.outputs)
    assert {work.effort for work in pipeline.worked} == {NOMINAL}
    assert set(rig.engine.stats()[session.id]["drops"]) <= {"superseded"}


def test_what_cannot_be_in_time_is_held_and_shown_as_a_repeat() -> None:
    pipeline = Slow(0.030)
    rig = rig_of(pipeline, 0.030)
    opened = [rig.open() for _ in range(4)]
    film(rig, [session for session, _ in opened], 90)
    held = Counter[str]()
    for session, collector in opened:
        stats = rig.engine.stats()[session.id]
        held += Counter({k: v for k, v in stats["drops"].items() if k != "superseded"})
        repeats = sum(output.repeated for output in collector.outputs)
        assert repeats and collector.indices == sorted(collector.indices)
        assert repeats <= sum(stats["drops"].values())
    assert held and set(held) <= {"late_drop", "half_rate", "suspended"}


def test_an_overloaded_viewer_is_told_its_rung_and_why() -> None:
    rig = rig_of(Slow(0.030), 0.030)
    opened = [rig.open() for _ in range(3)]
    film(rig, [session for session, _ in opened], 120)
    told = [e for _, collector in opened for e in collector.events if e.kind == "rung"]
    assert told and {event.data["name"] for event in told} <= {"full", "half rate"}
    assert all(event.data["reason"] for event in told if event.data["rung"])
    stats = [rig.engine.stats()[session.id] for session, _ in opened]
    assert all({"rung", "rung_name", "rung_reason"} <= set(numbers) for numbers in stats)


def test_a_rung_is_told_when_it_changes_and_only_then() -> None:
    rig = Rig(FakePipeline())
    session, _ = rig.open()
    heard = Collector()
    session.emit = heard
    for rung in (0, 0, 2, 2, 0):
        tell_rung(session, Standing(rung, f"rung {rung}", "busy" if rung else ""))
    assert [event.data["rung"] for event in heard.events] == [2, 0]
    assert heard.events[0].data == {"name": "rung 2", "reason": "busy", "rung": 2}


def test_stage_times_are_learned_without_the_first() -> None:
    rig = rig_of(Slow(0.020))
    session, _ = rig.open()
    for index in range(10):
        rig.pass_time(0.1)
        session.mailbox.put(make_frame(index))
        rig.settle()
    assert rig.engine.costs.seconds("pass", SHAPE, 1, None, 0.5) == pytest.approx(0.020)
    assert [count for (stage, *_), _, count in rig.engine.costs if stage == "pass"] == [9]


def test_files_have_no_deadline_and_lose_nothing_beside_live_viewers() -> None:
    rig = rig_of(Slow(0.040), 0.040)
    live, _ = rig.open()
    file, collector = rig.open(lossless=True)
    sent = 0
    for index in range(60):
        live.mailbox.put(make_frame(index))
        sent += file.mailbox.put(make_frame(sent))
        rig.engine.tick()
    file.mailbox.end()
    rig.settle()
    assert collector.indices == list(range(sent)) and sent > 20
    assert not any(output.repeated for output in collector.outputs)
    assert "rung" not in file.stats(rig.clock.now())


def test_warming_up_measures_rows_and_leaves_larger_batches_out_when_they_take_too_long() -> None:
    for per_row, rows in ((0.001, {1, 2, 4}), (0.2, {1})):
        rig = rig_of(Slow(per_row))
        rig.engine.warm_up()
        measured = {count for (stage, *_), count, _ in rig.engine.costs if stage == "pass"}
        assert measured == rows
        assert rig.engine.costs.seconds("pass", SHAPE, 1, None) == pytest.approx(per_row)


def test_only_efforts_that_save_something_are_on_a_ladder() -> None:
    assert [effort.name for effort in useful(EFFORTS, 2)] == [effort.name for effort in EFFORTS]
    assert "one pass" not in [effort.name for effort in useful(EFFORTS, 1)]
    assert useful((NOMINAL,), 1) == (NOMINAL,)


def test_a_profile_follows_the_session() -> None:
    rig = Rig(FakePipeline())
    session, _ = rig.open()
    profile = profile_of(rig.engine.info, session, 0.06)
    assert profile.deadline == pytest.approx(0.060), "the least"
    session.config = replace(session.config, fps=10, user="ann", deadline_ms=250, weight=2)
    profile = profile_of(rig.engine.info, session, 0.06)
    assert (profile.deadline, profile.user, profile.weight) == (0.25, "ann", 2)
    session.config = replace(session.config, deadline_ms=0)
    assert profile_of(rig.engine.info, session, 0.06).deadline == pytest.approx(0.08)
