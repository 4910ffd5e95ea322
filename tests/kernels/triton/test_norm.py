"""LayerNorm kernels against their references."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.kernels import dequantise
from millrace.kernels.norm import (
    gated_residual_norm_reference,
    modulated_layer_norm_e4m3_reference,
    modulated_layer_norm_reference,
)
from millrace.kernels.triton.norm import (
    gated_residual_norm,
    gated_residual_norm_wide,
    modulated_layer_norm,
    modulated_layer_norm_e4m3,
    modulated_layer_norm_wide,
)
from torch import Tensor
from triton_rig import DEVICE, assert_near, drawer, dtypes

SHAPES = [(1, 1, 1, 6), (2, 3, 7, 20), (1, 2, 33, 48)]
EPS = 1e-6
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def tokens(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens and three modulations, which lie between others as a block's six do."""
    draw = drawer(0, dtype)
    gate, scale, shift = draw(*shape[:2], 6, 1, shape[-1]).unbind(2)[1:4]
    return draw(*shape) * 3 + 1, gate, scale, shift


@dtypes
@shapes
def test_modulated_layer_norm(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, _, scale, shift = tokens(shape, dtype)
    exact = modulated_layer_norm_reference(x.double(), scale.double(), shift.double(), EPS)
    for kernel in (modulated_layer_norm, modulated_layer_norm_wide):
        assert_near(kernel(x, scale, shift, EPS), exact)


@settings(max_examples=10, deadline=None)
@given(rows=st.integers(1, 3), count=st.integers(1, 9), width=st.integers(1, 40))
def test_any_sizes(rows: int, count: int, width: int) -> None:
    """One modulation for all rows, and one a row."""
    draw = drawer(width, torch.float32)
    x, scale, shift = draw(rows, count, width), draw(1, 1, width), draw(rows, 1, width)
    exact = modulated_layer_norm_reference(x.double(), scale.double(), shift.double(), 1e-3)
    assert_near(modulated_layer_norm(x, scale, shift, 1e-3), exact)


@dtypes
@shapes
def test_modulated_layer_norm_in_eight_bits(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, _, scale, shift = tokens(shape, dtype)
    exact = modulated_layer_norm_reference(x.double(), scale.double(), shift.double(), EPS)
    codes, share = modulated_layer_norm_e4m3(x, scale, shift, EPS)
    assert codes.dtype == torch.float8_e4m3fn and share.dtype == torch.float32
    assert_near(share, exact.abs().amax(-1).clamp_min(1e-12) / 448, 1e-2)
    # Half a step of e4m3, and what float32 adds to values on the edge between two codes.
    off = (dequantise(codes, share, torch.float64) - exact).abs()
    most = torch.maximum(exact.abs() / 16, share[..., None].double() / 1024)
    assert (off <= most * 1.01 + 1e-5).all()
    if dtype == torch.float32:
        defined, factors = modulated_layer_norm_e4m3_reference(x, scale, shift, EPS)
        steps = (codes.view(torch.int8).int() - defined.view(torch.int8).int()).abs()
        assert steps.max() <= 1 and (steps > 0).double().mean() < 0.02
        assert_near(share, factors)


@dtypes
@pytest.mark.parametrize("modulated", [True, False])
@shapes
def test_gated_residual_norm(shape: tuple[int, ...], modulated: bool, dtype: torch.dtype) -> None:
    x, gate, gain, shift = tokens(shape, dtype)
    update = drawer(1, dtype)(*shape)
    if not modulated:
        gain, shift = drawer(2, dtype)(2, shape[-1]).unbind(0)
    given = (x, update, gate, gain, shift)
    wide: list[Any] = [*(part.double() for part in given), EPS, modulated]
    exact = gated_residual_norm_reference(*wide)
    for kernel in (gated_residual_norm, gated_residual_norm_wide):
        for found, expected in zip(kernel(*given, EPS, modulated), exact, strict=True):
            assert found.dtype == dtype
            assert_near(found, expected)
    assert torch.equal(x, tokens(shape, dtype)[0])  # what is given stays


def wrong_calls() -> list[Any]:
    x, part = torch.zeros(2, 3, 8, device=DEVICE), torch.zeros(2, 1, 8, device=DEVICE)
    mark = pytest.param
    return [
        mark(x.double(), part, part, "x is torch.float64", id="type"),
        mark(x.transpose(0, 1), part, part, "x has strides", id="strides"),
        mark(x, part[..., :4], part, r"scale has shape \(2, 1, 4\)", id="width"),
        mark(x, part, part[0, 0], r"shift has shape \(8,\)", id="vector"),
        mark(x, part.expand(2, 3, 8), part, r"scale has shape \(2, 3, 8\)", id="tokens"),
        mark(x, part[:1].expand(5, 1, 8), part, r"cannot be expanded", id="frames"),
        mark(x, part, part.long(), "shift is torch.int64", id="integers"),
        mark(x, part, part.to("meta"), "shift is on meta, not", id="device"),
        mark(x.to("meta"), part, part, "scale is on|x is on meta", id="no device"),
        mark(x, part, part.clone().requires_grad_(), "shift wants a gradient", id="gradient"),
        mark(x[:0], part, part, r"x has shape \(0, 3, 8\)", id="nothing"),
    ]


@pytest.mark.parametrize("x, scale, shift, told", wrong_calls())
def test_wrong_calls_name_the_argument(x: Tensor, scale: Tensor, shift: Tensor, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        modulated_layer_norm(x, scale, shift, EPS)


def test_a_wrong_update_is_named() -> None:
    x, part = torch.zeros(2, 3, 8, device=DEVICE), torch.zeros(2, 1, 8, device=DEVICE)
    for update, told in ((x[:, :2], "update has shape"), (x.half(), "update is torch.float16")):
        with pytest.raises(ValueError, match=told):
            gated_residual_norm(x, update, part, part, part, EPS)
    with pytest.raises(ValueError, match="gain has shape"):
        gated_residual_norm(x, x, part, part, part, EPS, False)
