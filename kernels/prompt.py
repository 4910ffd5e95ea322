"""Attention of many tokens over the few of a prompt, with the layers around it."""

from __future__ import annotations

import torch
from torch import Tensor

from .attention import attention
from .dispatch import choose, implementation, reference
from .linear import linear
from .norm import rms_norm
from .prepared import fuses

FEW = 128
"""Tokens of a row below which folding costs more than it saves, and in any case with fewer than two
for each key of each head. A row's own sizes alone decide: its sums are the same in every batch."""
Layer = tuple[Tensor, Tensor]
"""Weight [out, in] and bias [out]."""


def prompt_attention(
    x: Tensor,
    residual: Tensor,
    query: Layer,
    norm: Tensor,
    eps: float,
    key: Tensor,
    value: Tensor,
    out: Layer,
) -> Tensor:
    """`residual + out(attention(rms_norm(query(x)), key, value))`, the cross-attention of Wan 2.1.

    Args:
        x, residual: [rows, frames, tokens, dim].
        query, out: layers of width dim.
        norm: weight of the norm over the whole width, [dim].
        key, value: [rows, text_len, heads, dim / heads].
    """
    function = choose("prompt_attention", x.device.type)
    return function(x, residual, query, norm, eps, key, value, out)


@reference("prompt_attention")
def prompt_attention_reference(
    x: Tensor,
    residual: Tensor,
    query: Layer,
    norm: Tensor,
    eps: float,
    key: Tensor,
    value: Tensor,
    out: Layer,
) -> Tensor:
    asked = rms_norm(linear(x, *query), norm, eps).view(len(x), -1, *key.shape[2:])
    return linear(attention(asked, key, value).reshape(x.shape), *out, residual=residual)


@implementation("prompt_attention", "cpu")
def _prompt_attention_folded(
    x: Tensor,
    residual: Tensor,
    query: Layer,
    norm: Tensor,
    eps: float,
    key: Tensor,
    value: Tensor,
    out: Layer,
) -> Tensor:
    """With fewer keys in all heads than the width, what can be done to keys and values is done to
    them instead of to the tokens: the norm's weight, the split into heads, the last layer.

    One head's keys stand in its own columns and zeros elsewhere, so that a single product gives the
    scores of all heads. The norm's scalar of each token is left, and scales the scores.
    """
    rows, texts, heads, size = key.shape
    width = heads * size
    many = x[0].numel() >= width * max(FEW, 2 * heads * texts)
    fused = many and fuses(x, query[0]) and fuses(x, out[0])
    if not fused or 2 * heads * texts > width:
        return prompt_attention_reference(x, residual, query, norm, eps, key, value, out)
    asked = linear(x, *query).view(rows, -1, width)
    length = torch.linalg.vector_norm(asked, dim=-1, dtype=torch.float32)
    scale = length.square_().add_(eps * width).rsqrt_().mul_(heads**0.5).to(x.dtype)
    result = torch.empty_like(residual)
    for row in range(rows):
        keys = _own_columns(key[row]) * norm
        # Keys before tokens: a softmax over so few is ten times faster along long rows.
        scores = torch.mm(keys, asked[row].t()).mul_(scale[row])
        weights = scores.view(heads, texts, -1).softmax(1).view(heads * texts, -1)
        mixed = torch.mm(out[0], _own_columns(value[row]).t())
        last = torch.ops.mkldnn._linear_pointwise.binary
        result[row] = last(weights.t(), residual[row].view(-1, width), mixed, out[1], "add").view(
            residual.shape[1:]
        )
    return result


def _own_columns(entries: Tensor) -> Tensor:
    """[texts, heads, size] -> [heads * texts, heads * size], zero but where the heads agree."""
    texts, heads, size = entries.shape
    apart = entries.new_zeros(heads, texts, heads, size)
    apart.diagonal(dim1=0, dim2=2).copy_(entries.transpose(1, 2))
    return apart.view(heads * texts, heads * size)
