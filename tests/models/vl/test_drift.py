"""A stream that goes on and on neither grows nor drifts (the command runs 100,000 steps)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from millrace.models.vl import drift, keeping


@pytest.mark.slow
def test_many_steps_do_not_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    # Places are counted anew every few hundred turns instead of once in half an hour.
    monkeypatch.setattr(keeping, "REBASE", 600.0)
    monkeypatch.setattr(drift, "REBASE", 600.0)
    report = drift.run(1200, torch.bfloat16)
    assert report.faults() == []
    assert report.rebased >= 2 and report.furthest < 900
    # The floor of rounding once to bfloat16: 2^-9 at most, 1.7e-3 in the mean.
    assert 1e-3 < report.turn_error < 2e-3
    assert report.key_error[1] < 0.02


def test_faults_are_told() -> None:
    report = drift.run(160, torch.float32)
    assert report.faults() == []
    worse = replace(
        report,
        arena_bytes=(1, 2),
        most_slots=(1, 2),
        furthest=1e6,
        turn_error=0.1,
        key_error=(0.1, 0.2),
        logit_error=(0.1, 0.2),
    )
    assert len(worse.faults()) == 6
