"""The joined operation in front of attention is its parts, to the last bit."""

from __future__ import annotations

import pytest
import torch
from millrace.kernels import (
    dequantise,
    keep_plain,
    lay_side_by_side,
    norm_rope_write,
    project_into_ring,
    query_key_value,
    ring_write,
    turns,
)
from millrace.kernels.dispatch import TABLE
from millrace.kernels.prepared import side_by_side
from millrace.kernels.ring_input import Three, Two, project_into_ring_reference


def two(*shape: int) -> Two:
    return torch.randn(*shape), torch.randn(*shape)


def three(*shape: int) -> Three:
    return torch.randn(*shape), torch.randn(*shape), torch.randn(*shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_projection_into_a_ring(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, weight, bias, norm = torch.randn(2, 3, 5, 7), three(12, 7), three(12), two(12)
    for part in (x, *weight, *bias, *norm):
        part.data = part.to(dtype)
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
            x, weight, bias, norm, turn, 1e-6, (rings[1, 0], rings[1, 1]), slots, mask, rows
        )
    assert torch.equal(joint, query)
    assert torch.equal(rings[0], rings[1]) and not torch.equal(rings[0], before)


@pytest.mark.parametrize("laid", ["side by side", "apart", "apart and plain"])
def test_one_product_for_all_three(laid: str) -> None:
    """However the weights lie, and only a copy where one is allowed."""
    torch.manual_seed(0)
    x, weight, bias, norm = torch.randn(1, 2, 5, 7), three(12, 7), three(12), two(12)
    turn, slots = turns(torch.randn(1, 2, 5, 1, 3), torch.float32), torch.tensor([[1, 0]])
    rings = two(1, 2, 5, 2, 6), two(1, 2, 5, 2, 6)
    if laid == "side by side":
        for parts in (weight, bias):
            before = [part.clone() for part in parts]
            lay_side_by_side(parts)
            assert all(map(torch.equal, parts, before))
    if laid != "apart":
        keep_plain(weight)
    ways = {way.name: way for way in TABLE["project_into_ring"].ways("cuda")}
    joint, rest = ways["joint"], (slots, None, None, None)
    found = joint.run(x, weight, bias, norm, turn, 1e-6, rings[0], *rest)
    exact = project_into_ring_reference(x, weight, bias, norm, turn, 1e-6, rings[1], *rest)
    torch.testing.assert_close(found, exact)
    for mine, theirs in zip(*rings, strict=True):
        torch.testing.assert_close(mine, theirs)
    refused = "lies in three places" in joint.fits(x, weight, bias, norm)
    assert refused == (laid == "apart and plain")


def test_what_lies_side_by_side() -> None:
    whole = torch.arange(24.0).view(6, 4)
    found = side_by_side((whole[:2], whole[2:3], whole[3:]))
    assert found is not None and found.data_ptr() == whole.data_ptr()
    assert torch.equal(found, whole)
    assert side_by_side((whole[:2], whole[3:])) is None  # a gap
    assert side_by_side((whole[2:], whole[:2])) is None  # the other order
    assert side_by_side((whole[:2], whole[2:].clone())) is None
    assert side_by_side((whole[:, :2], whole[:, 2:])) is None


def test_a_narrow_ring_holds_nearly_the_same() -> None:
    torch.manual_seed(0)
    products, norm = three(1, 2, 4, 12), two(12)
    turn, slots = turns(torch.randn(1, 2, 4, 1, 3), torch.float32), torch.tensor([[1, 0]])
    ring, scales = two(1, 2, 4, 2, 6), two(1, 2, 4, 2)
    narrow = (ring[0].to(torch.int8), ring[1].to(torch.int8))
    query = norm_rope_write(products, norm, turn, 1e-6, ring, slots, None)
    again = norm_rope_write(products, norm, turn, 1e-6, narrow, slots, None, None, scales)
    assert torch.equal(query, again)
    for exact, codes, scale in zip(ring, narrow, scales, strict=True):
        off = (dequantise(codes, scale, torch.float32) - exact).abs()
        assert off.max() > 0 and (off <= scale[..., None] * 0.5001).all()
