"""Muon for matrices, Adam for the rest: the fewest steps on a small machine.

Momentum of a matrix is made orthogonal by Newton-Schulz iterations before it is applied (Jordan et
al. 2024, "Muon"; the scale that keeps Adam's learning rates is that of arXiv 2502.16982, 2.2).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_A, _B, _C = 3.4445, -4.7750, 2.0315
STEPS = 4
_LARGE = 1 << 19
"""Entries of a matrix whose iterations would cost more than its gradient."""
_INNER = ("blocks", "layers", "mlp", "patch_embed", "stem")


def orthogonal(matrix: Tensor) -> Tensor:
    """About U V^T of the singular value decomposition U S V^T of [rows, columns]."""
    x = matrix.to(torch.bfloat16)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(STEPS):
        square = x @ x.T
        x = _A * x + (_B * square + _C * (square @ square)) @ x
    return (x.T if tall else x).to(matrix.dtype)


class Muon:
    """Attributes: `matrices` are stepped by Muon, what `adam` holds by AdamW."""

    def __init__(self, module: nn.Module, lr: float, decay: float = 0.02) -> None:
        self.lr, self.decay, self.momentum = lr, decay, 0.95
        self.matrices: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        large: list[nn.Parameter] = []
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            # A filter of patches is a matrix as well; Adam's steps would drown its fine details.
            inner = parameter.ndim >= 2 and any(part in name for part in _INNER)
            if inner and parameter.numel() > _LARGE:
                large.append(parameter)
            else:
                (self.matrices if inner else plain).append(parameter)
        self.velocity = [torch.zeros_like(p) for p in self.matrices]
        groups: list[dict[str, Any]] = [{"params": plain}]
        if large:
            groups.append({"params": large, "share": 0.3})
        self.plain_lr = min(lr, 2e-3)
        self.adam = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), weight_decay=0.0)
        self.scale = 1.0

    def set_rate(self, scale: float) -> None:
        self.scale = scale
        for group in self.adam.param_groups:
            group["lr"] = self.plain_lr * scale * group.get("share", 1.0)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.adam.zero_grad(set_to_none)
        for parameter in self.matrices:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        self.adam.step()
        rate = self.lr * self.scale
        for parameter, velocity in zip(self.matrices, self.velocity, strict=True):
            if parameter.grad is None:
                continue
            velocity.mul_(self.momentum).add_(parameter.grad)
            wanted = (parameter.grad + self.momentum * velocity).flatten(1)
            size = 0.2 * max(wanted.shape) ** 0.5
            update = orthogonal(wanted).view_as(parameter)
            parameter.mul_(1 - rate * self.decay).add_(update, alpha=-rate * size)

    def state_dict(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "velocity": self.velocity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        for mine, stored in zip(self.velocity, state["velocity"], strict=True):
            mine.copy_(stored)
