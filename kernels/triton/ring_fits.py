"""What the fused write into a ring needs of its arguments."""

from __future__ import annotations

import torch
from torch import Tensor

from ..projection import Three
from ..ring_input import Two
from .launch import FLOATS, Needs
from .numbers import KINDS


def fits_write(
    products: Three,
    norm: Two,
    turn: Tensor,
    eps: float,
    ring: Two,
    slots: Tensor,
    mask: Tensor | None,
    rows: Tensor | None,
    scales: Two | None,
) -> str:
    (query, key, value), (keys, values) = products, ring
    needs = Needs(query=query, key=key, value=value, turn=turn, keys=keys, values=values)
    needs.on_device(slots=slots, mask=mask, rows=rows)
    needs.types(FLOATS, query=query)
    needs.types((query.dtype,), key=key, value=value)
    needs.dims(4, query=query)
    needs.dims(5, keys=keys)
    if needs.reason:
        return needs.reason
    needs.shape(*query.shape, key=key, value=value)
    needs.packed(1, query=query, key=key, value=value)
    needs.strides(query, key=key, value=value)
    check_turned(needs, tuple(query.shape), norm, turn, keys.shape[4])
    if not needs.reason:
        check_ring(needs, query, ring, rows, scales)
    rows_frames = tuple(query.shape[:2])
    needs.shape(*rows_frames, slots=slots)
    needs.shape(rows_frames[0], mask=mask, rows=rows)
    needs.types((torch.int64,), slots=slots, rows=rows)
    needs.types((torch.bool,), mask=mask)
    needs.packed(slots=slots, mask=mask, rows=rows)
    return needs.reason


def check_turned(
    needs: Needs, products: tuple[int, ...], norm: Two, turn: Tensor, size: int
) -> None:
    """Weights of the norms, and the table of angles, for products of a shape."""
    count, frames, tokens, width = products
    needs.on_device(query_norm=norm[0], key_norm=norm[1], turn=turn)
    needs.types(FLOATS, turn=turn, query_norm=norm[0], key_norm=norm[1])
    told = f"turn is for heads of {size}, which are no whole, even parts of query, {width} wide"
    needs.that(size > 0 and size % 2 == 0 and width % size == 0, told)
    needs.shape(width, query_norm=norm[0], key_norm=norm[1])
    needs.packed(query_norm=norm[0], key_norm=norm[1])
    spins = count if turn.dim() and turn.shape[0] == count else 1
    needs.shape(spins, frames, tokens, 1, size // 2, 2, turn=turn)
    needs.packed(2, turn=turn)


def check_ring(
    needs: Needs, query: Tensor, ring: Two, rows: Tensor | None, scales: Two | None
) -> None:
    """The ring that takes keys and values, and its scales."""
    count, _, tokens, width = query.shape
    (keys, values), (key_scale, value_scale) = ring, scales or (None, None)
    all_rows, slots, size = keys.shape[0], keys.shape[1], keys.shape[4]
    own = count if rows is None else all_rows
    needs.shape(own, slots, tokens, width // size, size, keys=keys, values=values)
    needs.types((query.dtype, *KINDS), keys=keys)
    needs.types((keys.dtype,), values=values)
    needs.packed(2, keys=keys, values=values)
    needs.strides(keys, values=values)
    narrow = keys.dtype in KINDS
    told = "missing, and keys are narrow" if narrow else f"given, but keys are {keys.dtype}"
    needs.that(narrow == (scales is not None), f"scales is {told}")
    needs.on_device(key_scale=key_scale, value_scale=value_scale)
    needs.shape(own, slots, tokens, width // size, key_scale=key_scale, value_scale=value_scale)
    needs.types((torch.float32,), key_scale=key_scale, value_scale=value_scale)
    needs.packed(2, key_scale=key_scale, value_scale=value_scale)
    if key_scale is not None:
        needs.strides(key_scale, value_scale=value_scale)
