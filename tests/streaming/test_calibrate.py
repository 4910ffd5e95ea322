"""The measurement at start: bounded, kept, and honest about what it skipped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from millrace.streaming import calibrate
from millrace.streaming.clock import ManualClock
from millrace.streaming.config import Options, resolve


class CountingClock(ManualClock):
    """Every look at it takes 10 ms."""

    def now(self) -> float:
        self.advance(0.01)
        return super().now()


def test_each_candidate_is_timed_and_the_answer_kept(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    facts = calibrate.measure(Options(device="cpu"), CountingClock(), tmp_path)
    assert torch.get_num_threads() == threads
    expected = {
        (dtype, count)
        for dtype in ("float32", "bfloat16")
        for count in calibrate.thread_counts(facts.cores)
    }
    assert {(t.dtype, t.threads) for t in facts.timings} == expected
    assert all(t.ms == pytest.approx(10) for t in facts.timings)
    again = calibrate.measure(Options(device="cpu"), ManualClock(), tmp_path)
    assert again == facts, "taken from the file: a clock that stands would have given zeros"
    resolve(Options(device="cpu"), facts)


def test_nothing_is_measured_when_nothing_is_open(tmp_path: Path) -> None:
    options = Options(device="cpu", dtype="float32", threads=2)
    assert calibrate.measure(options, ManualClock(), tmp_path).timings == ()
    assert not list(tmp_path.iterdir())


def test_another_switch_is_another_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrate.measure(Options(device="cpu"), CountingClock(), tmp_path)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    calibrate.measure(Options(device="cpu"), CountingClock(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_spoilt_file_is_measured_anew(tmp_path: Path) -> None:
    calibrate.measure(Options(device="cpu"), CountingClock(), tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text("[[1]]")
    facts = calibrate.measure(Options(device="cpu"), CountingClock(), tmp_path)
    assert facts.timings


def test_an_unwritable_folder_only_costs_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    facts = calibrate.measure(Options(device="cpu"), CountingClock(), tmp_path / "file" / "x")
    assert facts.timings


@pytest.mark.parametrize(
    ("cores", "counts"),
    [(1, [1]), (2, [1, 2]), (4, [1, 2, 3, 4]), (8, [1, 2, 4, 7, 8]), (64, [1, 2, 4, 8])],
)
def test_candidates_stay_few(cores: int, counts: list[int]) -> None:
    assert calibrate.thread_counts(cores) == counts
