"""The fused norm, rotation and ring write against the operations that it joins."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from millrace.kernels import turns
from millrace.kernels.ring_input import norm_rope_write_reference
from millrace.kernels.triton.ring_input import (
    norm_rope_write,
    norm_rope_write_wide,
)
from torch import Tensor
from triton_rig import DEVICE, assert_near, drawer, dtypes

SIZES = [(1, 1, 1, 1, 2), (3, 2, 5, 3, 10), (2, 1, 33, 2, 16)]
"""rows, frames, tokens, heads, head_dim."""


def call(
    sizes: tuple[int, ...], dtype: torch.dtype, joint: bool, masked: bool, chosen: bool
) -> list[Any]:
    """Arguments; the ring is a part of a larger one, with more rows where they are chosen."""
    rows, frames, tokens, heads, size = sizes
    draw = drawer(sum(sizes), dtype)
    if joint:
        products = draw(rows, frames, tokens, 3, heads * size).unbind(-2)
    else:
        products = draw(3, rows, frames, tokens, heads * size).unbind(0)
    norm = (draw(heads * size), draw(heads * size))
    spins = rows if joint else 1
    turn = turns(draw(spins, frames, tokens, 1, size // 2).float() * 3, torch.float32)
    every = rows + 2 if chosen else rows
    ring = draw(2, 3, every, frames + 2, tokens, heads, size)[:, 1].unbind(0)
    slots = torch.rand(rows, frames + 2, generator=torch.Generator().manual_seed(1)).argsort(1)
    slots = slots[:, :frames].contiguous().to(DEVICE)
    mask = torch.arange(rows, device=DEVICE) % 2 == 1 if masked else None
    place = torch.arange(every, device=DEVICE).flip(0)[:rows] if chosen else None
    return [products, norm, turn, 1e-6, ring, slots, mask, place, None]


def copied(value: Any) -> Any:
    """Copies that keep the strides."""
    if isinstance(value, Tensor):
        whole = value.as_strided((value.untyped_storage().nbytes() // value.itemsize,), (1,), 0)
        return whole.clone().as_strided(value.shape, value.stride(), value.storage_offset())
    return tuple(copied(entry) for entry in value) if isinstance(value, tuple) else value


def exactly(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    return tuple(exactly(entry) for entry in value) if isinstance(value, tuple) else value


@dtypes
@pytest.mark.parametrize("chosen", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_norm_rope_write(
    sizes: tuple[int, ...], masked: bool, chosen: bool, dtype: torch.dtype
) -> None:
    given = call(sizes, dtype, joint=masked != chosen, masked=masked, chosen=chosen)
    exact = [exactly(copied(argument)) for argument in given]
    defined = norm_rope_write_reference(*exact)
    for kernel in (norm_rope_write, norm_rope_write_wide):
        mine = [copied(argument) for argument in given]
        assert_near(kernel(*mine), defined)
        for found, expected, before in zip(mine[4], exact[4], given[4], strict=True):
            assert_near(found, expected)
            kept = expected == before.double()
            assert torch.equal(found[kept], before[kept])  # to the last bit
