"""What causal convolutions take in, in one write: memory, norm, activation and chunk together.

A program has some places of a frame and goes over all frames at them, so that memory is read
before it is written, in the same registers.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..clip import per_chunk, per_frame
from ..conv import conv2d
from ..prepared import prepared
from .launch import FLOATS, Needs, block_rows, launcher, power, warps

ELEMENTS = 4096
"""Values of a frame that a program holds."""


@triton.jit
def clip_kernel(
    x: tl.tensor,
    past: tl.tensor,
    mask: tl.tensor,
    norm: tl.tensor,
    clip: tl.tensor,
    frames: tl.tensor,
    places: tl.tensor,
    width: tl.tensor,
    eps: tl.tensor,
    MASKED: tl.constexpr,
    NORMED: tl.constexpr,
    KEPT: tl.constexpr,
    PLACES: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """Grid (blocks of places, rows)."""
    row = tl.cast(tl.program_id(1), tl.int64)
    place, channel = tl.program_id(0) * PLACES + tl.arange(0, PLACES), tl.arange(0, WIDTH)
    inside = (place < places)[:, None] & (channel < width)[None, :]
    offset = place[:, None] * width + channel[None, :]
    frame_size = tl.cast(places, tl.int64) * width
    x += row * frames * frame_size
    past += row * KEPT * frame_size
    clip += row * (frames + KEPT) * frame_size
    write = inside
    if MASKED:
        write = inside & (tl.load(mask + row) != 0)
    for kept in tl.static_range(KEPT):
        old = tl.load(past + kept * frame_size + offset, mask=inside, other=0.0)
        tl.store(clip + kept * frame_size + offset, old, mask=inside)
        if kept >= frames:
            tl.debug_barrier()  # Every thread has read what this one overwrites.
            tl.store(past + (kept - frames) * frame_size + offset, old, mask=write)
    tl.debug_barrier()
    for frame in range(frames):
        new = tl.load(x + frame * frame_size + offset, mask=inside, other=0.0)
        if NORMED:
            wide = new.to(tl.float32)
            scale = tl.rsqrt(tl.sum(wide * wide, 1) / width + eps)
            gain = tl.load(norm + channel, mask=channel < width, other=0.0).to(tl.float32)
            wide = wide * scale[:, None] * gain[None, :]
            new = (wide / (1.0 + tl.exp(-wide))).to(new.dtype)
        tl.store(clip + (frame + KEPT) * frame_size + offset, new, mask=inside)
        if frame >= frames - KEPT:
            kept_at = past + (frame - frames + KEPT) * frame_size + offset
            tl.store(kept_at, new, mask=write)


def fits_clip(x: Tensor, past: Tensor, mask: Tensor | None, norm: Tensor | None, eps: float) -> str:
    needs = Needs(x=x, past=past, mask=mask, norm=norm)
    needs.types(FLOATS, x=x, norm=norm)
    needs.types((x.dtype,), past=past)
    needs.that(x.dim() == 5, f"x has {x.dim()} dimensions, not [rows, frames, h, w, C]")
    needs.that(past.dim() == 5, f"past has {past.dim()} dimensions, not [rows, kept, h, w, C]")
    if not needs.reason:
        needs.shape(len(x), past.shape[1], *x.shape[2:], past=past)
        needs.that(1 <= past.shape[1] <= 4, f"past keeps {past.shape[1]} frames; 1 to 4 are taken")
        needs.shape(x.shape[-1], norm=norm)
        needs.that(x.shape[-1] <= ELEMENTS, f"x has {x.shape[-1]} channels; {ELEMENTS} at most")
    needs.packed(x=x, past=past, norm=norm)
    _fits_mask(needs, x, mask)
    return needs.reason


def _fits_mask(needs: Needs, x: Tensor, mask: Tensor | None) -> None:
    needs.types((torch.bool,), mask=mask)
    needs.shape(len(x), mask=mask)
    needs.packed(mask=mask)


@launcher("causal_clip", "triton", fits_clip)
def causal_clip(
    x: Tensor, past: Tensor, mask: Tensor | None, norm: Tensor | None, eps: float
) -> Tensor:
    rows, frames, height, width, channels = x.shape
    kept, places = past.shape[1], height * width
    clip = x.new_empty((rows, kept + frames, height, width, channels))
    if clip.numel():
        block = block_rows(places, channels, ELEMENTS)
        clip_kernel[(triton.cdiv(places, block), rows)](
            x,
            past,
            past if mask is None else mask.view(torch.uint8),
            past if norm is None else norm,
            clip,
            frames,
            places,
            channels,
            eps,
            MASKED=mask is not None,
            NORMED=norm is not None,
            KEPT=kept,
            PLACES=block,
            WIDTH=power(channels),
            num_warps=warps(block * power(channels)),
        )
    return clip


@triton.jit
def shifted_sum_kernel(
    both: tl.tensor,
    past: tl.tensor,
    mask: tl.tensor,
    hidden: tl.tensor,
    frames: tl.tensor,
    places: tl.tensor,
    width: tl.tensor,
    MASKED: tl.constexpr,
    PLACES: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """relu(a frame's own half + the other half of the frame before); grid (places, rows)."""
    row = tl.cast(tl.program_id(1), tl.int64)
    place, channel = tl.program_id(0) * PLACES + tl.arange(0, PLACES), tl.arange(0, WIDTH)
    inside = (place < places)[:, None] & (channel < width)[None, :]
    offset = place[:, None] * width + channel[None, :]
    double = 2 * place[:, None] * width + channel[None, :]
    frame_size = tl.cast(places, tl.int64) * width
    both += row * frames * 2 * frame_size
    hidden += row * frames * frame_size
    past += row * frame_size
    before = tl.load(past + offset, mask=inside, other=0.0)
    for frame in range(frames):
        there = both + frame * 2 * frame_size + double
        own = tl.load(there, mask=inside, other=0.0).to(tl.float32)
        total = tl.maximum(own + before.to(tl.float32), 0.0)
        tl.store(hidden + frame * frame_size + offset, total.to(before.dtype), mask=inside)
        before = tl.load(there + width, mask=inside, other=0.0)
    write = inside
    if MASKED:
        write = inside & (tl.load(mask + row) != 0)
    tl.debug_barrier()  # Every thread has read what this one overwrites.
    tl.store(past + offset, before, mask=write)


def fits_memory(x: Tensor, weight: Tensor, bias: Tensor, past: Tensor, mask: Tensor | None) -> str:
    needs = Needs(x=x, weight=weight, bias=bias, past=past, mask=mask)
    needs.types(FLOATS, x=x)
    needs.types((x.dtype,), weight=weight, bias=bias, past=past)
    needs.that(x.dim() == 5, f"x has {x.dim()} dimensions, not [rows, frames, h, w, C]")
    needs.that(weight.dim() == 4, f"weight has {weight.dim()} dimensions, not [out, 2 C, 3, 3]")
    needs.that(not weight.is_inference(), "weight was made under inference mode; load it outside")
    if not needs.reason:
        out = len(weight)
        needs.shape(out, 2 * x.shape[-1], 3, 3, weight=weight)
        needs.shape(out, bias=bias)
        needs.shape(len(x), 1, *x.shape[2:4], out, past=past)
    needs.packed(past=past)
    _fits_mask(needs, x, mask)
    return needs.reason


def _side_by_side(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Both halves of the weight as one convolution of twice the channels."""
    whole = torch.cat(weight.chunk(2, 1)).contiguous(memory_format=torch.channels_last)
    return whole, torch.cat((bias, torch.zeros_like(bias)))


@launcher("memory_conv", "triton", fits_memory)
def memory_conv(
    x: Tensor, weight: Tensor, bias: Tensor, past: Tensor, mask: Tensor | None
) -> Tensor:
    """One convolution for both halves; its sum with the frame before, and memory, in one pass."""
    whole, biases = prepared((weight, bias), _side_by_side)
    both = per_chunk(conv2d(per_frame(x), whole, biases, (3, 3)), len(x)).contiguous()
    return shifted_sum(both, past, mask)


def shifted_sum(both: Tensor, past: Tensor, mask: Tensor | None) -> Tensor:
    """[rows, frames, h, w, 2 out] -> [rows, frames, h, w, out]; `past` as in `memory_conv`."""
    rows, frames, height, width, double = both.shape
    out, places = double // 2, height * width
    hidden = both.new_empty((rows, frames, height, width, out))
    if hidden.numel():
        block = block_rows(places, out, ELEMENTS)
        shifted_sum_kernel[(triton.cdiv(places, block), rows)](
            both,
            past,
            past if mask is None else mask.view(torch.uint8),
            hidden,
            frames,
            places,
            out,
            MASKED=mask is not None,
            PLACES=block,
            WIDTH=power(out),
            num_warps=warps(block * power(out)),
        )
    return hidden
