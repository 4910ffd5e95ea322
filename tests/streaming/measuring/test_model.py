"""A small causal Wan model and a small UNet, measured whole through a real engine."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from millrace.models.flops import buffer_pass, dit_pass
from millrace.models.scene import PICTURES
from millrace.streaming.assemble import assemble_around
from millrace.streaming.clock import ManualClock, SystemClock
from millrace.streaming.config import EngineConfig
from millrace.streaming.dream_pipeline import Dreaming
from millrace.streaming.frames import i420_shape
from millrace.streaming.measuring.ceiling import Ceiling
from millrace.streaming.measuring.contender import Source, chunks_to_fill
from millrace.streaming.measuring.costs import NotCounted, costs_of
from millrace.streaming.measuring.feed import Feed, ModelFailed
from millrace.streaming.measuring.launches import Launch, Pass, Watched
from millrace.streaming.measuring.model import Asked, Side, measure
from millrace.streaming.passthrough import Passthrough
from millrace.streaming.pipeline import Pipeline, PipelineContext
from millrace.streaming.tiny import build as build_tiny

from ..dream_models import small_parts
from ..wan_models import DIT, SIDE, SIZES, model, pipeline

CPU = torch.device("cpu")


def source(side: int = SIDE, fps: float = 30.0) -> Source:
    generator = np.random.default_rng(0)
    shape = i420_shape(side, side)
    planes = [generator.integers(16, 235, shape, dtype=np.uint8) for _ in range(6)]
    return Source(planes, (side, side), fps)


def side_of(made: Pipeline, side: int = SIDE) -> Side:
    clock = SystemClock()
    engine = EngineConfig("cpu", max_sessions=1, size=(side, side))
    watched = Watched(made, clock, CPU)
    built = assemble_around(made, engine, clock, lambda: None)
    return Side(built.engine, watched, "cpu", torch.float32)


def measured(made: Pipeline, steps: tuple[int | None, ...], side: int = SIDE) -> dict[str, Any]:
    asked = Asked(source(side), steps, {}, seconds=0.02, windows=2)
    ceiling = Ceiling(CPU, torch.float32, SystemClock(), copied=1 << 16, sides=(64,))
    return measure(side_of(made, side), asked, [], SystemClock(), ceiling=ceiling)


@pytest.mark.parametrize("sequential", [True, False], ids=["sequential", "stream"])
def test_a_wan_model_is_measured_by_stage_at_full_quality(sequential: bool) -> None:
    made = pipeline(model(dtype=torch.float32), streams=1, sequential=sequential)
    report = measured(made, (1, 3))
    one, three = report["runs"]
    assert [run["steps"] for run in report["runs"]] == [1, 3]
    for run in (one, three):
        assert run["raw_fps"] > 0 and run["ttff_ms"] > 0 and len(run["raw_fps_windows"]) == 2
        assert set(run["rungs"]) == {"full"} and run["drops"] == {}
        assert run["frames"] == 4 * sum(run["rungs"].values()), "four pictures a chunk"
        assert run["stages_ms"]["encode"]["p50"] > 0 and run["stages_ms"]["decode"]["p50"] > 0
        assert 0 < run["mfu"]["median"] and 0 < run["pass_mfu"]["median"]
        assert run["energy_j_per_frame"] is None or run["energy_j_per_frame"] > 0
    passes = [name for name in three["stages_ms"] if name.startswith("pass")]
    # In a stream batch all levels share one forward of as many rows.
    assert passes == (["pass 1", "pass 2", "pass 3"] if sequential else ["pass 1"])
    assert [name for name in one["stages_ms"] if name.startswith("pass")] == ["pass 1"]
    pass_flops = dit_pass(DIT, (SIDE // 8, SIDE // 8), 1, 4).flops
    assert three["flops_per_chunk"] - one["flops_per_chunk"] == pytest.approx(
        2 * pass_flops, rel=0.01
    )
    assert report["ceiling"]["flops_per_s"]["median"] > 0 and report["compare"] == []
    assert report["energy"]["source"] or report["energy"]["not_measured"]


def test_the_embedded_model_and_one_without_stages_are_measured_too() -> None:
    options = {"random_weights": True, "max_sessions": 1}
    made = build_tiny(PipelineContext(options=options))
    (run,) = measured(made, (1,), 64)["runs"]
    assert run["mfu"]["median"] > 0 and run["steps"] == 1
    report = measured(Passthrough(PipelineContext()), (None,), 64)
    (run,) = report["runs"]
    assert run["steps"] is None and "mfu" not in run and "passthrough" in report["not_counted"]
    assert run["raw_fps"] > 0


def test_costs_of_a_launch_are_those_of_its_stages() -> None:
    made = pipeline(model("wan+taehv"), streams=1)
    costs = costs_of(made, (SIDE, SIDE), torch.bfloat16)
    launch = Launch(1.0, (Pass(1, None, 1.0), Pass(1, None, 1.0)), 1.0, 0.0, 0.0)
    one = costs.one_pass(1, None)
    assert costs.launch(launch).flops == costs.encode.flops + 2 * one.flops + costs.decode.flops
    assert costs.one_pass(1, 1).flops < one.flops, "less of the past is less work"
    assert costs.one_pass(1, 99).flops == one.flops, "there is no more past than the ring holds"
    small = costs_of(pipeline(model("taehv"), streams=1), (SIDE, SIDE), torch.bfloat16)
    assert small.encode.flops < costs.encode.flops and small.decode == costs.decode


def test_costs_of_pictures_from_words_are_those_of_the_buffer() -> None:
    scene, autoencoder = small_parts()
    made = Dreaming(scene, autoencoder, streams=1, steps=1)
    (run,) = measured(made, (None,), 128)["runs"]
    cost = run["stages_cost"]
    buffer = buffer_pass(scene.spec, (16, 16), PICTURES, 4, rows=2)  # guidance takes twice as much
    assert cost["pass"]["flops"] == buffer.flops
    # From words alone nothing is encoded; the buffer steps once for each chunk that leaves.
    assert run["flops_per_chunk"] == buffer.flops + cost["decode"]["flops"]


def test_what_nobody_counted_is_said() -> None:
    with pytest.raises(NotCounted, match="passthrough"):
        costs_of(Passthrough(PipelineContext()), (64, 64), torch.float32)


@pytest.mark.parametrize("sequential", [True, False])
def test_a_stream_is_full_after_as_many_chunks_as_are_said(sequential: bool) -> None:
    made = pipeline(model(dtype=torch.float32), streams=1, sequential=sequential)
    side = side_of(made)
    shown = source()
    feed = Feed(side.engine, SystemClock(), shown.pictures, shown.size, shown.fps, {"steps": 4})
    for _ in range(chunks_to_fill(made)):
        feed.chunk()
    (bank,) = made.banks.values()
    ring = bank.lanes.state.ring
    assert int(ring.frames.min()) >= ring.policy.sinks + ring.policy.window
    feed.close()
    assert side.engine.stats() == {}


class Broken(Passthrough):
    """Fails at its third chunk in a session of the benchmark."""

    def __init__(self) -> None:
        super().__init__(PipelineContext())
        self.broken = False

    def step(self, batch: Any) -> Any:
        if self.broken:
            raise RuntimeError("out of luck")
        return super().step(batch)


def test_a_model_that_fails_ends_the_run_with_its_reason() -> None:
    made = Broken()
    side = side_of(made, 64)
    shown = source(64)
    feed = Feed(side.engine, ManualClock(), shown.pictures, shown.size, shown.fps, {})
    feed.chunk()
    made.broken = True
    with pytest.raises(ModelFailed, match="out of luck"):
        feed.chunk()


def test_every_chunk_waits_for_none_and_none_is_lost() -> None:
    side = side_of(Passthrough(PipelineContext()), 64)
    shown = source(64)
    feed = Feed(side.engine, SystemClock(), shown.pictures, shown.size, shown.fps, {})
    for _ in range(5):
        feed.chunk()
    assert len(feed.done) == 5 and feed.in_flight == 0
    assert all(done.finished >= done.handed_in for done in feed.done)
    feed.close()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_gpu_tells_the_same_stages_with_events() -> None:
    from millrace.models.wan import random_wan

    of = random_wan(SIZES, "taehv", "cuda", torch.bfloat16)
    made = pipeline(of, streams=1, sequential=True)
    clock = SystemClock()
    engine = EngineConfig("cuda:0", max_sessions=1, overlap=True, size=(SIDE, SIDE))
    watched = Watched(made, clock, torch.device("cuda:0"))
    built = assemble_around(made, engine, clock, lambda: None)
    asked = Asked(source(), (2,), {}, seconds=0.2, windows=2)
    report = measure(Side(built.engine, watched, "cuda:0", torch.bfloat16), asked, [], clock)
    (run,) = report["runs"]
    stages = run["stages_ms"]
    inside = sum(one["p50"] for name, one in stages.items() if not math.isnan(one["p50"]))
    assert inside > 0 and run["peak_memory_mb"] > 0 and run["mfu"]["median"] < 1
