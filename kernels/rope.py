"""Rotary position embedding over (time, height, width)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from .dispatch import choose, implementation, reference
from .quantise import dequantise, quantise


def rope(x: Tensor, turn: Tensor) -> Tensor:
    """Rotate the first pairs of the last dimension; what is beyond the table stays.

    Args:
        x: [..., D]; entries 2i and 2i+1 are one pair.
        turn: from `turns`, broadcastable to [..., P, 2] with P <= D/2; computed in its type.
    """
    return choose("rope", x.device.type)(x, turn)


@reference("rope")
def rope_reference(x: Tensor, turn: Tensor) -> Tensor:
    cos, sin = turn.unbind(-1)
    turned = 2 * cos.shape[-1]
    pairs = x[..., :turned].unflatten(-1, (-1, 2)).to(turn.dtype)
    even, odd = pairs.unbind(-1)
    rotated = torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)
    if turned == x.shape[-1]:
        return rotated.to(x.dtype)
    return torch.cat((rotated.to(x.dtype), x[..., turned:]), -1)


@implementation("rope", "cpu")
def _rope_complex(x: Tensor, turn: Tensor) -> Tensor:
    """As one multiplication of complex numbers: seven times faster on a CPU than by halves."""
    rest = x.shape[-1] // 2 - turn.shape[-2]
    if rest:
        # Pairs beyond the table turn by nothing: cheaper than cutting the head and joining it.
        still = turn.new_tensor((1.0, 0.0)).expand(*turn.shape[:-2], rest, 2)
        turn = torch.cat((turn, still), -2)
    pairs = torch.view_as_complex(x.to(turn.dtype).unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * torch.view_as_complex(turn)).flatten(-2).to(x.dtype)


def turn_keys(
    keys: Tensor, turn: Tensor, mask: Tensor | None = None, scale: Tensor | None = None
) -> None:
    """Rotate cached keys in place: to count time from a later frame, or to move sinks nearer.

    A rotation by the difference of two places is exact, whatever place a key was stored at
    (RoFormer, section 3.4.2). Keys in eight bits are rounded once more.

    Args:
        keys: [layers, rows, slots, tokens, heads, head_dim], of any strides.
        turn: of the first pairs of each slot, [rows, slots, P, 2] (see `turns`).
        mask: bool [rows]; rows where it is false stay. None for all.
        scale: of keys in a narrow type, float32 [layers, rows, slots, tokens, heads].
    """
    choose("turn_keys", keys.device.type)(keys, turn, mask, scale)


@reference("turn_keys")
def turn_keys_reference(
    keys: Tensor, turn: Tensor, mask: Tensor | None, scale: Tensor | None
) -> None:
    spin = turn[:, :, None, None]
    if scale is None:
        _put(keys, rope(keys, spin), mask)
        return
    codes, factors = quantise(rope(dequantise(keys, scale, turn.dtype), spin), keys.dtype)
    _put(keys, codes, mask)
    _put(scale, factors, mask)


def _put(old: Tensor, new: Tensor, mask: Tensor | None) -> None:
    """Copy `new` over `old` [layers, rows, ...] in the rows of the mask."""
    if mask is not None:
        new = torch.where(mask.view(1, -1, *[1] * (old.dim() - 2)), new, old)
    old.copy_(new)


def axis_pairs(head_dim: int) -> tuple[int, int, int]:
    """Pairs of a head given to time, height and width (Wan 2.1: 22, 21, 21 of a head of 128)."""
    side = head_dim // 6
    return head_dim // 2 - 2 * side, side, side


@lru_cache(maxsize=32)
def frequencies(pairs: int, theta: float, device: torch.device) -> Tensor:
    """Radians per position of each pair of one axis, float64 [pairs] (RoFormer, section 3.2)."""
    # Tables outlive the caller's mode: made as inference tensors they could not train.
    with torch.inference_mode(False):
        exponent = torch.arange(pairs, dtype=torch.float64, device=device) / pairs
        return theta**-exponent


def angles(positions: Tensor, pairs: int, theta: float) -> Tensor:
    """Angle of each pair at integer `positions` [...], float64 [..., pairs]."""
    return positions[..., None] * frequencies(pairs, theta, positions.device)


def turns(angle: Tensor, dtype: torch.dtype) -> Tensor:
    """The table that `rope` takes: cosine and sine of angles [..., P], as [..., P, 2]."""
    return torch.stack((angle.cos(), angle.sin()), -1).to(dtype)


@lru_cache(maxsize=32)
def spatial_turns(
    grid: tuple[int, int], head_dim: int, theta: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Rotation by height and width for a grid of tokens, [height * width, pairs, 2].

    Kept per size: a stream asks for the same table at every frame.
    """
    with torch.inference_mode(False):
        height, width = grid
        _, row_pairs, column_pairs = axis_pairs(head_dim)
        rows = angles(torch.arange(height, device=device), row_pairs, theta)
        columns = angles(torch.arange(width, device=device), column_pairs, theta)
        both = (rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1))
        return turns(torch.cat(both, -1).flatten(0, 1), dtype)
