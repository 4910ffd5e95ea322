"""How stages ran: counted by the engine, told at the start, chosen by an option."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from millrace.app.metrics import counters
from millrace.models.graphs import Tally
from millrace.streaming.assemble import assemble_around
from millrace.streaming.clock import ManualClock
from millrace.streaming.config import ConfigError, EngineConfig
from millrace.streaming.passthrough import Passthrough
from millrace.streaming.pipeline import PipelineContext, Result, Work
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


class Recording(Counted):
    """Runs each number of streams plainly, then records it, then replays, as graphs do."""

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        super().__init__()
        self._clock, self._seconds = clock, seconds
        self.used: Counter[int] = Counter()

    def step(self, batch: Sequence[Work]) -> list[Result]:
        rows = len(batch)
        self.used[rows] += 1
        self._clock.advance(0.01)
        if self.used[rows] == 2:
            self._clock.advance(self._seconds)
            self.tally.counts["recorded"] += 1
        return super().step(batch)


def test_all_numbers_of_sessions_are_recorded_before_the_first_viewer() -> None:
    clock = ManualClock()
    pipeline = Recording(clock, 2.0)
    built = assemble_around(pipeline, EngineConfig(max_sessions=5), clock, lambda: None)
    assert {rows for rows, uses in pipeline.used.items() if uses > 1} == {1, 2, 3, 4, 5}
    assert pipeline.tally.counts["recorded"] == 5
    # What later chunks will cost, and not what recording did.
    measured = [seconds for *_, some in built.engine.costs.to_json() for seconds in some]
    assert measured and max(measured) < 0.1


def test_without_recordings_warming_up_is_as_short_as_before() -> None:
    clock = ManualClock()
    pipeline = Recording(clock, 2.0)
    pipeline.used.update(dict.fromkeys(range(1, 6), 2))  # as if all were recorded
    assemble_around(pipeline, EngineConfig(max_sessions=5), clock, lambda: None)
    assert {rows for rows, uses in pipeline.used.items() if uses > 3} == {1, 2, 4}
