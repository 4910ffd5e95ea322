"""A processor's ways are chosen by one row's own sizes: who else is there changes no bit."""

from __future__ import annotations

import pytest
import torch
from millrace.kernels import attention, modulated_layer_norm, prompt_attention, ring_attention

TYPES = (torch.float32, torch.bfloat16)
ROWS = 3


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("tokens", "width"), [(5, 9), (64, 384), (257, 384)])
def test_a_modulated_frame(dtype: torch.dtype, tokens: int, width: int) -> None:
    """Below the size from which a frame is a pass of its own, and above."""
    x = torch.randn(ROWS, 2, tokens, width).to(dtype)
    scale, shift = torch.randn(2, ROWS, 2, 1, width).to(dtype)
    with torch.inference_mode():
        out = modulated_layer_norm(x, scale, shift, 1e-6)
        for row in range(ROWS):
            for frame in range(2):
                at = (slice(row, row + 1), slice(frame, frame + 1))
                assert torch.equal(out[at], modulated_layer_norm(x[at], scale[at], shift[at], 1e-6))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("queries", "keys"), [(16, 70), (192, 200)])
def test_attention(dtype: torch.dtype, queries: int, keys: int) -> None:
    """Below the work from which bfloat16 takes plain products, and above."""
    query = torch.randn(ROWS, queries, 2, 64).to(dtype)
    key, value = torch.randn(2, ROWS, keys, 2, 64).to(dtype)
    with torch.inference_mode():
        out = attention(query, key, value)
        for row in range(ROWS):
            one = slice(row, row + 1)
            assert torch.equal(out[one], attention(query[one], key[one], value[one]))


@pytest.mark.parametrize("dtype", TYPES)
def test_a_full_ring_beside_one_that_is_not(dtype: torch.dtype) -> None:
    """Full rows are one call, until one of them is not full."""
    query = torch.randn(ROWS, 16, 2, 64).to(dtype)
    key, value = torch.randn(2, ROWS, 5, 16, 2, 64).to(dtype)
    turn = torch.randn(ROWS, 2, 32, 2)
    full = torch.ones(ROWS, 5, dtype=torch.bool)
    part = full.clone()
    part[0, -1] = False
    with torch.inference_mode():
        together = ring_attention(query, key, value, full, turn)
        beside = ring_attention(query, key, value, part, turn)
        assert torch.equal(together[1:], beside[1:])
        assert not torch.equal(together[0], beside[0])
        for row in range(ROWS):
            one = slice(row, row + 1)
            alone = ring_attention(query[one], key[one], value[one], full[one], turn[one])
            assert torch.equal(together[one], alone)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("tokens", [64, 256])
def test_prompt_attention(dtype: torch.dtype, tokens: int) -> None:
    """Below the tokens from which a prompt is folded into its keys, and above."""
    width, texts, heads = 64, 4, 2
    x, residual = torch.randn(2, ROWS, 1, tokens, width).to(dtype)
    weight = (torch.randn(2, width, width) * 0.1).to(dtype)
    bias, norm = torch.randn(2, width).to(dtype), torch.randn(width).to(dtype)
    key, value = torch.randn(2, ROWS, texts, heads, width // heads).to(dtype)
    query, out = (weight[0], bias[0]), (weight[1], bias[1])
    with torch.inference_mode():
        whole = prompt_attention(x, residual, query, norm, 1e-6, key, value, out)
        for row in range(ROWS):
            one = slice(row, row + 1)
            own = (key[one], value[one], out)
            got = prompt_attention(x[one], residual[one], query, norm, 1e-6, *own)
            assert torch.equal(whole[one], got)
