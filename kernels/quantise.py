"""Keys and values in eight bits, with a scale for each token of each head."""

from __future__ import annotations

import torch
from torch import Tensor

MOST = {torch.float8_e4m3fn: 448.0, torch.int8: 127.0}
"""Narrow types and the largest value of each, which the largest entry of a head becomes."""
LEAST = 1e-12
"""A head that is all zeros is divided by this share of `MOST`, not by nothing."""


def quantise(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Codes and scales of which `dequantise` makes nearly x.

    The scale is that of the largest entry, so that none is clamped. int8 rounds halves up, e4m3 to
    even. The error of an entry is at most half a step: scale / 2 in int8; in e4m3 a sixteenth of
    the entry, or scale / 1024 near zero.

    Args:
        x: [..., head_dim], any float type.
        dtype: float8_e4m3fn or int8.

    Returns:
        Codes [..., head_dim] and float32 scales [...].
    """
    wide = x.float()
    scale = wide.abs().amax(-1).clamp_min(LEAST) / MOST[dtype]
    share = wide / scale[..., None]
    if dtype == torch.int8:
        share = (share + 0.5).floor()
    return share.to(dtype), scale


def dequantise(codes: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """codes [..., head_dim] times scale [...], in `dtype`."""
    return (codes.float() * scale[..., None]).to(dtype)
