"""Rows into eight bits against the reference, to the bit in float32."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.kernels import dequantise
from millrace.kernels.fp8_ops import quantise_rows_reference
from millrace.kernels.triton.rows import quantise_rows
from triton_rig import DEVICE, drawer, dtypes


@dtypes
@pytest.mark.parametrize("shape", [(1, 6), (3, 7, 20), (33, 48), (2, 300)], ids=str)
def test_rows(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = drawer(0, dtype)(*shape) * 3
    x[..., :1, :] = 0  # a row without anything must not be divided by nothing
    codes, scale = quantise_rows(x)
    wanted, wanted_scale = quantise_rows_reference(x)
    torch.testing.assert_close(scale, wanted_scale, rtol=1e-6, atol=0)
    # A quotient on the edge between two codes may fall to either side of it.
    steps = codes.view(torch.uint8).int() - wanted.view(torch.uint8).int()
    assert steps.abs().max() <= 1 and (steps != 0).float().mean() < 0.01
    off = (dequantise(codes, scale, torch.float32) - x.float()).abs()
    assert (off <= torch.maximum(x.float().abs() / 16, scale[..., None] / 1024) * 1.01).all()


@dtypes
@pytest.mark.parametrize("shape", [(1, 6), (3, 7, 20), (2, 300)], ids=str)
@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
def test_gelu_on_the_way(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """No further off than rounding to the codes, whose largest value is that of gelu."""
    x = drawer(0, dtype)(*shape) * 4
    x[..., 0] = -40.0  # far to the left it is nothing, and not a difference of large numbers
    codes, scale = quantise_rows(x, True)
    exact = torch.nn.functional.gelu(x.double(), approximate="tanh")
    off = (dequantise(codes, scale, torch.float64) - exact).abs()
    most = torch.maximum(exact.abs() / 16, scale[..., None].double() / 1024)
    assert (off <= most * 1.01 + 1e-6).all()
    wanted = dequantise(*quantise_rows_reference(x, True), torch.float64)
    assert ((wanted - exact).abs() <= most * 1.1 + 1e-3).all()


@settings(max_examples=10, deadline=None)
@given(rows=st.integers(1, 40), width=st.integers(1, 40), size=st.integers(-8, 8))
def test_any_sizes(rows: int, width: int, size: int) -> None:
    x = drawer(width, torch.float32)(rows, width) * 10.0**size
    codes, scale = quantise_rows(x)
    assert codes.float().abs().amax(-1).eq(448).all()
    wanted = dequantise(*quantise_rows_reference(x), torch.float32)
    torch.testing.assert_close(
        dequantise(codes, scale, torch.float32),
        wanted,
        rtol=0.13,
        atol=2.0**-9 * float(scale.max()),
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda x: x.t(), "x has strides"),
        (lambda x: x.int(), "x is torch.int32"),
        (lambda x: x[:0], "x has shape"),
    ],
)
def test_what_it_does_not_take_is_named(change, why: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=why):
        quantise_rows(change(torch.ones(4, 6, device=DEVICE)))
