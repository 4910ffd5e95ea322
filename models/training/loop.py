"""The training loop shared by all models: progress bar, averaged weights, resumable checkpoints."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

Losses = dict[str, Tensor]
"""Named loss terms of one step; "total" is the one that is minimised."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast to train."""

    steps: int
    lr: float
    warmup: int = 100
    decay: float = 0.4
    """Last part of the steps over which the learning rate falls to a fiftieth."""
    weight_decay: float = 0.01
    average: float = 0.999
    """Decay of the averaged weights, which are what is shipped."""
    seed: int = 0
    save_every: int = 100


def learning_rate(plan: Plan, step: int) -> float:
    """Warm up, hold, then fall as a half cosine (warmup-stable-decay)."""
    rise = min(1.0, (step + 1) / plan.warmup)
    start = 1.0 - plan.decay
    done = step / plan.steps
    fall = 1.0 if done < start else 0.5 * (1 + math.cos(math.pi * (done - start) / plan.decay))
    return plan.lr * rise * max(fall, 0.02)


class Averaged:
    """Exponential moving average of a module's parameters, slower as training goes on."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            if value.dtype.is_floating_point:
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)


StepFunction = Callable[[torch.Generator, int], Losses]


class Optimiser(Protocol):
    """What of `torch.optim.Optimizer` a training uses."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def step(self) -> Any: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


def train(
    module: nn.Module,
    step_losses: StepFunction,
    plan: Plan,
    folder: Path,
    optimiser: Optimiser | None = None,
) -> nn.Module:
    """Run `plan` from the last checkpoint in `folder`, if any, and load the averaged weights.

    `step_losses(generator, step)` draws its own data from the generator, which is seeded from the
    plan's seed and the step, so that a resumed run sees what an unbroken one would. None for an
    `optimiser` is AdamW.
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = next(module.parameters()).device
    optimiser = optimiser or _adam(module, plan)
    average = Averaged(module, plan.average)
    first = _resume(folder, module, optimiser, average)
    generator = torch.Generator(device=device)
    bar = tqdm(range(first, plan.steps), initial=first, total=plan.steps, desc=folder.name)
    with (folder / "log.jsonl").open("a") as log:
        for step in bar:
            generator.manual_seed(plan.seed * 1_000_003 + step)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(plan, step)
            losses = step_losses(generator, step)
            optimiser.zero_grad(set_to_none=True)
            losses["total"].backward()
            norm = nn.utils.clip_grad_norm_(module.parameters(), 3.0)
            if torch.isfinite(norm):
                optimiser.step()
                average.update(module, step)
            if step % 10 == 0:
                values = {k: round(float(v.detach()), 5) for k, v in losses.items()}
                bar.set_postfix(values)
                row = {"step": step, "norm": round(float(norm), 3), **values}
                log.write(json.dumps(row) + "\n")
                log.flush()
            if (step + 1) % plan.save_every == 0 or step + 1 == plan.steps:
                _save(folder, module, optimiser, average, step + 1, plan)
    module.load_state_dict(average.weights)
    return module


def _adam(module: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """Matrices decay; biases, gains and other vectors do not."""
    groups = [
        {
            "params": [p for p in module.parameters() if p.ndim > 1],
            "weight_decay": plan.weight_decay,
        },
        {"params": [p for p in module.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=plan.lr, betas=(0.9, 0.98), fused=True)


def _save(
    folder: Path,
    module: nn.Module,
    optimiser: Optimiser,
    average: Averaged,
    step: int,
    plan: Plan,
) -> None:
    part = folder / "last.pt.part"
    state = {
        "step": step,
        "module": module.state_dict(),
        "optimiser": optimiser.state_dict(),
        "average": average.weights,
        "plan": asdict(plan),
    }
    torch.save(state, part)
    os.replace(part, folder / "last.pt")


def _resume(folder: Path, module: nn.Module, optimiser: Optimiser, average: Averaged) -> int:
    path = folder / "last.pt"
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    module.load_state_dict(state["module"])
    optimiser.load_state_dict(state["optimiser"])
    average.weights = state["average"]
    return int(state["step"])


def steps_done(folder: Path) -> int:
    """Steps behind the checkpoint in `folder`, 0 without one."""
    path = folder / "last.pt"
    return int(torch.load(path, weights_only=True)["step"]) if path.exists() else 0


def averaged(folder: Path) -> dict[str, Tensor]:
    """The averaged weights of a stage's last checkpoint.

    Raises:
        SystemExit: the stage has not run.
    """
    path = folder / "last.pt"
    if not path.exists():
        raise SystemExit(f"{path} is missing: run the stage {folder.name!r} first")
    weights: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")["average"]
    return weights
