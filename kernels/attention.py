"""Attention, and attention over a ring of frames."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from .dispatch import choose, implementation, reference
from .rope import rope

FEW_KEYS = 64
"""Below this there is little to multiply, and one fused call is faster than many small ones."""
SCORES = 1 << 19
"""Scores that are worked on at a time: 1 MB in bfloat16, about the second cache of a core."""


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
    if value.dtype != torch.bfloat16 or key.shape[1] < FEW_KEYS:
        return attention_reference(query, key, value, valid)
    if torch.is_grad_enabled():
        with torch.autocast("cpu", enabled=False):
            wide = attention_reference(query.float(), key.float(), value.float(), valid)
        return wide.to(value.dtype)
    out = query.new_empty(query.shape)
    scaled = query * query.shape[-1] ** -0.5
    for row in range(len(query)):
        seen = None if valid is None else valid[row]
        _attend_row(scaled[row], key[row], value[row], seen, out[row])
    return out


def _attend_row(
    query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None, out: Tensor
) -> None:
    """Two products and a softmax in place, head by head, so that scores stay in a core's cache.

    Two-dimensional products take any strides; a batch of them would copy keys and values first.
    """
    hidden = None if valid is None else torch.where(valid, 0.0, -torch.inf).to(query.dtype)
    parts = query.split(max(1, SCORES // len(key)))
    scratch = query.new_empty(len(parts[0]), len(key))
    for head in range(query.shape[1]):
        keys, values, first = key[:, head].t(), value[:, head], 0
        for part in parts:
            scores, result = scratch[: len(part)], out[first : first + len(part), head]
            torch.mm(part[:, head], keys, out=scores)
            if hidden is not None:
                scores += hidden
            torch.softmax(scores, -1, out=scores)
            torch.mm(scores, values, out=result)
            first += len(part)


def ring_attention(
    query: Tensor, key: Tensor, value: Tensor, valid: Tensor, turn: Tensor | None
) -> Tensor:
    """Attention of a chunk over all slots of a ring, its own included.

    Keys lie in the ring fully rotated. Those of the first slots, the sinks, are turned further on
    the way, because they are kept at a distance that their own place in time does not have.

    Args:
        query: [rows, queries, heads, head_dim], fully rotated.
        key, value: [rows, slots, tokens, heads, head_dim].
        valid: bool [rows, slots], at least one true a row; empty or outdated slots have no
            influence, whatever finite values they hold.
        turn: rotation of the first slots, [rows, turned slots, pairs, 2] (see `turns`); None for
            none.

    Returns:
        [rows, queries, heads, head_dim].
    """
    return choose("ring_attention", query.device.type)(query, key, value, valid, turn)


@reference("ring_attention")
def ring_attention_reference(
    query: Tensor, key: Tensor, value: Tensor, valid: Tensor, turn: Tensor | None
) -> Tensor:
    if turn is not None:
        turned = turn.shape[1]
        placed = rope(key[:, :turned], turn[:, :, None, None])
        key = torch.cat((placed, key[:, turned:]), 1)
    tokens = valid.repeat_interleave(key.shape[2], 1)
    return attention(query, key.flatten(1, 2), value.flatten(1, 2), tokens)
