"""Counter-based noise, alone and together with the step that uses it, in one launch each."""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import FLOATS, Needs, launcher

_FIRST, _SECOND = tl.constexpr(0xD2511F53), tl.constexpr(0xCD9E8D57)
_RAISE, _RAISE_TOO = tl.constexpr(0x9E3779B9), tl.constexpr(0xBB67AE85)
_MASK = tl.constexpr(0xFFFFFFFF)
_STEP = tl.constexpr(2.0**-32)
_ANGLE = tl.constexpr(2 * math.pi * 2.0**-32)
COUNTERS = 256
"""Counters of a program, each worth four normal numbers."""
MOST_ROWS = 65535
"""Of a grid's second side."""


@triton.jit
def philox(
    c0: tl.tensor, c1: tl.tensor, c2: tl.tensor, c3: tl.tensor, k0: tl.tensor, k1: tl.tensor
) -> tl.tensor:
    """Philox4x32-10 (Salmon et al., SC 2011, section 3.3) on uint32 words."""
    for _ in tl.static_range(10):
        low, low_too = c0 * _FIRST, c2 * _SECOND
        high, high_too = tl.umulhi(c0, _FIRST), tl.umulhi(c2, _SECOND)
        c0, c1, c2, c3 = high_too ^ c1 ^ k0, low_too, high ^ c3 ^ k1, low
        k0, k1 = k0 + _RAISE, k1 + _RAISE_TOO
    return c0, c1, c2, c3


@triton.jit
def _word(value: tl.tensor) -> tl.tensor:
    return (value & _MASK).to(tl.uint32)


@triton.jit
def _normals(
    seeds: tl.tensor,
    chunks: tl.tensor,
    steps: tl.tensor,
    row: tl.tensor,
    block: tl.tensor,
    COUNT: tl.constexpr,
) -> tl.tensor:
    """float32 [COUNT, 4] of int64 counters `block`: what `gaussian_noise` defines.

    Box-Muller in float64, as there: rounding to float32 hides what devices do differently.
    """
    seed, chunk, step = tl.load(seeds + row), tl.load(chunks + row), tl.load(steps + row)
    none = tl.zeros((COUNT,), tl.uint32)
    first, second, third, fourth = philox(
        _word(block),
        none + _word(step),
        none + _word(chunk),
        none + _word(chunk >> 32),
        none + _word(seed),
        none + _word(seed >> 32),
    )
    sizes = tl.join(first, third).to(tl.float64)
    turns = tl.join(second, fourth).to(tl.float64)
    radius = tl.sqrt(-2.0 * tl.log((sizes + 0.5) * _STEP))
    angle = (turns + 0.5) * _ANGLE
    both = tl.join((radius * tl.cos(angle)).to(tl.float32), (radius * tl.sin(angle)).to(tl.float32))
    return tl.reshape(both, (COUNT, 4))


@triton.jit
def _noise_kernel(
    seeds: tl.tensor,
    chunks: tl.tensor,
    steps: tl.tensor,
    out: tl.tensor,
    count: tl.tensor,
    COUNT: tl.constexpr,
) -> None:
    """Grid (blocks of counters, rows)."""
    row = tl.program_id(1).to(tl.int64)
    block = tl.program_id(0).to(tl.int64) * COUNT + tl.arange(0, COUNT)
    noise = _normals(seeds, chunks, steps, row, block, COUNT)
    place = block[:, None] * 4 + tl.arange(0, 4)[None, :]
    tl.store(out + row * count + place, noise, place < count)


@triton.jit
def _step_kernel(
    x: tl.tensor,
    flow: tl.tensor,
    sigma: tl.tensor,
    next_sigma: tl.tensor,
    seeds: tl.tensor,
    chunks: tl.tensor,
    steps: tl.tensor,
    clean: tl.tensor,
    following: tl.tensor,
    count: tl.tensor,
    frames: tl.tensor,
    COUNT: tl.constexpr,
) -> None:
    """Grid (blocks of counters, rows); one sigma for each of `frames` equal parts of a row."""
    row = tl.program_id(1).to(tl.int64)
    block = tl.program_id(0).to(tl.int64) * COUNT + tl.arange(0, COUNT)
    noise = _normals(seeds, chunks, steps, row, block, COUNT)
    place = block[:, None] * 4 + tl.arange(0, 4)[None, :]
    inside = place < count
    told = row * frames + place // (count // frames)
    now = tl.load(sigma + told, inside, 0.0).to(tl.float32)
    later = tl.load(next_sigma + told, inside, 0.0).to(tl.float32)
    whole = row * count + place
    noisy = tl.load(x + whole, inside, 0.0).to(tl.float32)
    found = noisy - now * tl.load(flow + whole, inside, 0.0).to(tl.float32)
    # The next latent is mixed from what is handed out: both in the type of x.
    kept = found.to(clean.dtype.element_ty)
    tl.store(clean + whole, kept, inside)
    found = kept.to(tl.float32)
    noise = noise.to(clean.dtype.element_ty).to(tl.float32)
    mixed = found + later * (noise - found)
    tl.store(following + whole, mixed.to(following.dtype.element_ty), inside)


def _grid(rows: int, count: int) -> tuple[int, int]:
    return triton.cdiv(count, 4 * COUNTERS), rows


def _check_words(needs: Needs, rows: int, **words: Tensor) -> None:
    needs.that(0 < rows <= MOST_ROWS, f"there are {rows} rows; give 1 to {MOST_ROWS}")
    needs.types((torch.int64,), **words)
    needs.shape(rows, **words)
    needs.packed(None, **words)


def _fits_noise(seeds: Tensor, chunks: Tensor, steps: Tensor, count: int) -> str:
    needs = Needs(seeds=seeds, chunks=chunks, steps=steps)
    needs.dims(1, seeds=seeds)
    if not needs.reason:
        _check_words(needs, len(seeds), seeds=seeds, chunks=chunks, steps=steps)
    needs.that(count > 0, f"count is {count}; give at least 1")
    return needs.reason


@launcher("gaussian_noise", "triton", _fits_noise)
def gaussian_noise(seeds: Tensor, chunks: Tensor, steps: Tensor, count: int) -> Tensor:
    rows = len(seeds)
    out = torch.empty(rows, count, device=seeds.device, dtype=torch.float32)
    _noise_kernel[_grid(rows, count)](seeds, chunks, steps, out, count, COUNT=COUNTERS)
    return out


def _fits_step(
    x: Tensor,
    flow: Tensor,
    sigma: Tensor,
    next_sigma: Tensor,
    seeds: Tensor,
    chunks: Tensor,
    steps: Tensor,
) -> str:
    needs = Needs(x=x, flow=flow, sigma=sigma, next_sigma=next_sigma)
    needs.on_device(seeds=seeds, chunks=chunks, steps=steps)
    needs.types(FLOATS, x=x)
    needs.types((x.dtype,), flow=flow)
    needs.types((*FLOATS, torch.float64), sigma=sigma, next_sigma=next_sigma)
    needs.that(x.dim() > 1 and x.numel() > 0, f"x has shape {tuple(x.shape)}; give [rows, ...]")
    if needs.reason:
        return needs.reason
    needs.shape(*x.shape, flow=flow)
    needs.packed(x=x, flow=flow, sigma=sigma, next_sigma=next_sigma)
    shares = x.shape[:1] if sigma.dim() == 1 else x.shape[:2]
    needs.shape(*shares, sigma=sigma, next_sigma=next_sigma)
    _check_words(needs, len(x), seeds=seeds, chunks=chunks, steps=steps)
    return needs.reason


@launcher("flow_step_noised", "triton", _fits_step)
def flow_step_noised(
    x: Tensor,
    flow: Tensor,
    sigma: Tensor,
    next_sigma: Tensor,
    seeds: Tensor,
    chunks: Tensor,
    steps: Tensor,
) -> tuple[Tensor, Tensor]:
    clean, following = torch.empty_like(x), torch.empty_like(x)
    rows, count = len(x), x[0].numel()
    frames = 1 if sigma.dim() == 1 else sigma.shape[1]
    _step_kernel[_grid(rows, count)](
        x,
        flow,
        sigma,
        next_sigma,
        seeds,
        chunks,
        steps,
        clean,
        following,
        count,
        frames,
        COUNT=COUNTERS,
    )
    return clean, following
