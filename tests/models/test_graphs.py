"""Stages that are recorded once and replayed: what is copied, kept, refused and given up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from millrace.models.cuda_graphs import Reads
from millrace.models.graphs import Call, Graphs, Recording, bucket, buckets
from tape import TapeRecorder
from torch import Tensor


@dataclass
class Sum:
    """A stage with memory: adds what comes in to what it has, where `runs`."""

    total: Tensor = field(default_factory=lambda: torch.zeros(3))

    def call(self, value: float, runs: bool = True) -> Call:
        given = torch.full((3,), value)
        return Call(
            self._run, (given, torch.tensor(runs)), idle=(given.clone(), torch.tensor(False))
        )

    def plain(self, value: float) -> Call:
        """The same without a way to be idle."""
        inputs = (torch.full((3,), value), torch.tensor(True))
        return Call(self._run, inputs, memory=(self.total,))

    def _run(self, given: Tensor, runs: Tensor) -> Tensor:
        self.total.add_(torch.where(runs, given, 0.0))
        return self.total * 2


def test_the_first_use_runs_the_second_records_and_later_ones_replay() -> None:
    stage, recorder = Sum(), TapeRecorder()
    graphs = Graphs(recorder)
    seen = []
    for value in (1.0, 2.0, 3.0, 4.0):
        seen.append(float(graphs.run("sum", stage.call(value))[0]))
    assert seen == [2.0, 6.0, 12.0, 20.0], "recording adds nothing of its own"
    assert dict(graphs.tally.counts) == {"plain": 2, "recorded": 1, "replayed": 2}
    assert recorder.recorded == 1


def test_memory_that_cannot_be_idle_is_put_back_after_recording() -> None:
    stage = Sum()
    graphs = Graphs(TapeRecorder())
    seen = [float(graphs.run("sum", stage.plain(value))[0]) for value in (1.0, 2.0, 3.0)]
    assert seen == [2.0, 6.0, 12.0] and float(stage.total[0]) == 6.0


def test_a_result_is_the_callers_own() -> None:
    stage = Sum()
    graphs = Graphs(TapeRecorder())
    results = [graphs.run("sum", stage.call(value)) for value in (1.0, 1.0, 1.0, 1.0)]
    assert [float(result[0]) for result in results] == [2.0, 4.0, 6.0, 8.0]


def test_lasting_tensors_are_copied_when_they_are_others() -> None:
    """Their place keeps what was copied; the very same tensor is not looked at again."""
    graphs = Graphs(TapeRecorder())

    def use(value: Tensor) -> float:
        call = Call(lambda given, lasting: given + lasting, (torch.zeros(1),), (value,))
        return float(graphs.run("add", call))

    one, two = torch.ones(1), torch.full((1,), 2.0)
    assert [use(one), use(one), use(one)] == [1.0, 1.0, 1.0]
    assert use(two) == 2.0 and use(one) == 1.0
    one.fill_(7.0)  # against the contract, to see that it is not copied
    assert use(one) == 1.0


def test_the_recording_used_longest_ago_goes_and_must_be_earned_again() -> None:
    stage = Sum()
    graphs = Graphs(TapeRecorder(), most=2)
    for key in ("a", "a", "b", "b", "a", "c", "c"):
        graphs.run(key, stage.call(1.0))
    assert "a" in graphs and "c" in graphs and "b" not in graphs
    assert graphs.tally.counts["evicted"] == 1
    before = graphs.tally.counts["plain"]
    graphs.run("b", stage.call(1.0))
    assert graphs.tally.counts["plain"] == before + 1 and "b" not in graphs


def test_what_reads_a_value_is_refused_once_and_runs_as_it_is() -> None:
    stage, graphs = Sum(), Graphs(TapeRecorder())

    def curious(given: Tensor, runs: Tensor) -> Tensor:
        return given * 2 if float(given[0]) > 0 else given

    for _ in range(4):
        result = graphs.run("curious", Call(curious, stage.call(1.0).inputs))
        assert float(result[0]) == 2.0
    assert graphs.tally.counts == {"plain": 4, "refused": 1}
    assert "not permitted while recording" in graphs.tally.refused["curious"]
    assert "curious: aten::_local_scalar_dense" in graphs.tally.told()


def test_a_replay_that_comes_out_differently_is_refused() -> None:
    class Forgetful:
        def record(self, run: object) -> Recording:
            return Recording(torch.zeros(3), lambda: None)

    stage, graphs = Sum(), Graphs(Forgetful())
    seen = [float(graphs.run("sum", stage.call(1.0))[0]) for _ in range(3)]
    assert seen == [2.0, 4.0, 6.0]
    assert "differs from a plain run by 4, where values go up to 4" in graphs.tally.refused["sum"]


def test_an_error_of_the_stage_itself_is_not_taken_for_one_of_recording() -> None:
    def broken(given: Tensor) -> Tensor:
        raise RuntimeError("no such weight")

    graphs = Graphs(TapeRecorder())
    with pytest.raises(RuntimeError, match="no such weight"):
        graphs.run("broken", Call(broken, (torch.zeros(1),)))


def test_what_a_stage_reads_is_held_and_what_it_makes_is_not() -> None:
    table, made = torch.ones(4), []

    def stage(given: Tensor) -> Tensor:
        made.append(given * 2)
        return made[-1] + table[1:]

    given = torch.zeros(3)
    with Reads() as reads:
        stage(given)
    reads.close()
    held = set(reads.storages)
    assert {t.untyped_storage()._cdata for t in (table, given)} == held
    assert made[0].untyped_storage()._cdata not in held


@pytest.mark.parametrize(
    "ask",
    [
        lambda t: float(t[0]),
        lambda t: bool((t > 0).all()),
        lambda t: t[t > 0],
        lambda t: t.nonzero(),
    ],
    ids=["number", "condition", "mask", "places"],
)
def test_a_value_that_is_asked_for_is_refused_before_anything_is_captured(
    ask: Callable[[Tensor], object],
) -> None:
    with pytest.raises(RuntimeError, match="asks the device for a value"), Reads():
        ask(torch.ones(3))


@given(most=st.integers(1, 80), data=st.data())
def test_a_bucket_holds_its_rows_and_wastes_at_most_a_third(most: int, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, most))
    size = bucket(rows, most)
    assert rows <= size <= most
    assert size - rows <= size / 3
    assert buckets(most)[-1] == most and len(buckets(most)) <= 2 * most.bit_length() + 1
