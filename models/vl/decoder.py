"""The text model of Qwen2.5-VL, which reads pictures among words (arXiv 2502.13923, 2.1).

Parameter names and the function computed are those of the released weights. A pass either sees a
whole sequence (`Decoder.forward`: training, and what streaming is held against) or adds to what
lies in an arena (`Decoder.extend`).
"""

from __future__ import annotations

from typing import Protocol

import torch.nn as nn
import torch.nn.functional as functional
from torch import Tensor

from ..layers import RMSNorm
from .gated import GatedMLP, PlainLinear
from .grouped import grouped_attention
from .rotary import rotate, text_turns, wide
from .specs import TextSpec


class Past(Protocol):
    """Where the keys and values of what came before lie."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Store the keys and values of new tokens and attend over all that each one may see.

        Args:
            query: unrotated, [n, heads, head_dim], of all new tokens.
            key, value: unrotated, [n, kv_heads, head_dim].

        Returns:
            [n, heads, head_dim].
        """
        ...


class Attention(nn.Module):
    def __init__(self, spec: TextSpec) -> None:
        super().__init__()
        self.head_dim = spec.head_dim
        wide_dim, narrow = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
        self.q_proj = PlainLinear(spec.dim, wide_dim)
        self.k_proj = PlainLinear(spec.dim, narrow)
        self.v_proj = PlainLinear(spec.dim, narrow)
        self.o_proj = PlainLinear(wide_dim, spec.dim, bias=False)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unrotated queries, keys and values, each [..., heads, head_dim]."""
        parts = (proj(x).unflatten(-1, (-1, self.head_dim)) for proj in self._inputs())
        query, key, value = parts
        return query, key, value

    def _inputs(self) -> tuple[PlainLinear, PlainLinear, PlainLinear]:
        return self.q_proj, self.k_proj, self.v_proj

    def forward(self, x: Tensor, turn: Tensor, mask: Tensor | None, residual: Tensor) -> Tensor:
        """x [rows, tokens, dim]."""
        query, key, value = self.project(x)
        out = grouped_attention(rotate(query, turn), rotate(key, turn), value, mask)
        return self.o_proj(out.flatten(-2), residual=residual)

    def extend(self, x: Tensor, past: Past, layer: int, residual: Tensor) -> Tensor:
        """x [tokens, dim], of any number of streams."""
        out = past.attend(layer, *self.project(x))
        return self.o_proj(out.flatten(-2), residual=residual)


class DecoderLayer(nn.Module):
    def __init__(self, spec: TextSpec) -> None:
        super().__init__()
        self.self_attn = Attention(spec)
        self.mlp = GatedMLP(spec.dim, spec.ffn_dim, bias=False, linear=PlainLinear)
        self.input_layernorm = RMSNorm(spec.dim, spec.eps)
        self.post_attention_layernorm = RMSNorm(spec.dim, spec.eps)

    def forward(self, x: Tensor, turn: Tensor, mask: Tensor | None) -> Tensor:
        x = self.self_attn(self.input_layernorm(x), turn, mask, residual=x)
        return self.mlp(self.post_attention_layernorm(x), residual=x)

    def extend(self, x: Tensor, past: Past, layer: int) -> Tensor:
        x = self.self_attn.extend(self.input_layernorm(x), past, layer, residual=x)
        return self.mlp(self.post_attention_layernorm(x), residual=x)


class Trunk(nn.Module):
    """Everything of a decoder but its output layer, under the released names."""

    def __init__(self, spec: TextSpec) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(spec.vocab, spec.dim)
        self.layers = nn.ModuleList(DecoderLayer(spec) for _ in range(spec.layers))
        self.norm = RMSNorm(spec.dim, spec.eps)


class Decoder(nn.Module):
    """Reads embeddings at positions of three axes; says what comes next."""

    def __init__(self, spec: TextSpec) -> None:
        super().__init__()
        self.spec = spec
        self.model = Trunk(spec)
        self.lm_head = None if spec.tied else PlainLinear(spec.dim, spec.vocab, bias=False)

    @property
    def weight(self) -> Tensor:
        """The embedding: its type and device are the model's."""
        return self.model.embed_tokens.weight

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids int64 [...] -> [..., dim]."""
        return self.model.embed_tokens(ids)

    def turns(self, positions: Tensor) -> Tensor:
        """Rotation of tokens at `positions` [3, ...], as `rotate` takes it."""
        return text_turns(positions, self.spec, wide(self.weight.dtype))

    def forward(self, embeds: Tensor, positions: Tensor, mask: Tensor | None = None) -> Tensor:
        """A whole sequence at once; differentiable.

        Args:
            embeds: [B, L, dim].
            positions: float [3, B, L]; time, height, width.
            mask: bool [B, L, L] or [L, L], true where line i sees column j; None for causal. Each
                line sees something.

        Returns:
            Hidden states [B, L, dim], normalised.
        """
        if mask is not None:
            mask = mask[None, None] if mask.dim() == 2 else mask[:, None]
        turn, x = self.turns(positions), embeds
        for layer in self.model.layers:
            x = layer(x, turn, mask)
        return self.model.norm(x)

    def extend(self, embeds: Tensor, past: Past) -> Tensor:
        """New tokens of any number of streams, packed: [n, dim] -> [n, dim]."""
        x = embeds
        for index, layer in enumerate(self.model.layers):
            assert isinstance(layer, DecoderLayer)
            x = layer.extend(x, past, index)
        return self.model.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., dim] -> [..., vocab]."""
        if self.lm_head is None:
            return functional.linear(hidden, self.weight)
        return self.lm_head(hidden)
