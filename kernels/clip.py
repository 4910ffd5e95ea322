"""Convolutions in time that go on from chunk to chunk: what they remember, and what they take in.

A causal convolution of length k sees the k - 1 frames before a chunk; kept as they went in, any
cutting of a stream gives the same numbers (cached convolutions, arXiv 2204.07064, section 3).
Frames lie as [rows, frames, height, width, channels], channels last in memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from .conv import conv2d
from .dispatch import choose, implementation, reference
from .norm import rms_norm
from .prepared import fuses, prepared


def causal_clip(
    x: Tensor,
    past: Tensor,
    mask: Tensor | None = None,
    norm: Tensor | None = None,
    eps: float = 0.0,
) -> Tensor:
    """What was remembered and then a chunk, in one clip; its last frames are remembered in turn.

    Args:
        x: [rows, frames, h, w, C].
        past: [rows, kept, h, w, C], written.
        mask: bool [rows], rows whose memory is written; None for all.
        norm: [C], weight of a norm over channels (`rms_norm`), after which SiLU follows; None to
            take the chunk as it is.
        eps: of the norm.

    Returns:
        [rows, kept + frames, h, w, C].
    """
    return choose("causal_clip", x.device.type)(x, past, mask, norm, eps)


def keep(past: Tensor, last: Tensor, mask: Tensor | None) -> None:
    """Remember frames; rows outside `mask` stay. `last` is no view of `past`."""
    if mask is None:
        past.copy_(last)
    else:
        torch.where(mask.view(-1, 1, 1, 1, 1), last.to(past.dtype), past, out=past)


@reference("causal_clip")
def causal_clip_reference(
    x: Tensor, past: Tensor, mask: Tensor | None, norm: Tensor | None, eps: float
) -> Tensor:
    kept, (rows, frames, *rest) = past.shape[1], x.shape
    clip = x.new_empty(rows, kept + frames, *rest)
    clip[:, :kept] = past
    new = clip[:, kept:]
    if norm is None:
        new.copy_(x)
    else:
        torch.ops.aten.silu.out(rms_norm(x, norm, eps), out=new)
    keep(past, clip[:, frames:], mask)
    return clip


def memory_conv(
    x: Tensor, weight: Tensor, bias: Tensor, past: Tensor, mask: Tensor | None = None
) -> Tensor:
    """`relu(convolution)` over each frame and the one before it at the same place, 3 x 3.

    A convolution of two pictures joined along channels is the sum of one of each, and what the
    weight's second half makes of a frame is all that the next frame needs: that is remembered, so
    that nothing is joined and no frame is gone over again.

    Args:
        x: [rows, frames, h, w, C].
        weight: [out, 2 C, 3, 3], over (a frame, the one before).
        bias: [out].
        past: [rows, 1, h, w, out], what the second half made of the frame before; zeros before the
            first. Written.
        mask: bool [rows], rows whose memory is written; None for all.

    Returns:
        [rows, frames, h, w, out].
    """
    return choose("memory_conv", x.device.type)(x, weight, bias, past, mask)


@reference("memory_conv")
def memory_conv_reference(
    x: Tensor, weight: Tensor, bias: Tensor, past: Tensor, mask: Tensor | None
) -> Tensor:
    frames = per_frame(x)
    now, before = weight.split(x.shape[-1], 1)
    made = per_chunk(functional.conv2d(frames, before, padding=1), len(x))
    hidden = per_chunk(functional.conv2d(frames, now, bias, padding=1), len(x))
    hidden = functional.relu(hidden + _earlier(made, past))
    keep(past, made[:, -1:], mask)
    return hidden


@implementation("memory_conv", "cpu")
def _memory_conv_onednn(
    x: Tensor, weight: Tensor, bias: Tensor, past: Tensor, mask: Tensor | None
) -> Tensor:
    """Sum and activation while the second convolution's sums are still in registers."""
    if not fuses(x, weight):
        return memory_conv_reference(x, weight, bias, past, mask)
    frames = per_frame(x)
    now, before = prepared((weight,), _halves, x.shape[-1])
    made = per_chunk(conv2d(frames, before, None, (3, 3)), len(x))
    added = per_frame(_earlier(made, past))
    hidden = conv2d(frames, now, bias, (3, 3), activation="relu", residual=added)
    keep(past, made[:, -1:], mask)
    return per_chunk(hidden, len(x))


def _earlier(made: Tensor, past: Tensor) -> Tensor:
    """Each frame's share of the one before."""
    return past if made.shape[1] == 1 else torch.cat((past, made[:, :-1]), 1)


def _halves(weight: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    now, before = weight.split(channels, 1)
    return now.contiguous(), before.contiguous()


def per_frame(x: Tensor) -> Tensor:
    """[rows, frames, h, w, C] -> [rows * frames, C, h, w], channels last, without a copy."""
    return x.flatten(0, 1).permute(0, 3, 1, 2)


def per_chunk(x: Tensor, rows: int) -> Tensor:
    """The way back from `per_frame`."""
    return x.permute(0, 2, 3, 1).unflatten(0, (rows, -1))
