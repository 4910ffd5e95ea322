"""Linear layers of large models, and the gated MLP that tower and decoder share."""

from __future__ import annotations

import torch.nn as nn
import torch.nn.functional as functional
from torch import Tensor

from ..layers import Linear


class PlainLinear(nn.Linear):
    """A linear layer that keeps no second, packed copy of its weight: for one token at a time that
    copy is no faster (a third as fast at the embedded model's sizes), and large models have no room
    for it."""

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        out = functional.linear(x, self.weight, self.bias)
        return out if residual is None else residual + out


class GatedMLP(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(
        self, dim: int, ffn_dim: int, bias: bool, linear: type[Linear] | type[PlainLinear]
    ) -> None:
        super().__init__()
        self.gate_proj = linear(dim, ffn_dim, bias)
        self.up_proj = linear(dim, ffn_dim, bias)
        self.down_proj = linear(ffn_dim, dim, bias)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        hidden = functional.silu(self.gate_proj(x)) * self.up_proj(x)
        return self.down_proj(hidden, residual=residual)
