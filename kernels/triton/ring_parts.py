"""What the two forms of ring attention share: one tile over some of the keys that its row sees."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from .numbers import from_e4m3


@triton.jit
def visible(valid: tl.tensor, row: tl.tensor, SLOTS: tl.constexpr, PADDED: tl.constexpr) -> Any:
    """How many slots a row sees, int64."""
    slot = tl.arange(0, PADDED)
    flags = tl.load(valid + row * SLOTS + slot, mask=slot < SLOTS, other=0)
    return tl.sum((flags != 0).to(tl.int64), 0)


@triton.jit
def _turned_back(
    asked: tl.tensor,
    query: tl.tensor,
    inside: tl.tensor,
    turn: tl.tensor,
    dims: tl.tensor,
    PAIRS: tl.constexpr,
) -> Any:
    """The query, turned the other way than its keys should be; [queries, head_dim]."""
    pair = dims // 2
    cos = tl.load(turn + 2 * pair, mask=pair < PAIRS, other=1.0)
    sin = tl.load(turn + 2 * pair + 1, mask=pair < PAIRS, other=0.0)
    sin = tl.where(dims % 2 == 0, sin, -sin)
    partner = tl.load(query + (dims ^ 1)[None, :], mask=inside, other=0.0).to(tl.float32)
    return (asked.to(tl.float32) * cos[None, :] + partner * sin[None, :]).to(asked.dtype)


@triton.jit
def decoded(codes: tl.tensor, like: tl.tensor, KIND: tl.constexpr) -> Any:
    """Codes in the type of another tensor, which holds each of them exactly, without their scale:
    KIND 1 for the bytes of e4m3, 2 for int8. KIND 0 are no codes."""
    if KIND == 1:
        return from_e4m3(codes).to(like.dtype)
    elif KIND == 2:
        return codes.to(like.dtype)
    else:
        return codes


@triton.jit
def _part(
    query: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    key_scale: tl.tensor,
    value_scale: tl.tensor,
    valid: tl.tensor,
    turn: tl.tensor,
    left: tl.tensor,
    first: tl.tensor,
    stop: tl.tensor,
    tokens: tl.tensor,
    query_step: tl.tensor,
    slot_step: tl.tensor,
    token_step: tl.tensor,
    slot_scales: tl.tensor,
    token_scales: tl.tensor,
    scale: tl.tensor,
    KIND: tl.constexpr,
    SLOTS: tl.constexpr,
    TURNED: tl.constexpr,
    PAIRS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PADDED_DIM: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
) -> Any:
    """A block of queries over the visible key blocks [first, stop) of its row.

    Args:
        query, key, value: the first query of the block, and the head in slot 0 of the row.
        key_scale, value_scale: of the head's codes there, if KIND is not 0.
        valid, turn: of the row.
        left: queries from this block's first one to the last of all.
        scale: of scores, log2(e) included: exponents are of two.
    """
    own, dims = tl.arange(0, QUERIES), tl.arange(0, PADDED_DIM)
    inside = (own < left)[:, None] & (dims < HEAD_DIM)[None, :]
    lines = query + own[:, None] * query_step
    plain = tl.load(lines + dims[None, :], mask=inside, other=0.0)
    most = tl.full((QUERIES,), float("-inf"), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    mixed = tl.zeros((QUERIES, PADDED_DIM), tl.float32)
    near = tl.arange(0, KEYS)
    begin = first * 0  # The slot's first block, counted over what is visible.
    for slot in range(SLOTS):
        seen = tl.load(valid + slot) != 0
        blocks = tl.where(seen, tl.cdiv(tokens, KEYS), 0)
        low, high = tl.maximum(first - begin, 0), tl.minimum(stop - begin, blocks)
        begin += blocks
        asked = plain
        if TURNED > 0:
            if (slot < TURNED) & (low < high):
                there = turn + slot * PAIRS * 2
                asked = _turned_back(plain, lines, inside, there, dims, PAIRS)
        for block in range(low, high):
            token = (block * KEYS + near).to(tl.int64)
            held = token < tokens
            places = slot * slot_step + token * token_step
            keys = tl.load(
                key + places[None, :] + dims[:, None],
                mask=held[None, :] & (dims < HEAD_DIM)[:, None],
                other=0,
            )
            scores = tl.dot(asked, decoded(keys, asked, KIND), input_precision="ieee") * scale
            coded = slot * slot_scales + token * token_scales
            if KIND != 0:
                scores *= tl.load(key_scale + coded, mask=held, other=0.0)[None, :]
            scores = tl.where(held[None, :], scores, float("-inf"))
            larger = tl.maximum(most, tl.max(scores, 1))
            shares = tl.exp2(scores - larger[:, None])
            fade = tl.exp2(most - larger)
            total = total * fade + tl.sum(shares, 1)
            values = tl.load(
                value + places[:, None] + dims[None, :],
                mask=held[:, None] & (dims < HEAD_DIM)[None, :],
                other=0,
            )
            if KIND != 0:
                wide = decoded(values, shares, KIND)
                wide *= tl.load(value_scale + coded, mask=held, other=0.0)[:, None]
                values = wide.to(asked.dtype)
            news = tl.dot(shares.to(values.dtype), values, input_precision="ieee")
            mixed = mixed * fade[:, None] + news
            most = larger
    return most, total, mixed


@triton.jit
def tile_part(
    query: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    key_scale: tl.tensor,
    value_scale: tl.tensor,
    valid: tl.tensor,
    turn: tl.tensor,
    rows: tl.tensor,
    row: tl.tensor,
    head: tl.tensor,
    block: tl.tensor,
    first: tl.tensor,
    stop: tl.tensor,
    queries: tl.tensor,
    tokens: tl.tensor,
    query_row: tl.tensor,
    query_step: tl.tensor,
    query_head: tl.tensor,
    key_row: tl.tensor,
    slot_step: tl.tensor,
    token_step: tl.tensor,
    key_head: tl.tensor,
    row_scales: tl.tensor,
    slot_scales: tl.tensor,
    token_scales: tl.tensor,
    scale: tl.tensor,
    KIND: tl.constexpr,
    ROWS_GIVEN: tl.constexpr,
    SLOTS: tl.constexpr,
    TURNED: tl.constexpr,
    PAIRS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PADDED_DIM: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
) -> Any:
    """(m, l, o) of one tile over the key blocks [first, stop) among those its row sees."""
    place = tl.cast(row, tl.int64)
    if ROWS_GIVEN:
        place = tl.load(rows + row)
    start = tl.cast(block, tl.int64) * QUERIES
    return _part(
        query + tl.cast(row, tl.int64) * query_row + head * query_head + start * query_step,
        key + place * key_row + head * key_head,
        value + place * key_row + head * key_head,
        key_scale + place * row_scales + head,
        value_scale + place * row_scales + head,
        valid + row * SLOTS,
        turn + row * TURNED * PAIRS * 2,
        queries - start,
        first,
        stop,
        tokens,
        query_step,
        slot_step,
        token_step,
        slot_scales,
        token_scales,
        scale,
        KIND,
        SLOTS,
        TURNED,
        PAIRS,
        HEAD_DIM,
        PADDED_DIM,
        QUERIES,
        KEYS,
    )


@triton.jit
def store_tile(
    out: tl.tensor,
    row: tl.tensor,
    head: tl.tensor,
    block: tl.tensor,
    total: tl.tensor,
    mixed: tl.tensor,
    queries: tl.tensor,
    heads: tl.tensor,
    HEAD_DIM: tl.constexpr,
    PADDED_DIM: tl.constexpr,
    QUERIES: tl.constexpr,
) -> None:
    """The finished outputs of a tile; zeros where a row saw nothing."""
    own, dims = block * QUERIES + tl.arange(0, QUERIES), tl.arange(0, PADDED_DIM)
    lines = (tl.cast(row, tl.int64) * queries + own) * heads + head
    done = mixed / tl.where(total > 0, total, 1.0)[:, None]
    inside = (own < queries)[:, None] & (dims < HEAD_DIM)[None, :]
    there = out + lines[:, None] * HEAD_DIM + dims[None, :]
    tl.store(there, done.to(out.dtype.element_ty), mask=inside)
