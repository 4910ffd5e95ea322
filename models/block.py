"""One block of the causal Wan 2.1 transformer, and its head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

from ..kernels import gated_residual, modulated_layer_norm
from .attention import CrossAttention, Memory, SelfAttention
from .layers import Linear
from .specs import DiTSpec


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

    def forward(self, x: Tensor) -> Tensor:
        up, _, down = self
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

    def forward(self, x: Tensor, layer: int, steering: Steering, memory: Memory) -> Tensor:
        """x [rows, frames, tokens, dim] -> the same shape."""
        modulation = (self.modulation + steering.modulation).unsqueeze(-2)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.unbind(2)
        hidden = modulated_layer_norm(x, scale1, shift1, self.eps)
        x = gated_residual(x, self.self_attn(hidden, layer, memory), gate1)
        x = self.cross_attn(self.norm3(x), *steering.prompt.text[layer], x)
        hidden = modulated_layer_norm(x, scale2, shift2, self.eps)
        return gated_residual(x, self.ffn(hidden), gate2)


class Head(nn.Module):
    """Tokens to patches."""

    def __init__(self, spec: DiTSpec, channels: int) -> None:
        super().__init__()
        self.eps = spec.eps
        self.modulation = nn.Parameter(torch.zeros(1, 2, spec.dim))
        self.head = Linear(spec.dim, channels * spec.patch[1] * spec.patch[2])

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        shift, scale = (self.modulation + time.unsqueeze(2)).unsqueeze(-2).unbind(2)
        return self.head(modulated_layer_norm(x, scale, shift, self.eps))
