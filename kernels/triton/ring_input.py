"""Norm and rotation of queries and keys, and the write of keys and values, in one launch.

Each product is read once and each result written once: 12 bytes for a channel of a token in half
precision, of queries, keys and values together.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as functional
import triton
import triton.language as tl
from torch import Tensor

from ..projection import Three
from ..quantise import LEAST, MOST
from ..ring_input import Two
from .launch import FLOATS, Needs, block_rows, launcher, power, warps
from .numbers import E4M3, KINDS, PLAIN, to_e4m3, to_int8
from .ring_fits import check_turned, fits_write

_LEAST = tl.constexpr(LEAST)


@triton.jit
def _turned(
    part: tl.tensor,
    norm: tl.tensor,
    turn: tl.tensor,
    shape: tl.tuple,
    eps: tl.tensor,
    ROWS: tl.constexpr,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
) -> tl.tensor:
    """Root-mean-square norm over all heads, then the rotation of each: [tokens, heads, size].

    `turn` is the table of the tokens, [tokens, size], cosine and sine of a pair side by side.
    """
    heads, size = shape
    column = tl.arange(0, HEADS)[:, None] * size + tl.arange(0, SIZE)[None, :]
    real = (tl.arange(0, HEADS) < heads)[:, None] & (tl.arange(0, SIZE) < size)[None, :]
    weight = tl.load(norm + column, real, 0.0).to(tl.float32)
    mean = tl.sum(tl.sum(part * part, 2), 1) / (heads * size)
    normal = part * tl.rsqrt(mean + eps)[:, None, None] * weight[None, :, :]
    cos, sin = tl.split(tl.reshape(turn, (ROWS, 1, SIZE // 2, 2)))
    even, odd = tl.split(tl.reshape(normal, (ROWS, HEADS, SIZE // 2, 2)))
    both = tl.join(even * cos - odd * sin, even * sin + odd * cos)
    return tl.reshape(both, (ROWS, HEADS, SIZE))


@triton.jit
def keep(
    new: tl.tensor,
    memory: tl.tensor,
    scale: tl.tensor,
    inside: tl.tensor,
    place: tl.tensor,
    scale_place: tl.tensor,
    KIND: tl.constexpr,
    MOST: tl.constexpr,
) -> None:
    """Store [tokens, heads, size] in a ring, as it is or in eight bits with a scale a head."""
    if KIND == 0:
        tl.store(memory + place, new.to(memory.dtype.element_ty), inside)
    else:
        # Entries outside are zeros: they change no maximum.
        share = tl.maximum(tl.max(tl.abs(new), 2), _LEAST) / MOST
        tl.store(scale + scale_place, share, tl.max(inside.to(tl.int32), 2) > 0)
        codes = new / share[:, :, None]
        tl.store(memory + place, to_e4m3(codes) if KIND == 1 else to_int8(codes), inside)


@triton.jit
def _write_kernel(
    products: tl.tuple,
    norms: tl.tuple,
    turn: tl.tensor,
    out: tl.tensor,
    ring: tl.tuple,
    scales: tl.tuple,
    slots: tl.tensor,
    mask: tl.tensor,
    rows: tl.tensor,
    product_strides: tl.tuple,
    turn_strides: tl.tuple,
    ring_strides: tl.tuple,
    scale_strides: tl.tuple,
    frames: tl.tensor,
    tokens: tl.tensor,
    shape: tl.tuple,
    eps: tl.tensor,
    SLOTTED: tl.constexpr,
    MASKED: tl.constexpr,
    CHOSEN: tl.constexpr,
    KIND: tl.constexpr,
    MOST: tl.constexpr,
    ROWS: tl.constexpr,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
) -> None:
    """Grid (blocks of tokens, rows * frames, 3): queries, keys, values."""
    heads, size = shape
    which = tl.program_id(2)
    row, frame = tl.program_id(1) // frames, tl.program_id(1) % frames
    token = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    head, dim = tl.arange(0, HEADS)[None, :, None], tl.arange(0, SIZE)[None, None, :]
    inside = (token < tokens)[:, None, None] & (head < heads) & (dim < size)
    if MASKED:
        inside &= (tl.load(mask + row) != 0) | (which == 0)
    own = row.to(tl.int64)
    column = head * size + dim
    source = (
        own * product_strides[0]
        + frame * product_strides[1]
        + token.to(tl.int64)[:, None, None] * product_strides[2]
        + column
    )
    slot = tl.load(slots + tl.program_id(1)) if SLOTTED else frame.to(tl.int64)
    home = tl.load(rows + row) if CHOSEN else own
    place = (
        home * ring_strides[0]
        + slot * ring_strides[1]
        + token[:, None, None] * ring_strides[2]
        + column
    )
    scale_place = (
        home * scale_strides[0]
        + slot * scale_strides[1]
        + token[:, None] * heads
        + tl.arange(0, HEADS)[None, :]
    )
    if which == 2:
        new = tl.load(products[2] + source, inside, 0.0).to(tl.float32)
        keep(new, ring[1], scales[1], inside, place, scale_place, KIND, MOST)
    else:
        angle = own * turn_strides[0] + frame * turn_strides[1]
        angle += token[:, None] * turn_strides[2] + tl.arange(0, SIZE)[None, :]
        told = (token < tokens)[:, None] & (tl.arange(0, SIZE) < size)[None, :]
        table = tl.load(turn + angle, told, 0.0).to(tl.float32)
        if which == 0:
            new = tl.load(products[0] + source, inside, 0.0).to(tl.float32)
            new = _turned(new, norms[0], table, shape, eps, ROWS, HEADS, SIZE)
            there = (tl.program_id(1).to(tl.int64) * tokens + token[:, None, None]) * heads * size
            tl.store(out + there + column, new.to(out.dtype.element_ty), inside)
        else:
            new = tl.load(products[1] + source, inside, 0.0).to(tl.float32)
            new = _turned(new, norms[1], table, shape, eps, ROWS, HEADS, SIZE)
            keep(new, ring[0], scales[0], inside, place, scale_place, KIND, MOST)


def _launch(
    products: Three,
    norm: Two,
    turn: Tensor,
    eps: float,
    ring: Two,
    slots: Tensor | None,
    mask: Tensor | None,
    rows: Tensor | None,
    scales: Two | None,
    elements: int,
) -> Tensor:
    """Without `slots` a frame goes where its index says; with a ring of keys alone, no values."""
    query = products[0]
    lead, heads, size = query.shape[:3], ring[0].shape[3], ring[0].shape[4]
    count, frames, tokens = lead
    out = torch.empty((*lead, heads, size), device=query.device, dtype=query.dtype)
    kind = KINDS.get(ring[0].dtype, PLAIN)
    # What a flag says is not there still needs an address.
    factors = scales or (query, query)
    tile = power(heads) * power(size)
    block = block_rows(tokens, tile, elements)
    both = slots is not None
    _write_kernel[(triton.cdiv(tokens, block), count * frames, 3 if both else 2)](
        products,
        norm,
        turn,
        out,
        tuple(part.view(torch.uint8) for part in ring) if kind == E4M3 else ring,
        factors,
        query if slots is None else slots,
        query if mask is None else mask.view(torch.uint8),
        query if rows is None else rows,
        query.stride()[:3],
        (turn.stride(0) * (turn.shape[0] > 1), turn.stride(1), turn.stride(2)),
        ring[0].stride()[:3],
        (0, 0) if scales is None else scales[0].stride()[:2],
        frames,
        tokens,
        (heads, size),
        eps,
        SLOTTED=both,
        MASKED=mask is not None,
        CHOSEN=rows is not None,
        KIND=kind,
        MOST=MOST.get(ring[0].dtype, 1.0),
        ROWS=block,
        HEADS=power(heads),
        SIZE=power(size),
        num_warps=warps(block * tile),
    )
    return out


def _sized(elements: int) -> Callable[..., Tensor]:
    def run(
        products: Three,
        norm: Two,
        turn: Tensor,
        eps: float,
        ring: Two,
        slots: Tensor,
        mask: Tensor | None,
        rows: Tensor | None,
        scales: Two | None,
    ) -> Tensor:
        return _launch(products, norm, turn, eps, ring, slots, mask, rows, scales, elements)

    return run


norm_rope_write = launcher("norm_rope_write", "triton", fits_write)(_sized(4096))
norm_rope_write_wide = launcher("norm_rope_write", "triton-wide", fits_write)(_sized(16384))


def _fits_projection(
    x: Tensor, weight: Three, bias: Three, norm: Two, turn: Tensor, eps: float
) -> str:
    query, key, value = weight
    needs = Needs(x=x, query_weight=query, key_weight=key, value_weight=value)
    needs.types(FLOATS, x=x)
    needs.types((x.dtype,), query_weight=query, key_weight=key, value_weight=value)
    needs.dims(4, x=x)
    needs.dims(6, turn=turn)
    if not needs.reason:
        check_turned(needs, (*x.shape[:3], len(query)), norm, turn, 2 * turn.shape[4])
    return needs.reason


@launcher("query_key_value", "triton", _fits_projection)
def query_key_value(
    x: Tensor, weight: Three, bias: Three, norm: Two, turn: Tensor, eps: float
) -> Three:
    """Products by the library; the rest of queries and keys in one launch, values untouched."""
    query, key, value = (functional.linear(x, w, b) for w, b in zip(weight, bias, strict=True))
    size = 2 * turn.shape[4]
    fresh = key.new_empty(*key.shape[:3], key.shape[3] // size, size)
    products = (query, key, value)
    query = _launch(products, norm, turn, eps, (fresh, fresh), None, None, None, None, 4096)
    return query, fresh, value.unflatten(-1, (-1, size))
