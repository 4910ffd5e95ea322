"""The training loop: resumable to the bit, and the whole recipe at smoke size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from millrace.models.training.loop import (
    Averaged,
    Losses,
    Plan,
    averaged,
    learning_rate,
    steps_done,
    train,
)
from millrace.models.training.run import SMOKE, run_stage
from millrace.models.training.stylizer import PHASES
from torch import nn


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def fit(module: nn.Module, folder: Path, steps: int, stop_at: int | None = None) -> None:
    plan = Plan(steps=steps, lr=1e-2, warmup=2, save_every=1)

    def losses(generator: torch.Generator, step: int) -> Losses:
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(16, 4, generator=generator)
        return {"total": (module(x) - x.sum(1, keepdim=True)).square().mean()}

    train(module, losses, plan, folder)


def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, parts = small(), small()
    fit(whole, tmp_path / "whole", 9)
    with pytest.raises(KeyboardInterrupt):
        fit(parts, tmp_path / "parts", 9, stop_at=5)
    assert steps_done(tmp_path / "parts") == 5
    again = small(seed=1)
    fit(again, tmp_path / "parts", 9)
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_log_holds_every_tenth_step(tmp_path: Path) -> None:
    fit(small(), tmp_path / "run", 21)
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").open()]
    assert steps == [0, 10, 20]


def test_a_stage_that_did_not_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="run the stage 'autoencoder' first"):
        averaged(tmp_path / "autoencoder")


def test_the_learning_rate_rises_holds_and_falls() -> None:
    plan = Plan(steps=100, lr=1.0, warmup=10, decay=0.4)
    rates = [learning_rate(plan, step) for step in range(100)]
    assert rates[0] == 0.1 and rates[9:60] == [1.0] * 51
    assert all(a >= b for a, b in zip(rates[60:], rates[61:], strict=False))
    assert rates[-1] < 0.03


def test_averages_follow_the_weights_and_count_integers() -> None:
    module = nn.BatchNorm1d(3)
    average = Averaged(module, 0.5)
    with torch.no_grad():
        module.weight.fill_(3.0)
        assert module.num_batches_tracked is not None
        module.num_batches_tracked.fill_(7)
    for step in range(100):
        average.update(module, step + 100)
    assert torch.allclose(average.weights["weight"], torch.full((3,), 3.0))
    assert average.weights["num_batches_tracked"] == 7


@pytest.mark.slow
def test_the_whole_recipe_runs_at_smoke_size(tmp_path: Path) -> None:
    for stage in ("autoencoder", *PHASES):
        run_stage(stage, SMOKE, tmp_path, "cpu")
    weights = averaged(tmp_path / "finish")
    assert all(value.isfinite().all() for value in weights.values())
    assert "bank" in weights and "dit.patch_embedding.weight" in weights
