"""Rotary position embedding over (time, height, width)."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as functional
from torch import Tensor

from .dispatch import choose, implementation, reference


def rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first pairs of the last dimension; what is beyond the tables stays.

    Args:
        x: [..., D]; entries 2i and 2i+1 are one pair.
        cos, sin: broadcastable to [..., P] with P <= D/2; computed in their type.
    """
    return choose("rope", x.device.type)(x, cos, sin)


@reference("rope")
def rope_reference(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    turned = 2 * cos.shape[-1]
    pairs = x[..., :turned].unflatten(-1, (-1, 2)).to(cos.dtype)
    even, odd = pairs.unbind(-1)
    rotated = torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)
    if turned == x.shape[-1]:
        return rotated.to(x.dtype)
    return torch.cat((rotated.to(x.dtype), x[..., turned:]), -1)


@implementation("rope", "cpu")
def _rope_complex(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """As one multiplication of complex numbers: seven times faster on a CPU than by halves."""
    # Pairs beyond the tables turn by nothing: cheaper than cutting the head and joining it again.
    rest = (0, x.shape[-1] // 2 - cos.shape[-1])
    turn = torch.complex(functional.pad(cos, rest, value=1.0), functional.pad(sin, rest))
    pairs = torch.view_as_complex(x.to(cos.dtype).unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)


def axis_pairs(head_dim: int) -> tuple[int, int, int]:
    """Pairs of a head given to time, height and width (Wan 2.1: 22, 21, 21 of a head of 128)."""
    side = head_dim // 6
    return head_dim // 2 - 2 * side, side, side


def frequencies(pairs: int, theta: float, device: torch.device) -> Tensor:
    """Radians per position of each pair of one axis, float64 [pairs] (RoFormer, section 3.2)."""
    exponent = torch.arange(pairs, dtype=torch.float64, device=device) / pairs
    return theta**-exponent


def angles(positions: Tensor, pairs: int, theta: float) -> Tensor:
    """Angle of each pair at integer `positions` [...], float64 [..., pairs]."""
    return positions.double()[..., None] * frequencies(pairs, theta, positions.device)


@lru_cache(maxsize=32)
def spatial_tables(
    grid: tuple[int, int], head_dim: int, theta: float, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosine and sine of height and width for a grid of tokens, each [height * width, pairs].

    Kept per size: a stream asks for the same tables at every frame.
    """
    # The tables outlive the caller's mode: made as inference tensors they could not train.
    with torch.inference_mode(False):
        height, width = grid
        _, row_pairs, column_pairs = axis_pairs(head_dim)
        rows = angles(torch.arange(height, device=device), row_pairs, theta)
        columns = angles(torch.arange(width, device=device), column_pairs, theta)
        both = (rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1))
        turn = torch.cat(both, -1).flatten(0, 1)
        return turn.cos().to(dtype), turn.sin().to(dtype)
