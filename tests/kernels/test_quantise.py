"""Eight-bit keys and values: how far off they may be, and that rings keep their scales."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.kernels import dequantise, quantise, ring_write
from millrace.kernels.quantise import MOST
from millrace.kernels.ring import ring_write_reference

kinds = pytest.mark.parametrize("kind", MOST, ids=lambda d: str(d).removeprefix("torch."))


@kinds
@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 9), seed=st.integers(0, 99), power=st.integers(-20, 20))
def test_the_error_is_at_most_half_a_step(
    kind: torch.dtype, size: int, seed: int, power: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 4, size, generator=generator) * 2.0**power
    codes, scale = quantise(x, kind)
    assert codes.dtype == kind and scale.shape == (3, 4)
    off = (dequantise(codes, scale, torch.float64) - x.double()).abs()
    share = scale[..., None].double()
    if kind == torch.int8:
        most = share / 2
    else:
        most = torch.maximum(x.double().abs() / 16, share / 1024)
    assert (off <= most * 1.0001).all()


@kinds
def test_the_largest_entry_is_kept_and_zeros_are_zeros(kind: torch.dtype) -> None:
    x = torch.tensor([[0.0, 0.0], [-3.0, 1.0]])
    back = dequantise(*quantise(x, kind), torch.float32)
    assert torch.equal(back[0], x[0])
    torch.testing.assert_close(back[1, 0], x[1, 0])


@kinds
def test_a_narrow_ring_is_written_with_its_scales(kind: torch.dtype) -> None:
    rings, scales = torch.zeros(2, 3, 4, 5, 2, 6).to(kind), torch.zeros(2, 3, 4, 5, 2)
    new, slots = torch.randn(2, 2, 5, 2, 6), torch.tensor([[3, 0], [1, 2]])
    mask, rows = torch.tensor([True, False]), torch.tensor([2, 0])
    ring_write(rings[0], new, slots, mask, rows, scales[0])
    ring_write_reference(rings[1], new, slots, mask, rows, scales[1])
    assert torch.equal(rings[0].view(torch.uint8), rings[1].view(torch.uint8))
    assert torch.equal(scales[0], scales[1])
    codes, share = quantise(new[0, 1], kind)
    assert torch.equal(rings[0, 2, 0].float(), codes.float())
    assert torch.equal(scales[0, 2, 0], share)
    assert scales[0].count_nonzero() == 2 * 5 * 2
