"""Streams of random turns for the tests of the streaming decoder, and a plain one beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from millrace.models.vl.positions import Places
from millrace.models.vl.rotary import rotate, text_turns
from millrace.models.vl.segments import Pictures, Piece, Segment, Words
from millrace.models.vl.specs import TextSpec, VLSpec
from millrace.models.vl.stream import Stream, StreamingVL
from torch import Tensor


def turn(
    spec: VLSpec,
    number: int,
    seed: int = 0,
    caption: int = 3,
    grid: tuple[int, int, int] = (1, 2, 3),
) -> list[Piece]:
    """Words, one block of random features, words."""
    random = torch.Generator().manual_seed(1000 * seed + number)
    words = torch.randint(0, spec.text.vocab, (caption + 3,), generator=random).tolist()
    count = grid[0] * grid[1] * grid[2]
    features = torch.randn(count, spec.text.dim, generator=random, dtype=torch.float64)
    second = float(number)
    return [
        Words("header", tuple(words[:2]), number, second),
        Pictures(features, grid, number, second, seconds=0.5),
        Words("caption", tuple(words[2 : 2 + caption]), number, second),
        Words("footer", (words[-1],), number, second),
    ]


def opening(spec: VLSpec) -> list[Piece]:
    return [Words("system", (5, 6, 7, 8), pinned=True), Words("query", (9, 10), pinned=True)]


def embeds_of(streaming: StreamingVL, pieces: Sequence[Piece]) -> Tensor:
    """What pieces go in as, [n, dim]."""
    parts = []
    for piece in pieces:
        if isinstance(piece, Words):
            parts.append(streaming.model.text.embed(torch.tensor(piece.ids, dtype=torch.int64)))
        else:
            assert isinstance(piece.features, Tensor)
            parts.append(piece.features.to(streaming.arena.value.dtype))
    return torch.cat(parts)


def recent(table: Sequence[Segment], turns: int) -> list[Segment]:
    """What stands before all turns, the pictures of the last few turns, all words of the last
    dozen."""
    last = max(segment.turn for segment in table)
    return [
        segment
        for segment in table
        if segment.turn < 0
        or segment.turn > last - turns
        or (segment.kind != "vision" and segment.turn > last - 12)
    ]


def places_of(table: Sequence[Segment]) -> Places:

    return np.concatenate([segment.offsets + segment.base for segment in table], 1)


class PlainDecoder:
    """One stream by the letter: all keys unrotated in lists, all rotated at each pass.

    It runs the weights of transformers' modules; only the attention is written out here.
    """

    def __init__(self, theirs: Any, spec: TextSpec) -> None:
        self.layers = theirs.model.language_model.layers
        self.norm, self.head = theirs.model.language_model.norm, theirs.lm_head
        self.spec = spec
        self.keys: list[list[Tensor]] = [[] for _ in self.layers]
        self.values: list[list[Tensor]] = [[] for _ in self.layers]

    def keep(self, tokens: Sequence[int]) -> None:
        for cache in (*self.keys, *self.values):
            cache[:] = [cache[token] for token in tokens]

    @torch.no_grad()
    def forward(self, embeds: Tensor, places: Tensor) -> Tensor:
        """Logits of all new tokens; `places` [3, all tokens], the new ones last."""
        new, x = len(embeds), embeds
        width = self.spec.head_dim
        turns = text_turns(places, self.spec, embeds.dtype)
        for layer, keys, values in zip(self.layers, self.keys, self.values, strict=True):
            hidden, attention = layer.input_layernorm(x), layer.self_attn
            query = attention.q_proj(hidden).unflatten(-1, (-1, width))
            keys.extend(attention.k_proj(hidden).unflatten(-1, (-1, width)))
            values.extend(attention.v_proj(hidden).unflatten(-1, (-1, width)))
            group = self.spec.heads // self.spec.kv_heads
            key = rotate(torch.stack(keys), turns).repeat_interleave(group, 1)
            value = torch.stack(values).repeat_interleave(group, 1)
            scores = torch.einsum("qhd,khd->hqk", rotate(query, turns[-new:]), key) * width**-0.5
            total = len(keys)
            seen = torch.arange(total) <= torch.arange(total - new, total)[:, None]
            weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
            x = x + attention.o_proj(torch.einsum("hqk,khd->qhd", weights, value).flatten(1))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return self.head(self.norm(x))


def tokens_kept(old: Stream, kept: Sequence[Segment]) -> list[int]:
    """Which tokens of a stream these segments are."""
    index = {slot: token for token, slot in enumerate(old.slots.tolist())}
    return [index[slot] for segment in kept for slot in segment.slots.tolist()]
