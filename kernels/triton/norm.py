"""LayerNorm with what comes before and after it, in one pass over the tokens."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import FLOATS, Needs, block_rows, launcher, power, warps
from .numbers import to_e4m3

MOST_FRAMES = 65535
"""Of a grid's second side."""


@triton.jit
def _norm_kernel(
    x: tl.tensor,
    update: tl.tensor,
    gate: tl.tensor,
    gain: tl.tensor,
    shift: tl.tensor,
    residual: tl.tensor,
    out: tl.tensor,
    out_scale: tl.tensor,
    tokens: tl.tensor,
    width: tl.tensor,
    eps: tl.tensor,
    gate_stride: tl.tensor,
    gain_stride: tl.tensor,
    shift_stride: tl.tensor,
    RESIDUAL: tl.constexpr,
    AROUND: tl.constexpr,
    NARROW: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """out = norm(x + gate update) (AROUND + gain) + shift; grid (blocks of tokens, frames)."""
    frame = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, WIDTH)
    real = column < width
    inside = (row < tokens)[:, None] & real[None, :]
    token = frame * tokens + row
    place = token[:, None] * width + column[None, :]
    value = tl.load(x + place, inside, 0.0).to(tl.float32)
    if RESIDUAL:
        opened = tl.load(gate + frame * gate_stride + column, real, 0.0).to(tl.float32)
        value += opened[None, :] * tl.load(update + place, inside, 0.0).to(tl.float32)
        # The norm sees what is kept: the sum in the type of the tokens.
        kept = value.to(residual.dtype.element_ty)
        tl.store(residual + place, kept, inside)
        value = kept.to(tl.float32)
    centred = tl.where(inside, value - (tl.sum(value, 1) / width)[:, None], 0.0)
    normal = centred * tl.rsqrt(tl.sum(centred * centred, 1) / width + eps)[:, None]
    factor = AROUND + tl.load(gain + frame * gain_stride + column, real, 0.0).to(tl.float32)
    moved = tl.load(shift + frame * shift_stride + column, real, 0.0).to(tl.float32)
    value = normal * factor[None, :] + moved[None, :]
    if NARROW:
        most = tl.max(tl.where(inside, tl.abs(value), 0.0), 1)
        scale = tl.maximum(most, 1e-12) / 448.0
        tl.store(out_scale + token, scale, row < tokens)
        tl.store(out + place, to_e4m3(value / scale[:, None]), inside)
    else:
        tl.store(out + place, value.to(out.dtype.element_ty), inside)


def _launch(
    x: Tensor,
    residual: tuple[Tensor, Tensor] | None,
    gain: Tensor,
    shift: Tensor,
    eps: float,
    around: float,
    narrow: bool,
    elements: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """(x or the new residual, normalised, scale of each row; without meaning if not narrow)."""
    tokens, width = x.shape[-2:]
    frames = x.numel() // max(tokens * width, 1)
    update, gate = (x, gain) if residual is None else residual
    per_frame = (*x.shape[:-2], width)
    gate, gain, shift = (_by_frame(part, per_frame) for part in (gate, gain, shift))
    kept = x if residual is None else torch.empty_like(x)
    out = torch.empty_like(x, dtype=torch.float8_e4m3fn if narrow else x.dtype)
    scale = x.new_empty(x.shape[:-1] if narrow else (1,), dtype=torch.float32)
    rows = block_rows(tokens, width, elements)
    _norm_kernel[(triton.cdiv(tokens, rows), frames)](
        x,
        update,
        gate,
        gain,
        shift,
        kept,
        out.view(torch.uint8) if narrow else out,
        scale,
        tokens,
        width,
        eps,
        gate.stride(0),
        gain.stride(0),
        shift.stride(0),
        RESIDUAL=residual is not None,
        AROUND=around,
        NARROW=narrow,
        ROWS=rows,
        WIDTH=power(width),
        num_warps=warps(rows * power(width)),
    )
    return kept, out, scale


def _by_frame(part: Tensor, per_frame: tuple[int, ...]) -> Tensor:
    """[D] for all frames, or [..., 1, D], as [frames, D] whose frames may be one and the same."""
    width = per_frame[-1]
    if part.dim() == 1:
        return part.expand(math.prod(per_frame[:-1]), width)
    return part.squeeze(-2).expand(per_frame).reshape(-1, width)


def _fits_modulated(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> str:
    needs = Needs(x=x, scale=scale, shift=shift)
    _check_tokens(needs, x)
    _check_modulation(needs, x, scale=scale, shift=shift)
    return needs.reason


def _check_tokens(needs: Needs, x: Tensor) -> None:
    needs.types(FLOATS, x=x)
    needs.packed(x=x)
    needs.that(x.dim() > 1 and x.numel() > 0, f"x has shape {tuple(x.shape)}; give [..., N, D]")
    frames = x.numel() // max(math.prod(x.shape[-2:]), 1)
    needs.that(frames <= MOST_FRAMES, f"x has {frames} frames; at most {MOST_FRAMES}")


def _check_modulation(needs: Needs, x: Tensor, **parts: Tensor) -> None:
    """One vector a frame."""
    needs.types(FLOATS, **parts)
    for name, part in parts.items():
        told = f"{name} has shape {tuple(part.shape)}; give [..., 1, D]"
        needs.that(part.dim() > 1 and part.shape[-2:] == (1, x.shape[-1]), told)
    if not needs.reason:
        needs.fills(*x.shape[:-2], 1, x.shape[-1], **parts)
    needs.packed(1, **parts)


def _modulated(elements: int) -> Callable[..., Tensor]:
    def run(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
        return _launch(x, None, scale, shift, eps, 1.0, False, elements)[1]

    return run


_OP = "modulated_layer_norm"
modulated_layer_norm = launcher(_OP, "triton", _fits_modulated)(_modulated(4096))
modulated_layer_norm_wide = launcher(_OP, "triton-wide", _fits_modulated)(_modulated(16384))


@launcher("modulated_layer_norm_e4m3", "triton", _fits_modulated)
def modulated_layer_norm_e4m3(
    x: Tensor, scale: Tensor, shift: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    return _launch(x, None, scale, shift, eps, 1.0, True, 4096)[1:]


def _fits_gated(
    x: Tensor,
    update: Tensor,
    gate: Tensor,
    gain: Tensor,
    shift: Tensor,
    eps: float,
    modulated: bool = True,
) -> str:
    needs = Needs(x=x, update=update, gate=gate, gain=gain, shift=shift)
    _check_tokens(needs, x)
    needs.shape(*x.shape, update=update)
    needs.types((x.dtype,), update=update)
    needs.packed(update=update)
    if modulated:
        _check_modulation(needs, x, gate=gate, gain=gain, shift=shift)
    else:
        _check_modulation(needs, x, gate=gate)
        needs.types(FLOATS, gain=gain, shift=shift)
        needs.shape(x.shape[-1], gain=gain, shift=shift)
        needs.packed(gain=gain, shift=shift)
    return needs.reason


def _gated(elements: int) -> Callable[..., tuple[Tensor, Tensor]]:
    def run(
        x: Tensor,
        update: Tensor,
        gate: Tensor,
        gain: Tensor,
        shift: Tensor,
        eps: float,
        modulated: bool = True,
    ) -> tuple[Tensor, Tensor]:
        around = 1.0 if modulated else 0.0
        return _launch(x, (update, gate), gain, shift, eps, around, False, elements)[:2]

    return run


gated_residual_norm = launcher("gated_residual_norm", "triton", _fits_gated)(_gated(4096))
gated_residual_norm_wide = launcher("gated_residual_norm", "triton-wide", _fits_gated)(
    _gated(16384)
)
