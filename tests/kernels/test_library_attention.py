"""How a ring is shown to attention libraries. The libraries themselves need a GPU."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as functional
from millrace.kernels import turns
from millrace.kernels.attention import ring_attention_reference
from millrace.kernels.dispatch import TABLE
from millrace.kernels.library_attention import (
    allow_quantised_attention,
    dense,
    fits_dense,
    fits_full,
    fits_plain,
    fits_quantised,
    pages,
)
from millrace.kernels.ring_call import RingCall
from torch import Tensor


def ring() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 6, 2, 64), torch.randn(4, 3, 5, 2, 64), torch.randn(4, 3, 5, 2, 64)


def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    asked, keys, values = (part.transpose(1, 2) for part in (query, key, value))
    return functional.scaled_dot_product_attention(asked, keys, values).transpose(1, 2)


@pytest.mark.parametrize("turned", [0, 2])
def test_a_full_ring_seen_densely(turned: int) -> None:
    query, key, value = ring()
    rows, valid = torch.tensor([3, 1]), torch.ones(2, 3, dtype=torch.bool)
    turn = turns(torch.randn(2, turned, 10), torch.float32) if turned else None
    call = RingCall(query, key, value, valid, turn, rows)
    torch.testing.assert_close(plain(query, *dense(call)), ring_attention_reference(*call))


def test_a_full_ring_in_order_is_not_copied() -> None:
    query, key, value = ring()
    query, valid = query.repeat(2, 1, 1, 1), torch.ones(4, 3, dtype=torch.bool)
    dealt = dense(RingCall(query, key, value, valid, None, None))
    for given, seen in zip((key, value), dealt, strict=True):
        assert seen.data_ptr() == given.data_ptr() and seen.shape == (4, 15, 2, 64)


def test_a_ring_with_holes_as_pages() -> None:
    query, key, value = ring()
    rows = torch.tensor([3, 1])
    valid = torch.tensor([[True, False, True], [False, False, True]])
    table, seen = pages(valid, rows, 5)
    assert table.dtype == seen.dtype == torch.int32
    assert seen.tolist() == [10, 5]
    assert table[0, :2].tolist() == [9, 11] and table[1, 0] == 5
    wanted = ring_attention_reference(query, key, value, valid, None, rows)
    for row in range(2):
        count = seen[row] // 5
        keys, values = (part.flatten(0, 1)[table[row, :count].long()] for part in (key, value))
        out = plain(query[row, None], keys.flatten(0, 1)[None], values.flatten(0, 1)[None])
        torch.testing.assert_close(out, wanted[row, None])


def test_each_says_what_it_cannot_take() -> None:
    query, key, value = (part.bfloat16() for part in ring())
    query, valid = query.repeat(2, 1, 1, 1), torch.ones(4, 3, dtype=torch.bool)
    call = (query, key, value, valid, None, None)
    assert "full is not promised" in fits_full(RingCall(*call))
    assert fits_full(RingCall(*call, True)) == ""
    assert "query is torch.float32" in fits_plain(RingCall(query.float(), *call[1:]))
    assert "head_dim of 60" in fits_plain(RingCall(query[..., :60], *call[1:]))
    assert "turn is given" in fits_plain(RingCall(*call[:4], torch.zeros(4, 1, 10, 2), None))
    assert fits_plain(RingCall(*call)) == ""


def test_plain_attention_says_what_it_cannot_take() -> None:
    query, key, value = (torch.zeros(1, 3, 2, 16, dtype=torch.float16) for _ in range(3))
    assert fits_dense(query, key, value, None) == ""
    assert "valid is given" in fits_dense(query, key, value, torch.ones(1, 3, dtype=torch.bool))
    assert "key is torch.float32" in fits_dense(query, key.float(), value, None)
    assert "value has a stride of 2" in fits_dense(query, key, value[..., ::2], None)
    assert "head_dim of 12" in fits_dense(query[..., :12], key[..., :12], value[..., :12], None)


def test_eight_bits_must_be_allowed() -> None:
    query, key, value = (part.half() for part in ring())
    call = (
        query[:1].repeat(4, 1, 1, 1),
        key,
        value,
        torch.ones(4, 3, dtype=torch.bool),
        None,
        None,
    )
    assert "is off" in fits_quantised(RingCall(*call, True))
    allow_quantised_attention(True)
    try:
        assert fits_quantised(RingCall(*call, True)) == ""
        assert "full is not promised" in fits_quantised(RingCall(*call))
    finally:
        allow_quantised_attention(False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="the libraries run on CUDA devices")
@pytest.mark.parametrize("turned", [0, 2])
def test_libraries_equal_the_reference_on_a_gpu(turned: int) -> None:
    query, key, value = (part.cuda().bfloat16() for part in ring())
    rows = torch.tensor([3, 1], device="cuda")
    valid = torch.ones(2, 3, dtype=torch.bool, device="cuda")
    turn = turns(torch.randn(2, turned, 10), torch.float32).cuda() if turned else None
    wanted = ring_attention_reference(
        query.double(), key.double(), value.double(), valid, turn, rows
    )
    call = (query, key, value, valid, turn, rows, True)
    tried = 0
    for way in TABLE["ring_attention"].candidates["cuda"]:
        if way.library and not way.fits(*call):
            error = (way.run(*call).double() - wanted).abs().max() / wanted.abs().max()
            assert error < 1e-2, (way.name, error)
            tried += 1
    assert tried >= 2
