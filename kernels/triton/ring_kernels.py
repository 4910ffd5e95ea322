"""The kernels of ring attention; `ring_attention` says what they do and launches them."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from .ring_parts import store_tile, tile_part, visible


@triton.jit
def tiles_kernel(
    query: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    key_scale: tl.tensor,
    value_scale: tl.tensor,
    valid: tl.tensor,
    turn: tl.tensor,
    rows: tl.tensor,
    out: tl.tensor,
    heads: tl.tensor,
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
) -> None:
    """A program for each (block of queries, head, row)."""
    block, head, row = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    _, total, mixed = tile_part(
        query,
        key,
        value,
        key_scale,
        value_scale,
        valid,
        turn,
        rows,
        row,
        head,
        block,
        0,
        SLOTS * tl.cdiv(tokens, KEYS),
        queries,
        tokens,
        query_row,
        query_step,
        query_head,
        key_row,
        slot_step,
        token_step,
        key_head,
        row_scales,
        slot_scales,
        token_scales,
        scale,
        KIND,
        ROWS_GIVEN,
        SLOTS,
        TURNED,
        PAIRS,
        HEAD_DIM,
        PADDED_DIM,
        QUERIES,
        KEYS,
    )
    store_tile(out, row, head, block, total, mixed, queries, heads, HEAD_DIM, PADDED_DIM, QUERIES)


@triton.jit
def _units(
    valid: tl.tensor,
    rows_before: tl.tensor,
    tiles: tl.tensor,
    row_blocks: tl.tensor,
    SLOTS: tl.constexpr,
    PADDED_SLOTS: tl.constexpr,
) -> Any:
    """Units of work of the first rows: blocks of queries against visible blocks of keys, int64."""
    units = tl.cast(0, tl.int64)
    for row in range(rows_before):
        units += visible(valid, row, SLOTS, PADDED_SLOTS) * row_blocks * tiles
    return units


@triton.jit
def split_kernel(
    query: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    key_scale: tl.tensor,
    value_scale: tl.tensor,
    valid: tl.tensor,
    turn: tl.tensor,
    rows: tl.tensor,
    out: tl.tensor,
    most_parts: tl.tensor,
    total_parts: tl.tensor,
    mixed_parts: tl.tensor,
    all_rows: tl.tensor,
    heads: tl.tensor,
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
    PADDED_SLOTS: tl.constexpr,
    TURNED: tl.constexpr,
    PAIRS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PADDED_DIM: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
) -> None:
    """Each program does its run of units: `SplitPlan.span`, `SplitPlan.pieces`."""
    program, programs = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    query_blocks, slot_blocks = tl.cdiv(queries, QUERIES), tl.cdiv(tokens, KEYS)
    tiles = heads * query_blocks
    units = _units(valid, all_rows, tiles, slot_blocks, SLOTS, PADDED_SLOTS)
    first, stop = program * units // programs, (program + 1) * units // programs
    start = tl.cast(0, tl.int64)
    for row in range(all_rows):
        blocks = visible(valid, row, SLOTS, PADDED_SLOTS) * slot_blocks
        low = tl.maximum(first - start, 0)
        high = tl.minimum(stop - start, blocks * tiles)
        if low < high:
            for tile in range(low // blocks, tl.cdiv(high, blocks)):
                begin = tl.maximum(low - tile * blocks, 0)
                end = tl.minimum(high - tile * blocks, blocks)
                head, block = tile // query_blocks, tile % query_blocks
                most, total, mixed = tile_part(
                    query,
                    key,
                    value,
                    key_scale,
                    value_scale,
                    valid,
                    turn,
                    rows,
                    row,
                    head,
                    block,
                    begin,
                    end,
                    queries,
                    tokens,
                    query_row,
                    query_step,
                    query_head,
                    key_row,
                    slot_step,
                    token_step,
                    key_head,
                    row_scales,
                    slot_scales,
                    token_scales,
                    scale,
                    KIND,
                    ROWS_GIVEN,
                    SLOTS,
                    TURNED,
                    PAIRS,
                    HEAD_DIM,
                    PADDED_DIM,
                    QUERIES,
                    KEYS,
                )
                if end - begin == blocks:
                    store_tile(
                        out,
                        row,
                        head,
                        block,
                        total,
                        mixed,
                        queries,
                        heads,
                        HEAD_DIM,
                        PADDED_DIM,
                        QUERIES,
                    )
                else:
                    opens = start + tile * blocks + begin == first
                    place = 2 * program + tl.where(opens, 0, 1)
                    own, dims = tl.arange(0, QUERIES), tl.arange(0, PADDED_DIM)
                    lines = place * QUERIES + own
                    tl.store(most_parts + lines, most)
                    tl.store(total_parts + lines, total)
                    tl.store(mixed_parts + lines[:, None] * PADDED_DIM + dims[None, :], mixed)
        start += blocks * tiles


@triton.jit
def merge_kernel(
    valid: tl.tensor,
    out: tl.tensor,
    most_parts: tl.tensor,
    total_parts: tl.tensor,
    mixed_parts: tl.tensor,
    programs: tl.tensor,
    all_rows: tl.tensor,
    heads: tl.tensor,
    queries: tl.tensor,
    tokens: tl.tensor,
    SLOTS: tl.constexpr,
    PADDED_SLOTS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PADDED_DIM: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
) -> None:
    """Tiles that several programs share are put together (`merge_attention`); grid (tiles, rows).
    A row that sees nothing gets zeros."""
    tile, row = tl.program_id(0), tl.program_id(1)
    query_blocks, slot_blocks = tl.cdiv(queries, QUERIES), tl.cdiv(tokens, KEYS)
    tiles = heads * query_blocks
    units = _units(valid, all_rows, tiles, slot_blocks, SLOTS, PADDED_SLOTS)
    blocks = visible(valid, row, SLOTS, PADDED_SLOTS) * slot_blocks
    begin = _units(valid, row, tiles, slot_blocks, SLOTS, PADDED_SLOTS) + tile * blocks
    # The owners of the tile's first and last unit (`SplitPlan.owner`).
    low = ((begin + 1) * programs - 1) // tl.maximum(units, 1)
    high = ((begin + blocks) * programs - 1) // tl.maximum(units, 1)
    if (low < high) | (blocks == 0):
        own, dims = tl.arange(0, QUERIES), tl.arange(0, PADDED_DIM)
        most = tl.full((QUERIES,), float("-inf"), tl.float32)
        total = tl.zeros((QUERIES,), tl.float32)
        mixed = tl.zeros((QUERIES, PADDED_DIM), tl.float32)
        last = tl.where(blocks == 0, low, high + 1)
        for program in range(low, last):
            first = program * units // programs
            # A program without work in between has left nothing.
            if first < (program + 1) * units // programs:
                lines = (2 * program + tl.where(first >= begin, 0, 1)) * QUERIES + own
                other = tl.load(most_parts + lines)
                larger = tl.maximum(most, other)
                fade, rise = tl.exp2(most - larger), tl.exp2(other - larger)
                total = total * fade + tl.load(total_parts + lines) * rise
                part = tl.load(mixed_parts + lines[:, None] * PADDED_DIM + dims[None, :])
                mixed = mixed * fade[:, None] + part * rise[:, None]
                most = larger
        head, block = tile // query_blocks, tile % query_blocks
        store_tile(
            out, row, head, block, total, mixed, queries, heads, HEAD_DIM, PADDED_DIM, QUERIES
        )
