"""The engine: exactness, order, closing, faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import SIZE, Collector, FakePipeline, Rig, make_frame, make_frames, run_alone
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.streaming.host import HostRefused
from millrace.streaming.passthrough import Passthrough
from millrace.streaming.pipeline import PipelineContext, Result, StreamConfig
from millrace.streaming.results import PipelineError
from millrace.streaming.scheduling.costs import CostTable
from millrace.streaming.scheduling.tasks import Shape


def pixels(outputs: list) -> np.ndarray:
    return np.stack([output.frame.planes for output in outputs])


@pytest.mark.parametrize("chunk", [1, 2, 4])
@pytest.mark.parametrize("delay", [0, 1, 3])
def test_every_frame_comes_out_once_with_its_own_stamps(chunk: int, delay: int) -> None:
    frames = list(make_frames(10))
    outputs = run_alone(FakePipeline(chunk=chunk, delay=delay), frames)
    assert [o.frame.index for o in outputs] == list(range(10))
    assert [o.frame.pts for o in outputs] == [f.pts for f in frames]
    assert [o.frame.captured_at for o in outputs] == [f.captured_at for f in frames]


@pytest.mark.parametrize("chunk", [2, 4])
@pytest.mark.parametrize("delay", [0, 2])
def test_any_chunking_and_delay_equals_frame_by_frame(chunk: int, delay: int) -> None:
    expected = pixels(run_alone(FakePipeline(), make_frames(13)))
    assert np.array_equal(
        pixels(run_alone(FakePipeline(chunk=chunk, delay=delay), make_frames(13))), expected
    )


@settings(max_examples=40, deadline=None)
@given(
    chunk=st.integers(1, 3),
    delay=st.integers(0, 3),
    overlap=st.booleans(),
    script=st.lists(
        st.tuples(
            st.sampled_from(["put", "put", "put", "tick", "pass", "close"]), st.integers(0, 2)
        ),
        max_size=60,
    ),
)
def test_sessions_never_notice_each_other(
    chunk: int, delay: int, overlap: bool, script: list[tuple[str, int]]
) -> None:
    """Row i of a batch equals the same session run alone, whoever joins, pauses, flushes or leaves;
    and what comes out is what went in, once and in order."""
    rig = Rig(FakePipeline(chunk=chunk, delay=delay), overlap=overlap)
    sessions = [rig.open(lossless=True) for _ in range(3)]
    given_frames: list[list] = [[], [], []]
    for action, which in script:
        session, _ = sessions[which]
        if action == "put":
            frame = make_frame(len(given_frames[which]), seed=which)
            if session.mailbox.put(frame):
                given_frames[which].append(frame)
        elif action == "tick":
            rig.engine.tick()
        elif action == "pass":
            rig.clock.advance(0.2)
            rig.engine.tick()
        else:
            rig.engine.close(session, "left")
    for session, _ in sessions:
        session.mailbox.end()
    rig.settle()
    for which, (session, collector) in enumerate(sessions):
        came = collector.indices
        assert came == list(range(len(came)))
        if session.closing is None:
            assert len(came) == len(given_frames[which])
        if came:
            alone = run_alone(FakePipeline(chunk=chunk), given_frames[which])
            assert np.array_equal(collector.pixels(), pixels(alone)[: len(came)])
        assert collector.kinds == ["live", "closed"]


def test_a_paused_session_keeps_its_memory_untouched() -> None:
    pipeline = FakePipeline()
    rig = Rig(pipeline)
    still, _ = rig.open()
    moving, _ = rig.open()
    still.mailbox.put(make_frame(0, seed=1))
    rig.settle()
    before = pipeline.streams[0].memory.clone()
    for frame in make_frames(5):
        moving.mailbox.put(frame)
        rig.pass_time(1.0)
    assert torch.equal(pipeline.streams[0].memory, before)


def test_ready_sessions_share_one_step_where_that_saves_time() -> None:
    pipeline, costs = FakePipeline(), CostTable()
    costs.seed("pass", Shape(SIZE[0], SIZE[1], 1), None, fixed=0.035, per_row=0.001)
    rig = Rig(pipeline, costs=costs)
    sessions = [rig.open()[0] for _ in range(4)]
    for session in sessions:
        session.mailbox.put(make_frame(0))
    rig.settle()
    assert 0 < len(pipeline.steps) < 4, "one by one, three of four would be late"


def test_sessions_of_different_sizes_share_a_step() -> None:
    rig = Rig(FakePipeline())
    sizes = [(16, 16), (32, 16), (16, 16)]
    sessions = [rig.open(size) for size in sizes]
    for number, (session, _) in enumerate(sessions):
        session.mailbox.put(make_frame(0, sizes[number], seed=number))
    rig.settle()
    for number, (_, collector) in enumerate(sessions):
        alone = run_alone(FakePipeline(), [make_frame(0, sizes[number], seed=number)])
        assert np.array_equal(collector.pixels(), pixels(alone))


def test_live_input_keeps_the_newest() -> None:
    rig = Rig(FakePipeline())
    session, collector = rig.open()
    for frame in make_frames(5):
        session.mailbox.put(frame)
    rig.settle()
    assert collector.indices == [4]
    assert rig.engine.stats()[session.id]["drops"]["superseded"] == 4


def test_chunks_in_flight_come_out_when_the_input_pauses() -> None:
    rig = Rig(FakePipeline(delay=2))
    session, collector = rig.open()
    for frame in make_frames(4):
        session.mailbox.put(frame)
        rig.pass_time(1 / 30)
    assert collector.indices == [0, 1]
    assert rig.engine.wait_time() is not None
    rig.pass_time(rig.engine.wait_time() or 0)
    assert collector.indices == [0, 1, 2, 3]
    assert rig.engine.wait_time() is None, "nothing is due when nothing is in flight"


def test_a_slow_camera_is_not_flushed_between_its_frames() -> None:
    pipeline = FakePipeline(delay=1)
    rig = Rig(pipeline)
    session, _ = rig.open()
    for frame in make_frames(20):
        session.mailbox.put(frame)
        rig.settle()
        rig.pass_time(0.2)
    flushes = [flush for step in pipeline.steps[10:] for _, flush in step]
    assert not any(flushes)


def test_with_overlap_a_batch_leaves_while_the_next_runs() -> None:
    pipeline = FakePipeline()
    rig = Rig(pipeline, overlap=True)
    session, collector = rig.open()
    frames = list(make_frames(2))
    session.mailbox.put(frames[0])
    assert rig.engine.tick() and not collector.outputs
    session.mailbox.put(frames[1])
    assert rig.engine.tick() and collector.indices == [0] and len(pipeline.steps) == 2
    assert rig.engine.tick() is False and collector.indices == [0, 1], "idle: nothing stays behind"


def test_what_was_done_before_a_failure_still_leaves() -> None:
    rig = Rig(FakePipeline(raise_on_label="bad"), overlap=True)
    session, collector = rig.open()
    session.mailbox.put(make_frame(0))
    rig.engine.tick()
    rig.change(session, label="bad")
    session.mailbox.put(make_frame(1))
    rig.settle()
    assert collector.indices == [0] and collector.kinds == ["live", "closed"]


def test_a_pause_does_not_make_the_next_flush_late() -> None:
    rig = Rig(FakePipeline(delay=1))
    session, _ = rig.open()
    for index in range(8):
        if index == 4:
            rig.pass_time(600)
        session.mailbox.put(make_frame(index))
        rig.pass_time(1 / 30)
    assert (rig.engine.wait_time() or 0) < 0.25


def test_controls_are_read_at_chunk_boundaries_and_their_epoch_comes_back() -> None:
    rig = Rig(FakePipeline(delay=1))
    session, collector = rig.open()
    for index in range(4):
        if index == 2:
            rig.change(session, gain=0.0)
        session.mailbox.put(make_frame(index, level=235))
        rig.pass_time(1 / 30)
    rig.pass_time(1.0)
    assert [o.epoch for o in collector.outputs] == [0, 0, 1, 1]
    luma = [int(o.frame.planes[0, 0]) for o in collector.outputs]
    assert luma[1] > 100 and luma[2] == 16


def test_a_reset_forgets_the_past_and_only_ones_own() -> None:
    rig = Rig(FakePipeline())
    (one, first), (two, second) = rig.open(), rig.open()
    frames = list(make_frames(6))
    for index, frame in enumerate(frames):
        if index == 3:
            one.controls = one.controls.reset()
        for session in (one, two):
            session.mailbox.put(frame)
        rig.settle()
    fresh = pixels(run_alone(FakePipeline(), frames[3:]))
    assert np.array_equal(first.pixels()[3:], fresh)
    assert np.array_equal(second.pixels(), pixels(run_alone(FakePipeline(), frames)))


def test_notes_are_sent_when_they_change() -> None:
    rig = Rig(FakePipeline())
    session, collector = rig.open(label="sea")
    for index, label in enumerate(["sea", "sea", "sky", "sky"]):
        rig.change(session, label=label)
        session.mailbox.put(make_frame(index))
        rig.settle()
    notes = [event.data for event in collector.events if event.kind == "notes"]
    assert notes == [{"label": "sea"}, {"label": "sky"}]


def test_a_step_that_raises_closes_the_sessions_of_its_batch_and_no_other() -> None:
    pipeline = FakePipeline(raise_on_label="bad")
    rig = Rig(pipeline)
    # Without deadlines all that is ready runs together.
    (bad, bad_out), (near, near_out) = rig.open(lossless=True), rig.open(lossless=True)
    idle, idle_out = rig.open()
    rig.change(bad, label="bad")
    bad.mailbox.put(make_frame(0))
    near.mailbox.put(make_frame(0))
    rig.settle()
    assert bad_out.events[-1].kind == near_out.events[-1].kind == "closed"
    assert "label bad is cursed" in bad_out.events[-1].message
    assert len(pipeline.streams) == 1, "streams of the failed batch were closed"
    idle.mailbox.put(make_frame(0))
    rig.settle()
    assert idle_out.indices == [0] and idle_out.kinds == ["live"]
    fresh, fresh_out = rig.open()
    fresh.mailbox.put(make_frame(0))
    rig.settle()
    assert fresh_out.indices == [0]


def test_no_room_in_the_pipeline_closes_the_newcomer_with_the_reason() -> None:
    rig = Rig(FakePipeline(rooms=1))
    rig.open()
    _, collector = rig.open()
    assert collector.kinds == ["closed"]
    assert "no room" in collector.events[0].message


def test_admission_is_refused_with_the_reason() -> None:
    rig = Rig(FakePipeline(), max_sessions=1)
    session, _ = rig.open()
    with pytest.raises(HostRefused, match="all 1 places"):
        rig.open()
    rig.engine.close(session)
    rig.settle()
    rig.open()
    picky = FakePipeline()
    picky.info = replace(picky.info, size_multiple=16, max_side=64)
    for size, words in [((24, 16), "32x16"), ((128, 16), "up to 64")]:
        with pytest.raises(HostRefused, match=words):
            Rig(picky).open(size)


def put_nan(results: list[Result]) -> list[Result]:
    return [replace(r, frames=r.frames * float("nan")) for r in results]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda rs: [replace(r, frames=r.frames * 255) for r in rs], "0..1"),
        (put_nan, "0..1"),
        (lambda rs: [replace(r, frames=r.frames[:, :1]) for r in rs], r"\[1, 3, 16, 16\]"),
        (lambda rs: [replace(r, frames=(r.frames * 255).byte()) for r in rs], "uint8"),
        (lambda rs: [replace(r, frames=r.frames.numpy()) for r in rs], "ndarray"),
        (lambda rs: [replace(r, index=r.index + 1) for r in rs], "in order"),
        (lambda rs: rs + rs, "once"),
        (lambda rs: [replace(r, stream=object()) for r in rs], "not in the batch"),
        (lambda rs: [replace(r, notes={"tensor": torch.zeros(1)}) for r in rs], "notes"),
    ],
)
def test_a_broken_promise_is_named(
    spoil: Callable[[list[Result]], list[Result]], words: str
) -> None:
    with pytest.raises(PipelineError, match=words) as caught:
        run_alone(FakePipeline(spoil=spoil), [make_frame(0, level=200)])
    assert "pipeline fake" in str(caught.value)


def test_a_flush_that_brings_nothing_is_named_and_does_not_hang() -> None:
    pipeline = FakePipeline(delay=1, spoil=lambda results: [])
    with pytest.raises(PipelineError, match="flush"):
        run_alone(pipeline, make_frames(1))


def test_streams_must_be_told_apart() -> None:
    class Careless(FakePipeline):
        def open(self, config: StreamConfig) -> str:
            return "the same for all"

    rig = Rig(Careless())
    rig.open()
    _, collector = rig.open()
    assert "another stream" in collector.events[0].message


def test_a_pipeline_without_memory_serves_several_sessions() -> None:
    rig = Rig(Passthrough(PipelineContext()))
    sessions = [rig.open() for _ in range(3)]
    for number, (session, _) in enumerate(sessions):
        session.mailbox.put(make_frame(0, level=50 + 40 * number))
    rig.settle()
    assert [int(c.outputs[0].frame.planes[0, 0]) for _, c in sessions] == [50, 90, 130]


def test_closing_lets_chunks_in_flight_go_and_says_so_once() -> None:
    rig = Rig(FakePipeline(delay=3))
    session, collector = rig.open()
    for frame in make_frames(2):
        session.mailbox.put(frame)
        rig.settle()
    rig.engine.close(session, "bye")
    rig.engine.close(session, "bye")
    rig.pass_time(10)
    assert collector.kinds == ["live", "closed"] and not collector.outputs
    assert not session.mailbox.put(make_frame(9))


def test_shutdown_closes_everyone_even_those_who_just_came() -> None:
    pipeline = FakePipeline()
    rig = Rig(pipeline)
    session, collector = rig.open()
    late = Collector()
    rig.engine.open("late", StreamConfig(*SIZE), session.controls, late)
    rig.engine.shutdown("the server stopped")
    assert not pipeline.streams
    assert collector.kinds == ["live", "closed"] and late.kinds == ["closed"]
    assert late.events[0].message == "the server stopped"


def test_warm_up_leaves_nothing_behind_and_reports_a_broken_pipeline() -> None:
    pipeline = FakePipeline(chunk=2, delay=2)
    rig = Rig(pipeline)
    rig.engine.warm_up()
    assert not pipeline.streams and not rig.engine.stats()
    with pytest.raises(PipelineError, match="cursed"):
        Rig(FakePipeline(raise_at=1)).engine.warm_up()


def test_statistics_have_the_designs_names() -> None:
    pipeline = FakePipeline()
    rig = Rig(pipeline)
    pipeline.on_step = lambda batch: rig.clock.advance(0.010)
    session, _ = rig.open()
    for index in range(60):
        session.mailbox.put(make_frame(index, captured_at=rig.clock.now()))
        rig.clock.advance(0.005)
        rig.settle()
        rig.clock.advance(0.010)
    numbers = rig.engine.stats()[session.id]
    assert numbers["fps_out"] == pytest.approx(40, abs=0.1)
    assert numbers["e2e_ms"] == {"p50": 15.0, "p95": 15.0, "p99": 15.0}
    assert numbers["stages"]["wait"]["p50"] == pytest.approx(5)
    assert numbers["stages"]["model"]["p50"] == pytest.approx(10)
    assert numbers["frames_in"] == numbers["frames_out"] == 60
    assert set(numbers["stages"]) == {"wait", "encode", "model", "decode", "total"}
