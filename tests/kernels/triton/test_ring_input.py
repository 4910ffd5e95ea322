"""The fused norm, rotation and ring write against the operations that it joins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from millrace.kernels import dequantise, quantise, turns
from millrace.kernels.projection import query_key_value_reference
from millrace.kernels.quantise import MOST
from millrace.kernels.ring_input import norm_rope_write_reference
from millrace.kernels.triton.ring_input import (
    norm_rope_write,
    norm_rope_write_wide,
    query_key_value,
)
from torch import Tensor
from triton_rig import DEVICE, TOLERANCE, assert_near, drawer, dtypes

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


@settings(max_examples=8, deadline=None)
@drawn(
    sizes=st.tuples(*(st.integers(1, most) for most in (3, 3, 9, 5, 8))),
    masked=st.booleans(),
    chosen=st.booleans(),
)
def test_any_sizes(sizes: tuple[int, ...], masked: bool, chosen: bool) -> None:
    sizes = (*sizes[:4], 2 * sizes[4])
    given = call(sizes, torch.float32, joint=chosen, masked=masked, chosen=chosen)
    exact = [exactly(copied(argument)) for argument in given]
    defined = norm_rope_write_reference(*exact)
    assert_near(norm_rope_write(*given), defined)
    for found, expected in zip(given[4], exact[4], strict=True):
        assert_near(found, expected)


@pytest.mark.parametrize("kind", MOST, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_narrow_ring(sizes: tuple[int, ...], kind: torch.dtype) -> None:
    """Within half a step of the exact keys and values; rows outside the mask stay."""
    given = call(sizes, torch.float32, joint=True, masked=sizes[0] > 1, chosen=True)
    exact = [exactly(copied(argument)) for argument in given]
    defined = norm_rope_write_reference(*exact)
    before = [quantise(memory, kind) for memory in given[4]]
    memories, scales = zip(*(quantise(memory, kind) for memory in given[4]), strict=True)
    assert_near(norm_rope_write(*given[:4], memories, *given[5:8], scales), defined)
    untouched = exact[4][0] == given[4][0].double()
    for codes, scale, expected, (old, _) in zip(memories, scales, exact[4], before, strict=True):
        off = (dequantise(codes, scale, torch.float64) - expected).abs()
        step = scale[..., None].double() * (32 if kind == torch.float8_e4m3fn else 1)
        assert (off <= 0.51 * step).all()
        kept = untouched.all(-1)
        assert torch.equal(codes.view(torch.uint8)[kept], old.view(torch.uint8)[kept])


@dtypes
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_query_key_value(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    rows, frames, tokens, heads, size = sizes
    draw = drawer(4, dtype)
    x, weight = draw(rows, frames, tokens, 7), (draw(3, heads * size, 7) / 3).unbind(0)
    bias, norm = draw(3, heads * size).unbind(0), draw(2, heads * size).unbind(0)
    turn = turns(draw(1, frames, tokens, 1, size // 2).float() * 3, torch.float32)
    given = (x, weight, bias, norm)
    wide: list[Any] = [*exactly((*given, turn)), 1e-6]
    exact = query_key_value_reference(*wide)
    for found, expected in zip(query_key_value(*given, turn, 1e-6), exact, strict=True):
        assert_near(found, expected, 2 * TOLERANCE[dtype])


WRONG: dict[str, Callable[[list[Any]], None]] = {
    r"query has shape \(2, 5": lambda a: put(a, 0, (a[0][0][0], *a[0][1:])),
    "value is torch.float16": lambda a: put(a, 0, (*a[0][:2], a[0][2].half())),
    "key has strides": lambda a: put(a, 0, (a[0][0], a[0][1].contiguous(), a[0][2])),
    "key_norm has shape": lambda a: put(a, 1, (a[1][0], a[1][1][:4])),
    "turn has shape": lambda a: put(a, 2, a[2][:, :, :1]),
    "turn is torch.int64": lambda a: put(a, 2, a[2].long()),
    "values has shape": lambda a: put(a, 4, (a[4][0], a[4][1][:, :, :1])),
    "keys is torch.int32": lambda a: put(a, 4, (a[4][0].int(), a[4][1].int())),
    "scales is missing": lambda a: put(a, 4, (a[4][0].to(torch.int8), a[4][1].to(torch.int8))),
    "scales is given, but keys": lambda a: put(a, 8, (a[4][0][..., 0], a[4][1][..., 0])),
    "slots has shape": lambda a: put(a, 5, a[5][:, :1]),
    "slots is torch.int32": lambda a: put(a, 5, a[5].int()),
    "mask is torch.uint8": lambda a: put(a, 6, a[6].to(torch.uint8)),
    "rows has strides": lambda a: put(a, 7, torch.stack((a[7], a[7]), 1)[:, 0]),
    "rows is on meta": lambda a: put(a, 7, a[7].to("meta")),
    "keys has shape": lambda a: put(a, 7, None),
    "query_norm wants a gradient": lambda a: put(a, 1, (a[1][0].requires_grad_(), a[1][1])),
}


def put(arguments: list[Any], index: int, value: Any) -> None:
    arguments[index] = value


@pytest.mark.parametrize("told", WRONG)
def test_wrong_calls_name_the_argument(told: str) -> None:
    arguments = call((3, 2, 5, 3, 10), torch.float32, joint=True, masked=True, chosen=True)
    WRONG[told](arguments)
    with pytest.raises(ValueError, match=told):
        norm_rope_write(*arguments)
