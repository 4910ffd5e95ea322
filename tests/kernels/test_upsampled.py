"""Summed taps over the small picture equal the convolution over the enlarged one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.kernels import upsampled_conv
from millrace.kernels.upsampled import folded_conv, upsampled_conv_reference

size = st.integers(1, 5)


@settings(max_examples=30, deadline=None)
@given(size, size, size, size, size, st.booleans())
def test_summed_taps_equal_the_enlarged_picture(
    batch: int, channels: int, out: int, height: int, width: int, biased: bool
) -> None:
    """To rounding in float64, borders included, whatever lies how in memory."""
    generator = torch.Generator().manual_seed(batch + 10 * channels)
    x, weight, bias = (
        torch.randn(*shape, dtype=torch.float64, generator=generator)
        for shape in ((batch, channels, height, width), (out, channels, 3, 3), (out,))
    )
    call = (weight, bias if biased else None)
    wanted = upsampled_conv_reference(x, *call)
    for given_x in (x, x.contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(folded_conv(given_x, *call), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype, within", [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_what_runs_here(dtype: torch.dtype, within: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 32, 5, 6).to(dtype).contiguous(memory_format=torch.channels_last)
    weight, bias = (torch.randn(8, 32, 3, 3) / 17).to(dtype), torch.randn(8).to(dtype)
    exact = upsampled_conv_reference(x.double(), weight.double(), bias.double())
    with torch.no_grad():
        found = upsampled_conv(x, weight, bias)
        plain = upsampled_conv_reference(x, weight, bias)
    assert found.is_contiguous(memory_format=torch.channels_last) and found.dtype == dtype
    error, usual = ((one.double() - exact).square().mean() for one in (found, plain))
    assert error < within**2 * exact.square().mean()
    # Summed taps are rounded once more than single ones; no more than that.
    assert error < 3 * usual


def test_a_changed_weight_is_summed_anew() -> None:
    x, weight = torch.randn(1, 3, 4, 4), torch.randn(2, 3, 3, 3)
    with torch.no_grad():
        for _ in range(2):
            wanted = upsampled_conv_reference(x, weight, None)
            torch.testing.assert_close(folded_conv(x, weight, None), wanted)
            weight.add_(1.0)
