"""The joined operation in front of attention is its parts, to the last bit."""

from __future__ import annotations

import pytest
import torch
from millrace.kernels import (
    dequantise,
    norm_rope_write,
    project_into_ring,
    query_key_value,
    ring_write,
    turns,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_projection_into_a_ring(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 5, 7).to(dtype), torch.randn(3, 12, 7).to(dtype).unbind(0)
    bias, norm = torch.randn(3, 12).to(dtype).unbind(0), torch.randn(2, 12).to(dtype).unbind(0)
    turn = turns(torch.randn(1, 3, 5, 1, 3), torch.float32)
    rings = torch.randn(1, 2, 4, 6, 5, 2, 6).to(dtype).repeat(2, 1, 1, 1, 1, 1, 1)
    before = rings[0].clone()
    slots, rows = torch.tensor([[5, 0, 2], [1, 2, 3]]), torch.tensor([3, 1])
    mask = torch.tensor([True, False])
    with torch.no_grad():
        query, key, value = query_key_value(x, weight, bias, norm, turn, 1e-6)
        ring_write(rings[0, 0], key, slots, mask, rows)
        ring_write(rings[0, 1], value, slots, mask, rows)
        joint = project_into_ring(
            x, weight, bias, norm, turn, 1e-6, rings[1].unbind(0), slots, mask, rows
        )
    assert torch.equal(joint, query)
    assert torch.equal(rings[0], rings[1]) and not torch.equal(rings[0], before)


def test_a_narrow_ring_holds_nearly_the_same() -> None:
    torch.manual_seed(0)
    products, norm = torch.randn(3, 1, 2, 4, 12).unbind(0), torch.randn(2, 12).unbind(0)
    turn, slots = turns(torch.randn(1, 2, 4, 1, 3), torch.float32), torch.tensor([[1, 0]])
    ring = torch.zeros(2, 1, 2, 4, 2, 6).unbind(0)
    narrow = torch.zeros(2, 1, 2, 4, 2, 6, dtype=torch.int8).unbind(0)
    scales = torch.zeros(2, 1, 2, 4, 2).unbind(0)
    query = norm_rope_write(products, norm, turn, 1e-6, ring, slots, None)
    again = norm_rope_write(products, norm, turn, 1e-6, narrow, slots, None, None, scales)
    assert torch.equal(query, again)
    for exact, codes, scale in zip(ring, narrow, scales, strict=True):
        off = (dequantise(codes, scale, torch.float32) - exact).abs()
        assert off.max() > 0 and (off <= scale[..., None] * 0.5001).all()
