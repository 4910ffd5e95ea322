"""Calls of a transformer's operations, for `samples`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .quantise import quantise
from .rope import axis_pairs
from .sample_work import Draw, Work, nbytes, samples

PARTS = 4
"""That attention is dealt out to, in the sample of merging them."""


def _chunk(work: Work, draw: Draw) -> Tensor:
    return draw(work.rows, work.frames, work.tokens, work.dim)


def _heads(work: Work, draw: Draw) -> Tensor:
    return draw(work.rows, work.frames, work.tokens, work.heads, work.head_dim)


def _each_frame(work: Work, draw: Draw) -> Tensor:
    return draw(work.rows, work.frames, 1, work.dim)


def _ring(work: Work, draw: Draw) -> Tensor:
    return draw(work.rows, work.slots, work.tokens, work.heads, work.head_dim)


def _places(work: Work, draw: Draw) -> Tensor:
    last = torch.arange(work.slots - work.frames, work.slots, device=work.device)
    return last.expand(work.rows, -1).contiguous()


@samples("rms_norm")
def _rms_norm(work: Work, draw: Draw) -> Iterator[Any]:
    yield "queries", (_chunk(work, draw), draw(work.dim), 1e-6), 0, None


@samples("modulated_layer_norm")
def _modulated(work: Work, draw: Draw) -> Iterator[Any]:
    frame = _each_frame(work, draw), _each_frame(work, draw)
    yield "before attention", (_chunk(work, draw), *frame, 1e-6), 0, None


@samples("gated_residual")
def _gated(work: Work, draw: Draw) -> Iterator[Any]:
    both = _chunk(work, draw), _chunk(work, draw)
    yield "after attention", (*both, _each_frame(work, draw)), 0, None


@samples("modulated_layer_norm_e4m3")
def _modulated_e4m3(work: Work, draw: Draw) -> Iterator[Any]:
    frame = _each_frame(work, draw), _each_frame(work, draw)
    yield "before the MLP", (_chunk(work, draw), *frame, 1e-6), 0, None


@samples("gated_residual_norm")
def _gated_norm(work: Work, draw: Draw) -> Iterator[Any]:
    both = _chunk(work, draw), _chunk(work, draw)
    three = tuple(_each_frame(work, draw) for _ in range(3))
    yield "after the MLP", (*both, *three, 1e-6, True), 0, None
    plain = draw(work.dim), draw(work.dim)
    yield "after attention", (*both, three[0], *plain, 1e-6, False), 0, None


@samples("rope")
def _rope(work: Work, draw: Draw) -> Iterator[Any]:
    turn = draw.turns(1, work.frames, work.tokens, 1, work.head_dim // 2)
    yield "queries", (_heads(work, draw), turn), 0, None


@samples("linear")
def _linear(work: Work, draw: Draw) -> Iterator[Any]:
    count, dim, inner = work.rows * work.frames * work.tokens, work.dim, work.inner
    x, residual = _chunk(work, draw), _chunk(work, draw)
    wide = draw(work.rows, work.frames, work.tokens, inner)
    out, up, down = draw.weight(dim, dim), draw.weight(inner, dim), draw.weight(dim, inner)
    yield "attention out", (x, out, draw(dim), "none", None), 2 * count * dim * dim, None
    yield "mlp in, gelu", (x, up, draw(inner), "gelu", None), 2 * count * dim * inner, None
    last = (wide, down, draw(dim), "none", residual)
    yield "mlp out, residual", last, 2 * count * dim * inner, None


@samples("quantise_rows")
def _quantise_rows(work: Work, draw: Draw) -> Iterator[Any]:
    yield "before attention", (_chunk(work, draw),), 0, None
    wide = draw(work.rows, work.frames, work.tokens, work.inner)
    yield "mlp out", (wide,), 0, None


@samples("fp8_product")
def _fp8_product(work: Work, draw: Draw) -> Iterator[Any]:
    count, dim, inner = work.rows * work.frames * work.tokens, work.dim, work.inner
    weight = quantise(draw.weight(inner, dim), torch.float8_e4m3fn)
    rows = quantise(_chunk(work, draw), torch.float8_e4m3fn)
    yield "mlp in", (rows, weight, draw(inner), work.dtype), 2 * count * dim * inner, None


def _projections(work: Work, draw: Draw) -> tuple[Any, ...]:
    dim = work.dim
    weight = tuple(draw.weight(dim, dim) for _ in range(3))
    bias, norm = tuple(draw(dim) for _ in range(3)), tuple(draw(dim) for _ in range(2))
    turn = draw.turns(1, work.frames, work.tokens, 1, work.head_dim // 2)
    return _chunk(work, draw), weight, bias, norm, turn, 1e-6


def _projection_flops(work: Work) -> int:
    return 6 * work.rows * work.frames * work.tokens * work.dim**2


@samples("query_key_value")
def _query_key_value(work: Work, draw: Draw) -> Iterator[Any]:
    yield "self-attention", _projections(work, draw), _projection_flops(work), None


@samples("ring_write")
def _ring_write(work: Work, draw: Draw) -> Iterator[Any]:
    new, ring = _heads(work, draw), _ring(work, draw)
    yield "keys", (ring, new, _places(work, draw), None, None), 0, 2 * nbytes(new)


@samples("turn_keys")
def _turn_keys(work: Work, draw: Draw) -> Iterator[Any]:
    pairs = axis_pairs(work.head_dim)[0]
    keys, turn = _ring(work, draw)[None], draw.turns(work.rows, work.slots, pairs)
    moved = 2 * nbytes(keys) * 2 * pairs // work.head_dim
    yield "a layer's ring", (keys, turn, None, None), 0, moved


def _into_ring(work: Work, draw: Draw) -> tuple[Any, ...]:
    """Where keys and values go: ring, slots, mask, rows, scales."""
    return (_ring(work, draw), _ring(work, draw)), _places(work, draw), None, None, None


@samples("project_into_ring")
def _project_into_ring(work: Work, draw: Draw) -> Iterator[Any]:
    first = _projections(work, draw)
    x, weight = first[:2]
    moved = 4 * nbytes(x) + nbytes(*weight) + nbytes(first[4])
    arguments = (*first, *_into_ring(work, draw))
    yield "self-attention", arguments, _projection_flops(work), moved


@samples("norm_rope_write")
def _norm_rope_write(work: Work, draw: Draw) -> Iterator[Any]:
    products = tuple(_chunk(work, draw) for _ in range(3))
    _, _, _, norm, turn, eps = _projections(work, draw)
    moved = 2 * nbytes(*products) + nbytes(turn)
    yield "self-attention", (products, norm, turn, eps, *_into_ring(work, draw)), 0, moved


@samples("ring_attention")
def _ring_attention(work: Work, draw: Draw) -> Iterator[Any]:
    query = _heads(work, draw).flatten(1, 2)
    key, value = _ring(work, draw), _ring(work, draw)
    turn = draw.turns(work.rows, work.sinks, axis_pairs(work.head_dim)[0])
    flops = 4 * work.rows * query.shape[1] * work.slots * work.tokens * work.dim
    for label, seen in (("full ring", work.slots), ("half full", (work.slots + 1) // 2)):
        valid = torch.zeros(work.rows, work.slots, dtype=torch.bool, device=work.device)
        valid[:, work.slots - seen :] = True
        share = seen / work.slots
        moved = 2 * nbytes(query) + int(share * nbytes(key, value))
        arguments = (query, key, value, valid, turn if work.sinks else None, None)
        yield label, arguments, int(share * flops), moved
    valid, moved = torch.ones_like(valid), 2 * nbytes(query) + nbytes(key, value)
    turn_or_none = turn if work.sinks else None
    yield "promised full", (query, key, value, valid, turn_or_none, None, True), flops, moved
    (keys, key_scale), (values, value_scale) = (quantise(x, torch.int8) for x in (key, value))
    scales = (key_scale, value_scale)
    moved = 2 * nbytes(query) + nbytes(keys, values, *scales)
    coded = (query, keys, values, valid, turn_or_none, None, False, scales)
    yield "eight bits", coded, flops, moved


@samples("attention")
def _attention(work: Work, draw: Draw) -> Iterator[Any]:
    query, key, value = (_heads(work, draw).flatten(1, 2) for _ in range(3))
    flops = 4 * work.rows * query.shape[1] * key.shape[1] * work.dim
    yield "a chunk over itself", (query, key, value, None), flops, None


@samples("merge_attention")
def _merge_attention(work: Work, draw: Draw) -> Iterator[Any]:
    shape = (PARTS, work.rows, work.frames * work.tokens, work.heads)
    most, mixed = (
        draw(*shape, dtype=torch.float32),
        draw(*shape, work.head_dim, dtype=torch.float32),
    )
    total = draw(*shape, dtype=torch.float32).abs() + 1
    yield f"{PARTS} parts", (most, total, mixed), 0, None


@samples("prompt_attention")
def _prompt_attention(work: Work, draw: Draw) -> Iterator[Any]:
    dim, tokens = work.dim, work.frames * work.tokens
    x, residual = (draw(work.rows, tokens, dim) for _ in range(2))
    key, value = (draw(work.rows, work.texts, work.heads, work.head_dim) for _ in range(2))
    query, out = ((draw.weight(dim, dim), draw(dim)) for _ in range(2))
    flops = 4 * work.rows * tokens * dim * (dim + work.texts)
    yield "a chunk", (x, residual, query, draw(dim), 1e-6, key, value, out), flops, None
