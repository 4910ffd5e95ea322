"""Rotary position embedding as the released models lay it out: pair i is entries i and i + D/2."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ...kernels.rope import angles, frequencies
from .specs import TextSpec


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type that rotations are computed in: float32, or float64 for float64 models."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Rotate all pairs of the last dimension.

    Args:
        x: [..., D].
        turn: from `table`, broadcastable to [..., 2, D]; computed in its type.

    Returns:
        As `x`.
    """
    cos, sin = turn.unbind(-2)
    given = x.to(turn.dtype)
    # Few operations, because for one token each costs more than its arithmetic.
    other = given.roll(given.shape[-1] // 2, -1)
    return torch.addcmul(given * cos, other, sin).to(x.dtype)


def table(angle: Tensor, dtype: torch.dtype) -> Tensor:
    """What `rotate` takes: cosines, and sines with the sign of each half, of angles [..., P], as
    [..., 2, 2 P]."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)), -2).to(dtype)


@lru_cache(maxsize=16)
def _axes(sections: tuple[int, int, int], device: torch.device) -> Tensor:
    """Axis of each pair, int64 [pairs]."""
    with torch.inference_mode(False):
        counts = torch.tensor(sections, device=device)
        return torch.arange(3, device=device).repeat_interleave(counts, output_size=sum(sections))


def text_turns(positions: Tensor, spec: TextSpec, dtype: torch.dtype) -> Tensor:
    """Rotation of each token of a decoder (Qwen2-VL, arXiv 2409.12191, section 2.1).

    The first pairs turn by the time, the next by the height, the last by the width; frequencies
    fall over all of them as in plain RoPE. Angles are float64: positions grow large.

    Args:
        positions: [3, ...] of any float type; time, height, width.

    Returns:
        [..., 1, 2, head_dim] in `dtype`, for tokens [..., heads, head_dim].
    """
    axes = _axes(spec.rope_sections, positions.device)
    rates = frequencies(spec.head_dim // 2, spec.rope_theta, positions.device)
    angle = positions.double().movedim(0, -1)[..., axes] * rates
    return table(angle, dtype)[..., None, :, :]


def picture_angles(rows: Tensor, columns: Tensor, head_dim: int) -> Tensor:
    """Angles of the patches of a picture, float64 [n, head_dim / 2]: rows first, then columns."""
    pairs, theta = head_dim // 4, 10_000.0
    return torch.cat((angles(rows, pairs, theta), angles(columns, pairs, theta)), -1)
