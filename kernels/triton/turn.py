"""Cached keys rotated where they lie."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..quantise import MOST
from .launch import FLOATS, Needs, block_rows, launcher, power, warps
from .numbers import KINDS, from_e4m3
from .ring_input import keep

ELEMENTS = 4096


@triton.jit
def _turn_kernel(
    keys: tl.tensor,
    turn: tl.tensor,
    mask: tl.tensor,
    scale: tl.tensor,
    key_strides: tl.tuple,
    scale_strides: tl.tuple,
    slots: tl.tensor,
    tokens: tl.tensor,
    heads: tl.tensor,
    size: tl.tensor,
    turned: tl.tensor,
    MASKED: tl.constexpr,
    KIND: tl.constexpr,
    MOST: tl.constexpr,
    ROWS: tl.constexpr,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
) -> None:
    """Grid (blocks of tokens, rows * slots, layers); the first `size` entries of each head, of
    which `turned` turn."""
    where = tl.program_id(1)
    row, slot, layer = where // slots, where % slots, tl.program_id(2).to(tl.int64)
    token = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    head, dim = tl.arange(0, HEADS), tl.arange(0, SIZE)
    inside = (token < tokens)[:, None, None] & (head < heads)[None, :, None]
    inside &= (dim < size)[None, None, :]
    if MASKED:
        inside &= tl.load(mask + row) != 0
    start = layer * key_strides[0] + row.to(tl.int64) * key_strides[1] + slot * key_strides[2]
    place = token[:, None, None] * key_strides[3] + head[None, :, None] * key_strides[4]
    place = start + place + dim[None, None, :]
    start = layer * scale_strides[0] + row.to(tl.int64) * scale_strides[1] + slot * scale_strides[2]
    scale_place = start + token[:, None] * scale_strides[3] + head[None, :]
    old = tl.load(keys + place, inside, 0)
    value = from_e4m3(old) if KIND == 1 else old.to(tl.float32)
    if KIND != 0:
        known = (token < tokens)[:, None] & (head < heads)[None, :]
        value *= tl.load(scale + scale_place, known, 0.0)[:, :, None]
    # Pairs beyond the table turn by nothing.
    still = (dim % 2 == 0).to(tl.float32)
    spin = tl.load(turn + where.to(tl.int64) * turned + dim, dim < turned, 0.0).to(tl.float32)
    cos, sin = tl.split(tl.reshape(tl.where(dim < turned, spin, still), (1, 1, SIZE // 2, 2)))
    even, odd = tl.split(tl.reshape(value, (ROWS, HEADS, SIZE // 2, 2)))
    both = tl.join(even * cos - odd * sin, even * sin + odd * cos)
    new = tl.reshape(both, (ROWS, HEADS, SIZE))
    keep(new, keys, scale, inside, place, scale_place, KIND, MOST)


def _fits(keys: Tensor, turn: Tensor, mask: Tensor | None, scale: Tensor | None) -> str:
    needs = Needs(keys=keys, turn=turn, mask=mask, scale=scale)
    needs.types((*FLOATS, *KINDS), keys=keys)
    needs.types(FLOATS, turn=turn)
    needs.dims(6, keys=keys)
    needs.dims(4, turn=turn)
    if needs.reason:
        return needs.reason
    size, pairs = keys.shape[5], turn.shape[2]
    needs.that(size % 2 == 0 and pairs > 0, f"keys has heads of {size}, turn {pairs} pairs")
    needs.that(2 * pairs <= size, f"turn has {pairs} pairs; heads of {size} have {size // 2}")
    needs.shape(*keys.shape[1:3], pairs, 2, turn=turn)
    needs.shape(keys.shape[1], mask=mask)
    needs.types((torch.bool,), mask=mask)
    needs.packed(turn=turn, mask=mask)
    needs.packed(1, keys=keys, scale=scale)
    told = "missing, and keys are narrow" if scale is None else f"given, but keys are {keys.dtype}"
    needs.that((keys.dtype in KINDS) == (scale is not None), f"scale is {told}")
    needs.shape(*keys.shape[:5], scale=scale)
    needs.types((torch.float32,), scale=scale)
    return needs.reason


@launcher("turn_keys", "triton", _fits)
def turn_keys(keys: Tensor, turn: Tensor, mask: Tensor | None, scale: Tensor | None) -> None:
    layers, rows, slots, tokens, heads, size = keys.shape
    turned, kind = 2 * turn.shape[2], KINDS.get(keys.dtype, 0)
    # A new scale needs the whole head; else what does not turn is not touched.
    seen = size if kind else turned
    tile = power(heads) * power(seen)
    block = block_rows(tokens, tile, ELEMENTS)
    _turn_kernel[(triton.cdiv(tokens, block), rows * slots, layers)](
        keys.view(torch.uint8) if keys.dtype == torch.float8_e4m3fn else keys,
        turn,
        turn if mask is None else mask.view(torch.uint8),
        turn if scale is None else scale,
        keys.stride()[:5],
        (0, 0, 0, 0) if scale is None else scale.stride()[:4],
        slots,
        tokens,
        heads,
        seen,
        turned,
        MASKED=mask is not None,
        KIND=kind,
        MOST=MOST.get(keys.dtype, 1.0),
        ROWS=block,
        HEADS=power(heads),
        SIZE=power(seen),
        num_warps=warps(block * tile),
    )
