"""How stages ran: counted by the engine, told at the start, chosen by an option."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from millrace.app.metrics import counters
from millrace.models.graphs import Tally
from millrace.streaming.assemble import assemble_around
from millrace.streaming.clock import ManualClock
from millrace.streaming.config import ConfigError, EngineConfig
from millrace.streaming.passthrough import Passthrough
from millrace.streaming.pipeline import PipelineContext
from millrace.streaming.recorders import reason, recorder_for
from millrace.streaming.registry import build_pipeline
from millrace.streaming.stage_runs import StageBook
from millrace.streaming.totals import Totals


class Counted(Passthrough):
    """Says that its stages ran."""

    def __init__(self) -> None:
        super().__init__(PipelineContext())
        self.tally = Tally()

    def stage_runs(self) -> Counter[str]:
        return self.tally.counts

    def told(self) -> tuple[str, ...]:
        return (self.tally.told(),)


def test_what_has_come_since_is_counted_and_exported() -> None:
    pipeline, totals = Counted(), Totals()
    book = StageBook(pipeline, totals)
    pipeline.tally.counts.update({"plain": 3, "recorded": 1})
    book.book()
    book.book()
    pipeline.tally.counts.update({"replayed": 2})
    book.book()
    (metric,) = [m for m in counters({"0": totals.plain()}) if m.name == "millrace_stage_runs"]
    counted = {sample.labels["way"]: sample.value for sample in metric.samples}
    assert counted == {"plain": 3, "recorded": 1, "replayed": 2}


def test_an_engine_says_what_was_refused() -> None:
    pipeline = Counted()
    pipeline.tally.counts["refused"] = 1
    pipeline.tally.refused["forward"] = "it reads a value"
    built = assemble_around(pipeline, EngineConfig(), ManualClock(), lambda: None)
    assert built.info.choices == ("graphs: 1 refused; forward: it reads a value",)
    assert built.engine.totals.counted("stage_runs", "refused") == 1


def test_a_pipeline_of_ones_own_need_not_count() -> None:
    totals = Totals()
    StageBook(Passthrough(PipelineContext()), totals).book()
    assert totals.plain() == {}


def test_on_a_cpu_nothing_is_recorded_and_a_wrong_wish_is_refused() -> None:
    assert recorder_for("cpu", {}) is None and "none on a CPU" in reason("cpu")
    with pytest.raises(ConfigError, match="graphs: 'maybe' is not one of auto, off"):
        build_pipeline("tiny", PipelineContext(options={"graphs": "maybe"}))
    built = build_pipeline("tiny", PipelineContext(options={"graphs": "off"}))
    assert built.info.name == "tiny"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device to record graphs")
def test_on_a_gpu_graphs_are_recorded_unless_switched_off() -> None:
    assert recorder_for("cuda:0", {}) is not None
    assert recorder_for("cuda:0", {"graphs": "off"}) is None
