"""One block of the causal Wan 2.1 transformer, and its head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn as nn
from torch import Tensor

from ..kernels import (
    gated_residual_norm,
    gelu_rows,
    modulated_layer_norm,
    normed_for,
    takes_rows,
)
from .attention import CrossAttention, Memory, SelfAttention
from .layers import Linear
from .specs import DiTSpec

Entry = tuple[Tensor, Tensor]
"""Scale and shift of a norm, [rows, frames, 1, dim] each."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt as the network sees it, the same for all frames.

    Attributes:
        text: per layer, key and value [rows, text_len, heads, head_dim].
        pooled: [rows, dim], mean of the projected prompt.
        last: [rows, channels, width + 1], the layer that the prompt gives (see `Tail`); empty
            without a tail.
    """

    text: list[tuple[Tensor, Tensor]]
    pooled: Tensor
    last: Tensor


@dataclass(frozen=True, slots=True)
class Steering:
    """What does not change from block to block.

    Attributes:
        time: [rows, frames, dim], embedding of the timesteps.
        modulation: [rows, frames, 6, dim], projected from it.
        film: [rows * frames, dim], for the convolutional blocks.
        prompt: what is to be drawn.
    """

    time: Tensor
    modulation: Tensor
    film: Tensor
    prompt: Reading


class MLP(nn.Sequential):
    """Linear, gelu, linear, with the parameter names of the plain sequence."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__(Linear(dim, inner), nn.GELU(approximate="tanh"), Linear(inner, dim))

    @property
    def first(self) -> Tensor:
        """The weight that reads what comes in."""
        return cast(Linear, self[0]).weight

    def forward(self, x: Tensor) -> Tensor:
        up, _, down = self
        if takes_rows(cast(Linear, down).weight):
            return down(gelu_rows(up(x)))
        return down(up(x, activation="gelu"))


class Block(nn.Module):
    """One transformer block of Wan 2.1: self-attention, cross-attention, MLP."""

    def __init__(self, spec: DiTSpec) -> None:
        super().__init__()
        self.eps = spec.eps
        self.modulation = nn.Parameter(torch.zeros(1, 6, spec.dim))
        self.self_attn = SelfAttention(spec)
        self.cross_attn = CrossAttention(spec)
        self.norm3 = nn.LayerNorm(spec.dim, eps=spec.eps)
        self.ffn = MLP(spec.dim, spec.ffn_dim)

    def steps(self, steering: Steering) -> tuple[Tensor, ...]:
        """Shift, scale and gate of self-attention, then of the MLP: [rows, frames, 1, dim] each."""
        return (self.modulation + steering.modulation).unsqueeze(-2).unbind(2)

    def forward(
        self,
        x: Tensor,
        hidden: Tensor,
        steps: tuple[Tensor, ...],
        layer: int,
        steering: Steering,
        memory: Memory,
        after: Entry,
    ) -> tuple[Tensor, Tensor]:
        """One block, from its first norm's result to that of whatever reads the tokens next.

        Args:
            x: the residual stream, [rows, frames, tokens, dim].
            hidden: x as this block's first norm leaves it.
            steps: from `steps`.
            after: of the norm that comes next.

        Returns:
            The new residual stream, and what that norm makes of it.
        """
        _, _, gate1, shift2, scale2, gate2 = steps
        seen, norm = self.self_attn(hidden, layer, memory), self.norm3
        affine = (norm.weight, norm.bias, norm.eps)
        x, hidden = gated_residual_norm(x, seen, gate1, *affine, modulated=False)
        x = self.cross_attn(hidden, *steering.prompt.text[layer], x)
        hidden = normed_for(self.ffn.first, x, scale2, shift2, self.eps)
        return gated_residual_norm(x, self.ffn(hidden), gate2, *after, self.eps)


class Head(nn.Module):
    """Tokens to patches."""

    def __init__(self, spec: DiTSpec, channels: int) -> None:
        super().__init__()
        self.eps = spec.eps
        self.modulation = nn.Parameter(torch.zeros(1, 2, spec.dim))
        self.head = Linear(spec.dim, channels * spec.patch[1] * spec.patch[2])

    def entry(self, time: Tensor) -> Entry:
        shift, scale = (self.modulation + time.unsqueeze(2)).unsqueeze(-2).unbind(2)
        return scale, shift

    def forward(self, hidden: Tensor) -> Tensor:
        return self.head(hidden)


def run_blocks(
    blocks: Sequence[Block], head: Head, x: Tensor, steering: Steering, memory: Memory
) -> Tensor:
    """Tokens [rows, frames, tokens, dim] through all blocks and the head, to patches.

    Each block ends with the norm that the next one, or the head, begins with: gate, residual and
    norm are one pass over the tokens.
    """
    steps = [block.steps(steering) for block in blocks]
    entries = [(scale, shift) for shift, scale, *_ in steps] + [head.entry(steering.time)]
    hidden = modulated_layer_norm(x, *entries[0], head.eps)
    for layer, block in enumerate(blocks):
        after = entries[layer + 1]
        x, hidden = block(x, hidden, steps[layer], layer, steering, memory, after)
    return head(hidden)
