"""Attention over a ring of frames in Triton: straight in the ring, whose slots tell what they hold.

Nothing is gathered, joined or masked out in memory. A slot that a row cannot see is passed over by
its flag on the device and costs nothing, so that rows of any age share a launch. The keys of sinks
have to be turned; since q . (R k) = (R' q) . k, the query is turned back instead, once a slot.

Two forms. "tiles": one program for each block of queries. "split": blocks of keys are dealt out
evenly (`kernels.split` has the plan) and parts are merged by a second launch, which needs neither
locks nor all programs at once: it can be captured in a graph and sums in the same order every time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from ..ring_call import RingCall, misfit, of_ring
from .launch import FLOATS, Needs, launcher, power
from .ring_kernels import merge_kernel, split_kernel, tiles_kernel

LOG2_E = 1.4426950408889634
KINDS = {torch.float8_e4m3fn: 1, torch.int8: 2}


@dataclass(frozen=True, slots=True)
class Blocks:
    """Sizes of a program: queries and keys at a time, warps, stages of the pipeline."""

    queries: int
    keys: int
    warps: int
    stages: int


def blocks_for(queries: int, tokens: int, head_dim: int, dtype: torch.dtype) -> Blocks:
    """Sizes for a call, from its shape and type alone.

    Where tensor cores multiply, 128 x 64 at a head of 128: as much as one program's registers hold.
    In float32 plain arithmetic does it, which keeps far more in registers.
    """
    if dtype == torch.float32:
        most_queries, most_keys = 32, 32
    else:
        most_queries, most_keys = (64, 32) if head_dim > 128 else (128, 64)
    size, keys = min(most_queries, power(queries)), min(most_keys, power(tokens))
    large = size == 128 and head_dim > 64
    return Blocks(max(16, size), max(16, keys), 8 if large else 4, 3)


@dataclass(frozen=True, slots=True)
class Launch:
    """A call in the form that the kernels take.

    Attributes:
        tensors: query, key, value, their scales, valid, turn, rows and the output.
        sizes: by name, what a kernel is told as numbers.
        constants: by name, what a kernel is compiled for.
        tiles: blocks of queries, heads, rows.
        options: warps and stages.
    """

    tensors: tuple[Tensor, ...]
    sizes: dict[str, int | float]
    constants: dict[str, int]
    tiles: tuple[int, int, int]
    options: dict[str, int]

    @property
    def out(self) -> Tensor:
        return self.tensors[-1]


@of_ring
def fits(call: RingCall) -> str:
    """ "" or which argument the kernels cannot take, and why."""
    query, key, value, valid, turn, rows, _, scales = call
    needs = Needs(query=query, key=key, value=value, valid=valid, turn=turn, rows=rows)
    if scales is not None:
        needs.packed(1, key_scale=scales[0], value_scale=scales[1])
    needs.types(FLOATS, query=query)
    needs.types((torch.float32,), turn=turn)
    needs.that(
        query.shape[-1] <= 256, f"query has a head_dim of {query.shape[-1]}; 256 is the most"
    )
    return needs.reason or misfit(call)


def prepare(call: RingCall) -> Launch:
    """A call that fits, in the kernels' form, with room for its output."""
    query, key, value, valid, turn, rows, _, scales = call
    asked, queries, heads, size = query.shape
    slots, tokens = key.shape[1:3]
    blocks = blocks_for(queries, tokens, size, query.dtype)
    # What is not there is not read: any tensor will do.
    turns = query if turn is None else turn.contiguous()
    flags = valid.contiguous().view(torch.uint8)
    keys, values = (
        part.view(torch.uint8) if part.dtype == torch.float8_e4m3fn else part
        for part in (key, value)
    )
    tensors = (query, keys, values, *(scales or (flags, flags)), flags, turns)
    sizes: dict[str, int | float] = {"heads": heads, "queries": queries, "tokens": tokens}
    sizes |= zip(("query_row", "query_step", "query_head"), query.stride(), strict=False)
    sizes |= zip(("key_row", "slot_step", "token_step", "key_head"), key.stride(), strict=False)
    steps = (0, 0, 0) if scales is None else scales[0].stride()
    sizes |= zip(("row_scales", "slot_scales", "token_scales"), steps, strict=False)
    constants = {
        "KIND": KINDS.get(key.dtype, 0),
        "ROWS_GIVEN": rows is not None,
        "SLOTS": slots,
        "TURNED": 0 if turn is None else turn.shape[1],
        "PAIRS": 0 if turn is None else turn.shape[2],
        "HEAD_DIM": size,
        "PADDED_DIM": max(16, power(size)),
        "QUERIES": blocks.queries,
        "KEYS": blocks.keys,
    }
    return Launch(
        (*tensors, flags if rows is None else rows, query.new_empty(query.shape)),
        {**sizes, "scale": LOG2_E * size**-0.5},
        constants,
        (triton.cdiv(queries, blocks.queries), heads, asked),
        {"num_warps": blocks.warps, "num_stages": blocks.stages},
    )


@launcher("ring_attention", "triton-tiles", fits)
@of_ring
def ring_attention_tiles(call: RingCall) -> Tensor:
    """`ring_attention`, each block of queries in a program of its own."""
    launch = prepare(call)
    if call.query.numel():
        sizes = {**launch.sizes, **launch.constants, **launch.options}
        tiles_kernel[launch.tiles](*launch.tensors, **sizes)
    return launch.out


@launcher("ring_attention", "triton-split", fits)
@of_ring
def ring_attention_split(call: RingCall) -> Tensor:
    """`ring_attention`, the keys dealt out evenly over the processors of the device."""
    launch = prepare(call)
    if call.query.numel():
        count = programs(call.query.device, call.query.shape[-1])
        launch_split(launch, count, room_for_parts(launch, count))
    return launch.out


def room_for_parts(call: Launch, programs: int) -> Tensor:
    """Where programs leave parts of tiles: two places each, float32."""
    blocks, dims = call.constants["QUERIES"], call.constants["PADDED_DIM"]
    return call.out.new_empty(2 * programs * blocks * (dims + 2), dtype=torch.float32)


def launch_split(call: Launch, programs: int, parts: Tensor) -> None:
    """The two launches of "split" with so many programs in the first."""
    lines = 2 * programs * call.constants["QUERIES"]
    most, total, mixed = parts.split((lines, lines, lines * call.constants["PADDED_DIM"]))
    query_blocks, heads, rows = call.tiles
    slots = {"PADDED_SLOTS": power(call.constants["SLOTS"])}
    split_kernel[(programs,)](
        *call.tensors,
        most,
        total,
        mixed,
        rows,
        **call.sizes,
        **call.constants,
        **slots,
        **call.options,
    )
    names = ("SLOTS", "HEAD_DIM", "PADDED_DIM", "QUERIES", "KEYS")
    merge_kernel[(query_blocks * heads, rows)](
        call.tensors[5],
        call.out,
        most,
        total,
        mixed,
        programs,
        rows,
        *(call.sizes[name] for name in ("heads", "queries", "tokens")),
        **{name: call.constants[name] for name in names},
        **slots,
        num_warps=call.options["num_warps"],
    )


def programs(device: torch.device, head_dim: int) -> int:
    """How many programs of the split run at once: one a processor, two of small heads. The
    interpreter, which has one, gets five."""
    if device.type != "cuda":
        return 5
    processors: int = torch.cuda.get_device_properties(device).multi_processor_count
    return processors if head_dim > 64 else 2 * processors
