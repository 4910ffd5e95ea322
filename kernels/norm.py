"""Normalisations and the elementwise work around them."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from .dispatch import candidate, choose, implementation, reference
from .quantise import quantise


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root-mean-square normalisation over the last dimension, times `weight`.

    Args:
        x: [..., D], any float type; the mean is taken in float32 (float64 for float64).
        weight: [D].
    """
    return choose("rms_norm", x.device.type)(x, weight, eps)


@reference("rms_norm")
def rms_norm_reference(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x if x.dtype == torch.float64 else x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * scale).to(x.dtype) * weight


@implementation("rms_norm", "cpu")
def _rms_norm_native(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """The same in fewer passes; the reference in half precision while training, as autocast
    takes each of its steps in the type that suits it."""
    if torch.is_grad_enabled() or x.dtype != weight.dtype:
        return rms_norm_reference(x, weight, eps)
    return functional.rms_norm(x, (x.shape[-1],), weight, eps)


ENOUGH = 192 * 1024
"""Bytes of a frame from which on a pass of its own pays on a CPU; below them several frames in one
call are quicker."""


def _fits_fused(x: Tensor, weight: Tensor, eps: float) -> str:
    return "" if x.dtype == weight.dtype else f"weight is {weight.dtype}, x is {x.dtype}"


@candidate("rms_norm", "cuda", "fused", _fits_fused, library=True)
def _rms_norm_fused(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return functional.rms_norm(x, (x.shape[-1],), weight, eps)


def modulated_layer_norm(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """LayerNorm without affine, then `(1 + scale) x + shift` (adaptive LayerNorm, DiT section 3).

    Args:
        x: [..., N, D].
        scale, shift: [..., 1, D], one per frame, shared by its N tokens.
    """
    return choose("modulated_layer_norm", x.device.type)(x, scale, shift, eps)


@reference("modulated_layer_norm")
def modulated_layer_norm_reference(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    normal = functional.layer_norm(x, x.shape[-1:], eps=eps)
    return torch.addcmul(shift, normal, 1 + scale)


@implementation("modulated_layer_norm", "cpu")
def _modulated_layer_norm_native(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """A frame's modulation is the affine part of a plain LayerNorm: one pass a frame, whatever
    other frames there are, so that a frame's sums are the same in every batch.

    Small frames take the reference, all of them in one call. The size of one frame alone decides.
    """
    tokens, width = x.shape[-2:]
    small = tokens * width * x.itemsize < ENOUGH
    if small or torch.is_grad_enabled() or scale.dtype != x.dtype or scale.shape[-2] != 1:
        return modulated_layer_norm_reference(x, scale, shift, eps)
    frames = x.reshape(-1, *x.shape[-2:])
    if len(frames) == 1 and scale.numel() == shift.numel() == width:
        return functional.layer_norm(x, (width,), (1 + scale).view(width), shift.view(width), eps)
    gains = (1 + scale).expand(*x.shape[:-2], 1, width).reshape(-1, width)
    shifts = shift.expand(*x.shape[:-2], 1, width).reshape(-1, width)
    out = torch.empty_like(frames)
    for place, frame, gain, add in zip(out, frames, gains, shifts, strict=True):
        place.copy_(functional.layer_norm(frame, (width,), gain, add, eps))
    return out.view(x.shape)


def gated_residual(x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
    """`x + gate * update`; x, update [..., N, D], gate [..., 1, D]."""
    return choose("gated_residual", x.device.type)(x, update, gate)


@reference("gated_residual")
def gated_residual_reference(x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
    return torch.addcmul(x, update, gate)


def gated_residual_norm(
    x: Tensor,
    update: Tensor,
    gate: Tensor,
    gain: Tensor,
    shift: Tensor,
    eps: float,
    modulated: bool = True,
) -> tuple[Tensor, Tensor]:
    """`gated_residual`, and the norm that reads its result next.

    Args:
        x, update, gate: see `gated_residual`.
        gain, shift: scale and shift of `modulated_layer_norm`, [..., 1, D]; or, not `modulated`,
            weight and bias of a plain LayerNorm, [D].

    Returns:
        The new residual and the normalised tokens, [..., N, D].
    """
    function = choose("gated_residual_norm", x.device.type)
    return function(x, update, gate, gain, shift, eps, modulated)


@reference("gated_residual_norm")
def gated_residual_norm_reference(
    x: Tensor,
    update: Tensor,
    gate: Tensor,
    gain: Tensor,
    shift: Tensor,
    eps: float,
    modulated: bool,
) -> tuple[Tensor, Tensor]:
    x = gated_residual(x, update, gate)
    if modulated:
        return x, modulated_layer_norm(x, gain, shift, eps)
    return x, functional.layer_norm(x, x.shape[-1:], gain, shift, eps)


def modulated_layer_norm_e4m3(
    x: Tensor, scale: Tensor, shift: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """`modulated_layer_norm` for a linear layer in fp8: codes [..., N, D] in float8_e4m3fn and
    float32 scales [..., N], one a token (its largest value / 448, see `quantise`)."""
    return choose("modulated_layer_norm_e4m3", x.device.type)(x, scale, shift, eps)


@reference("modulated_layer_norm_e4m3")
def modulated_layer_norm_e4m3_reference(
    x: Tensor, scale: Tensor, shift: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    return quantise(modulated_layer_norm(x, scale, shift, eps), torch.float8_e4m3fn)
