"""Norms against their formulas."""

from __future__ import annotations

import pytest
import torch
from millrace.kernels import gated_residual, modulated_layer_norm, rms_norm


def test_rms_norm() -> None:
    x, weight = torch.randn(2, 3, 8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    expected = x / (x.pow(2).sum(-1, keepdim=True) / 8 + 1e-6).sqrt() * weight
    torch.testing.assert_close(rms_norm(x, weight, 1e-6), expected)


def test_rms_norm_is_wide_inside() -> None:
    """The square of 300 is beyond float16; the norm is not."""
    x = torch.full((1, 64), 300.0, dtype=torch.float16)
    out = rms_norm(x, torch.ones(64, dtype=torch.float16), 1e-6)
    torch.testing.assert_close(out, torch.ones_like(out))


def test_modulation_is_per_frame() -> None:
    x = torch.randn(2, 3, 5, 8, dtype=torch.float64)
    scale, shift = torch.randn(2, 2, 3, 1, 8, dtype=torch.float64)
    out = modulated_layer_norm(x, scale, shift, 1e-6)
    token = x[1, 2, 4]
    normal = (token - token.mean()) / (token.var(unbiased=False) + 1e-6).sqrt()
    torch.testing.assert_close(out[1, 2, 4], normal * (1 + scale[1, 2, 0]) + shift[1, 2, 0])


@pytest.mark.parametrize(("tokens", "width"), [(5, 8), (257, 192), (256, 384)])
def test_a_modulated_frame_is_the_same_alone_and_among_others(tokens: int, width: int) -> None:
    """Whichever way its size takes: who else is there must not change a stream's bits."""
    x = torch.randn(2, 3, tokens, width)
    scale, shift = torch.randn(2, 2, 3, 1, width)
    with torch.inference_mode():
        out = modulated_layer_norm(x, scale, shift, 1e-6)
        for row in range(2):
            for frame in range(3):
                at = (slice(row, row + 1), slice(frame, frame + 1))
                alone = modulated_layer_norm(x[at], scale[at], shift[at], 1e-6)
                assert torch.equal(out[at], alone)


def test_gated_residual() -> None:
    x, update = torch.randn(2, 2, 3, 5, 8)
    gate = torch.randn(2, 3, 1, 8)
    torch.testing.assert_close(gated_residual(x, update, gate), x + gate * update)
