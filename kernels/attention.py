"""Attention, and attention over a ring of frames."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from .dispatch import choose, implementation, reference
from .quantise import dequantise
from .ring_call import Two
from .rope import rope

FEW_KEYS = 64
"""Below this the backward pass of float32 gains nothing."""
FEW_PRODUCTS = 1 << 21
"""Queries times keys times numbers of a head; below this one fused call is faster than many small
ones. A row's own sizes alone decide, so that its sums are the same in every batch."""
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
    if query.shape[1] * key.shape[1] * query.shape[-1] < FEW_PRODUCTS:
        return attention_reference(query, key, value, valid)
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
    query: Tensor,
    key: Tensor,
    value: Tensor,
    valid: Tensor,
    turn: Tensor | None,
    rows: Tensor | None = None,
    full: bool = False,
    scales: Two | None = None,
) -> Tensor:
    """Attention of a chunk over all slots of a ring, its own included.

    Keys lie in the ring fully rotated. Those of the first slots, the sinks, are turned further on
    the way, because they are kept at a distance that their own place in time does not have.

    Args:
        query: [rows, queries, heads, head_dim], fully rotated.
        key, value: [all rows, slots, tokens, heads, head_dim].
        valid: bool [rows, slots], at least one true a row; empty or outdated slots have no
            influence, whatever finite values they hold.
        turn: rotation of the first slots, [rows, turned slots, pairs, 2] (see `turns`); None for
            none.
        rows: int64 [rows], the ring's row of each query row; None for the ring's own order.
        full: the caller's promise that all of `valid` is true, for kernels that see every slot; a
            wrong one gives wrong sums. Without it they are not asked.
        scales: of keys and values that are eight-bit codes (`dequantise`), float32 [all rows,
            slots, tokens, heads] each; None where they are values.

    Returns:
        [rows, queries, heads, head_dim].
    """
    function = choose("ring_attention", query.device.type)
    return function(query, key, value, valid, turn, rows, full, scales)


def plain_ring(
    key: Tensor,
    value: Tensor,
    rows: Tensor | int | None,
    scales: Two | None,
    dtype: torch.dtype,
) -> Two:
    """Keys and values of some rows (None for all, a number for one), decoded where they are codes.

    Args:
        dtype: of what codes stand for.
    """
    plain = []
    for part, scale in zip((key, value), scales or (None, None), strict=True):
        if rows is not None:
            # As bytes: few operations that move memory about know eight-bit floats.
            narrow = part.dtype == torch.float8_e4m3fn
            part = part.view(torch.uint8)[rows].view(part.dtype) if narrow else part[rows]
            scale = None if scale is None else scale[rows]
        plain.append(part if scale is None else dequantise(part, scale, dtype))
    return plain[0], plain[1]


@reference("ring_attention")
def ring_attention_reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    valid: Tensor,
    turn: Tensor | None,
    rows: Tensor | None,
    full: bool = False,
    scales: Two | None = None,
) -> Tensor:
    key, value = plain_ring(key, value, rows, scales, query.dtype)
    if turn is not None:
        turned = turn.shape[1]
        placed = rope(key[:, :turned], turn[:, :, None, None])
        key = torch.cat((placed, key[:, turned:]), 1)
    tokens = None if full else valid.repeat_interleave(key.shape[2], 1)
    return attention(query, key.flatten(1, 2), value.flatten(1, 2), tokens)


@implementation("ring_attention", "cpu")
def _ring_attention_by_row(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    valid: Tensor,
    turn: Tensor | None,
    rows: Tensor | None,
    full: bool = False,
    scales: Two | None = None,
) -> Tensor:
    """Row by row, over what the row sees and no more.

    So a short window costs less, rows that lie apart need no copy of the ring, and a row's sums
    are the same in every batch, to the last bit. Rows in the ring's order that see all of it are
    one call, which computes each by itself as well.
    """
    looks = valid.tolist()
    if rows is None and all(map(all, looks)):
        return ring_attention_reference(query, key, value, valid, turn, None, True, scales)
    places = range(len(query)) if rows is None else rows.tolist()
    outs = []
    for row, (place, seen) in enumerate(zip(places, looks, strict=True)):
        spin = None if turn is None else turn[row]
        keys, values = plain_ring(key, value, place, scales, query.dtype)
        keys, values = _visible(keys, values, seen, spin)
        outs.append(attention(query[row : row + 1], keys[None], values[None]))
    return torch.cat(outs) if len(outs) > 1 else outs[0]


def _visible(
    key: Tensor, value: Tensor, seen: list[bool], turn: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One row's visible keys, turned, and values: [slots, ...] -> [tokens, heads, head_dim]."""
    turned = 0 if turn is None else turn.shape[0]
    sinks = [slot for slot in range(turned) if seen[slot]]
    others = [slot for slot in range(turned, len(seen)) if seen[slot]]
    parts = [_slots(key, others)]
    if turn is not None and sinks:
        parts.insert(0, rope(_slots(key, sinks), _slots(turn, sinks)[:, None, None]))
    keys = torch.cat(parts) if len(parts) > 1 else parts[0]
    return keys.flatten(0, 1), _slots(value, sinks + others).flatten(0, 1)


def _slots(entries: Tensor, slots: list[int]) -> Tensor:
    """Some slots in ascending order; a view where they lie together."""
    if slots and slots[-1] - slots[0] + 1 == len(slots):
        return entries[slots[0] : slots[-1] + 1]
    return entries[slots]
