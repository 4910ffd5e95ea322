"""Normalisations and the elementwise work around them."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from .dispatch import choose, implementation, reference


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
    other frames there are, so that a frame's sums are the same in every batch."""
    width = x.shape[-1]
    if torch.is_grad_enabled() or scale.dtype != x.dtype or scale.shape[-2] != 1:
        return modulated_layer_norm_reference(x, scale, shift, eps)
    frames = x.reshape(-1, *x.shape[-2:])
    gains = (1 + scale).expand(*x.shape[:-2], 1, width).reshape(-1, width)
    shifts = shift.expand(*x.shape[:-2], 1, width).reshape(-1, width)
    if len(frames) == 1:
        return functional.layer_norm(x, (width,), gains[0], shifts[0], eps)
    out = torch.empty_like(frames)
    for index, frame in enumerate(frames):
        out[index] = functional.layer_norm(frame, (width,), gains[index], shifts[index], eps)
    return out.view(x.shape)


def gated_residual(x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
    """`x + gate * update`; x, update [..., N, D], gate [..., 1, D]."""
    return choose("gated_residual", x.device.type)(x, update, gate)


@reference("gated_residual")
def gated_residual_reference(x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
    return torch.addcmul(x, update, gate)
