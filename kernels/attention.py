"""Attention, and attention over a ring of frames."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from .dispatch import choose, implementation, reference
from .rope import rope


def attention(query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention.

    Args:
        query: [rows, queries, heads, head_dim].
        key, value: [rows, keys, heads, head_dim].
        valid: bool [rows, keys], at least one true a row; the others have no influence at all.

    Returns:
        [rows, queries, heads, head_dim].
    """
    return choose("attention", query.device.type)(query, key, value, valid)


@reference("attention")
def attention_reference(query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None) -> Tensor:
    mask = None if valid is None else valid[:, None, None, :]
    out = functional.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask
    )
    return out.transpose(1, 2)


@implementation("attention", "cpu")
def _attention_cpu(query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None) -> Tensor:
    """The reference, save in bfloat16, where fused attention is slow without matrix units.

    Running, two plain products take half its time. Training, they would keep all scores for the
    backward pass; there float32 is the faster type, four times in the backward pass.
    """
    if valid is not None and bool(valid.all()):
        valid = None  # Nothing waits for a device here, and a mask costs a tenth of the whole.
    if value.dtype != torch.bfloat16:
        return attention_reference(query, key, value, valid)
    if torch.is_grad_enabled():
        with torch.autocast("cpu", enabled=False):
            wide = attention_reference(query.float(), key.float(), value.float(), valid)
        return wide.to(value.dtype)
    scaled = query.transpose(1, 2) * query.shape[-1] ** -0.5
    scores = scaled @ key.permute(0, 2, 3, 1)
    if valid is not None:
        hidden = torch.zeros(valid.shape, dtype=scores.dtype).masked_fill_(~valid, -torch.inf)
        scores += hidden[:, None, None]
    return (scores.softmax(-1) @ value.transpose(1, 2)).transpose(1, 2)


def ring_attention(
    query: Tensor, key: Tensor, value: Tensor, valid: Tensor, cos: Tensor, sin: Tensor
) -> Tensor:
    """Attention of a chunk over all slots of a ring, its own included.

    Keys lie in the ring with their place in height and width applied; their place in time is
    applied here, on the way, because it changes as the window moves.

    Args:
        query: [rows, queries, heads, head_dim], fully rotated.
        key, value: [rows, slots, tokens, heads, head_dim].
        valid: bool [rows, slots], at least one true a row; empty or outdated slots have no
            influence, whatever finite values they hold.
        cos, sin: [rows, slots, time pairs].

    Returns:
        [rows, queries, heads, head_dim].
    """
    return choose("ring_attention", query.device.type)(query, key, value, valid, cos, sin)


@reference("ring_attention")
def ring_attention_reference(
    query: Tensor, key: Tensor, value: Tensor, valid: Tensor, cos: Tensor, sin: Tensor
) -> Tensor:
    placed = rope(key, cos[:, :, None, None], sin[:, :, None, None])
    tokens = valid.repeat_interleave(key.shape[2], 1)
    return attention(query, placed.flatten(1, 2), value.flatten(1, 2), tokens)
