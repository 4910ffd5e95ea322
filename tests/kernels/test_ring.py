"""Masked ring writes and attention over rings, against loops."""

from __future__ import annotations

import pytest
import torch
from millrace.kernels import angles, attention, ring_attention, ring_write, turns
from millrace.kernels.attention import ring_attention_reference
from millrace.kernels.quantise import dequantise, quantise


@pytest.mark.parametrize("masked", [False, True])
def test_write(masked: bool) -> None:
    ring, new = torch.randn(3, 5, 2, 4), torch.randn(3, 2, 2, 4)
    slots = torch.tensor([[4, 0], [1, 2], [3, 4]])
    mask = torch.tensor([True, False, True]) if masked else None
    expected = ring.clone()
    for row in range(3):
        if mask is None or mask[row]:
            for frame in range(2):
                expected[row, slots[row, frame]] = new[row, frame]
    ring_write(ring, new, slots, mask)
    assert torch.equal(ring, expected)


def test_write_to_part_of_a_larger_ring() -> None:
    memory = torch.zeros(2, 6, 5, 3)
    ring_write(memory[1, 2:4], torch.ones(2, 1, 3), torch.tensor([[4], [0]]), None)
    assert memory.sum() == 6 and memory[1, 2, 4].all() and memory[1, 3, 0].all()


def test_attention_over_valid_slots_only() -> None:
    """Softmax by hand over the slots that count, the first ones' keys turned further."""
    torch.manual_seed(0)
    query = torch.randn(2, 3, 2, 8, dtype=torch.float64)
    key, value = torch.randn(2, 2, 4, 5, 2, 8, dtype=torch.float64)
    valid = torch.tensor([[True, False, True, False], [True, True, True, True]])
    turn = angles(torch.tensor([[3, 9], [1, 2]]), 2, 10_000.0)
    out = ring_attention(query, key, value, valid, turns(turn, torch.float64))
    for row in range(2):
        for head in range(2):
            keys, values = [], []
            for slot in range(4):
                if not valid[row, slot]:
                    continue
                for token in range(5):
                    pairs = torch.view_as_complex(key[row, slot, token, head].view(4, 2)).clone()
                    if slot < 2:
                        one = torch.ones(2, dtype=torch.float64)
                        pairs[:2] *= torch.polar(one, turn[row, slot])
                    keys.append(torch.view_as_real(pairs).flatten())
                    values.append(value[row, slot, token, head])
            scores = query[row, :, head] @ torch.stack(keys).T / 8**0.5
            expected = scores.softmax(-1) @ torch.stack(values)
            torch.testing.assert_close(out[row, :, head], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_hidden_keys_have_no_influence_at_all(dtype: torch.dtype) -> None:
    query, (key, value) = torch.randn(1, 3, 2, 8), torch.randn(2, 1, 6, 2, 8)
    valid = torch.tensor([[True, True, False, True, False, False]])
    loud = (
        torch.where(valid[..., None, None], key, 1e4),
        torch.where(valid[..., None, None], value, 1e4),
    )
    with torch.no_grad():
        plain = attention(query.to(dtype), key.to(dtype), value.to(dtype), valid)
        shouted = attention(query.to(dtype), loud[0].to(dtype), loud[1].to(dtype), valid)
    assert torch.equal(plain, shouted)


def test_training_in_half_precision_keeps_gradients() -> None:
    given = [torch.randn(2, 5, 2, 8, requires_grad=True) for _ in range(3)]
    attention(*given).square().sum().backward()
    exact = [g.grad.clone() for g in given if g.grad is not None]
    for g in given:
        g.grad = None
    with torch.autocast("cpu", torch.bfloat16):
        # As in a model: norms leave queries and keys wide, a linear layer makes values narrow.
        out = attention(given[0], given[1], given[2].bfloat16())
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    for g, wanted in zip(given, exact, strict=True):
        torch.testing.assert_close(g.grad, wanted, rtol=0, atol=0.05)


@pytest.mark.parametrize("narrow", [torch.float8_e4m3fn, torch.int8], ids=str)
def test_a_ring_of_codes_is_attended_as_what_they_stand_for(narrow: torch.dtype) -> None:
    torch.manual_seed(0)
    query, rows = torch.randn(2, 3, 2, 8), torch.tensor([2, 0])
    key, value = (quantise(torch.randn(3, 4, 5, 2, 8), narrow) for _ in range(2))
    valid = torch.tensor([[True, False, True, False], [True, True, True, True]])
    turn = turns(torch.randn(2, 1, 3), torch.float32)
    keys, values = (dequantise(*part, torch.float32) for part in (key, value))
    wanted = ring_attention(query, keys, values, valid, turn, rows)
    scales = (key[1], value[1])
    for attend in (ring_attention, ring_attention_reference):
        found = attend(query, key[0], value[0], valid, turn, rows, False, scales)
        torch.testing.assert_close(found, wanted)
