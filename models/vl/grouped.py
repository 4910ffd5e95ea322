"""Attention in which groups of query heads share a key head."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

FEW = 32
"""Up to this many queries of a key head two plain products are used on a GPU: one fused call would
give each head to one multiprocessor, and most of them would stand idle."""


def grouped_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention (GQA, Ainslie et al. 2023, section 2.2).

    Args:
        query: [rows, queries, heads, head_dim].
        key, value: [rows, keys, kv_heads, head_dim]; heads of a group lie together.
        mask: bool [rows or 1, 1, queries, keys], true where seen, somewhere in each line; None for
            causal, of as many keys as queries.

    Returns:
        [rows, queries, heads, head_dim].
    """
    if query.is_cuda and mask is not None:
        return _folded(query, key, value, mask)
    out = functional.scaled_dot_product_attention(
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        attn_mask=mask,
        is_causal=mask is None,
        enable_gqa=query.shape[2] != key.shape[2],
    )
    return out.transpose(1, 2)


def _folded(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """The same with the heads of a group as further queries: fused attention with a mask knows no
    groups on a GPU and would repeat all keys and values first."""
    rows, count, heads, width = query.shape
    shared = key.shape[2]
    group = heads // shared
    parts = query.unflatten(2, (shared, group)).permute(0, 2, 3, 1, 4)
    folded = parts.reshape(rows, shared, group * count, width)
    seen = mask.expand(-1, group, -1, -1).flatten(1, 2)[:, None]
    keys, values = key.transpose(1, 2), value.transpose(1, 2)
    if group * count <= FEW:
        scores = (folded * width**-0.5) @ keys.transpose(2, 3)
        weights = scores.float().masked_fill(~seen, -torch.inf).softmax(-1)
        out = weights.to(values.dtype) @ values
    else:
        out = functional.scaled_dot_product_attention(folded, keys, values, attn_mask=seen)
    return out.unflatten(2, (group, count)).permute(0, 3, 1, 2, 4).flatten(2, 3)
