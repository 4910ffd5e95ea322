"""Turning cached keys in place."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl
from millrace.kernels import angles, dequantise, quantise, rope, turns
from millrace.kernels.quantise import MOST
from millrace.kernels.rope import turn_keys_reference
from millrace.kernels.triton.numbers import from_e4m3, to_e4m3
from millrace.kernels.triton.turn import turn_keys
from torch import Tensor
from triton_rig import DEVICE, assert_near, drawer, dtypes

SIZES = [(1, 1, 1, 1, 1, 2, 1), (2, 3, 2, 5, 3, 10, 2), (3, 2, 1, 33, 2, 16, 3)]
"""layers, rows, slots, tokens, heads, head_dim, pairs that turn."""
sizes_ = pytest.mark.parametrize("sizes", SIZES, ids=str)


def call(sizes: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Keys that are the first slots of a larger ring, a table, a mask."""
    layers, rows, slots, tokens, heads, size, pairs = sizes
    draw = drawer(0, dtype)
    keys = draw(layers, rows, slots + 2, tokens, heads, size)
    turn = turns(draw(rows, slots, pairs).float() * 3, torch.float32)
    return keys, turn, torch.arange(rows, device=DEVICE) % 2 == 0


@dtypes
@pytest.mark.parametrize("masked", [False, True])
@sizes_
def test_turn_keys(sizes: tuple[int, ...], masked: bool, dtype: torch.dtype) -> None:
    keys, turn, mask = call(sizes, dtype)
    chosen, slots = mask if masked else None, sizes[2]
    exact, before = keys.double(), keys.clone()
    turn_keys_reference(exact[:, :, :slots], turn.double(), chosen, None)
    turn_keys(keys[:, :, :slots], turn, chosen, None)
    assert_near(keys, exact)
    kept = exact == before.double()
    assert torch.equal(keys[kept], before[kept])


@pytest.mark.parametrize("kind", MOST, ids=lambda d: str(d).removeprefix("torch."))
@sizes_
def test_narrow_keys_are_within_a_step(sizes: tuple[int, ...], kind: torch.dtype) -> None:
    whole, turn, mask = call(sizes, torch.float32)
    keys, scale = quantise(whole, kind)
    slots = sizes[2]
    exact = dequantise(keys, scale, torch.float64)
    turn_keys_reference(exact[:, :, :slots], turn.double(), mask, None)
    before = keys.clone()
    turn_keys(keys[:, :, :slots], turn, mask, scale[:, :, :slots])
    step = scale[..., None].double() * (32 if kind == torch.float8_e4m3fn else 1)
    assert ((dequantise(keys, scale, torch.float64) - exact).abs() <= 0.51 * step).all()
    assert torch.equal(keys[:, 1::2].view(torch.uint8), before[:, 1::2].view(torch.uint8))


def test_a_later_origin_changes_no_score() -> None:
    """Two turns, by the way there and by what it was stored at, are one turn by the difference."""
    draw = drawer(1, torch.float32)
    plain = draw(1, 1, 1, 4, 2, 8)
    stored, wanted = (
        turns(angles(torch.tensor([[place]], device=DEVICE), 4, 10_000.0), torch.float64)
        for place in (1000, 3)
    )
    back = turns(angles(torch.tensor([[3 - 1000]], device=DEVICE), 4, 10_000.0), torch.float32)
    keys = rope(plain, stored[:, :, None, None]).float()
    turn_keys(keys, back, None, None)
    assert_near(keys, rope(plain.double(), wanted[:, :, None, None]))


@triton.jit
def codes_kernel(value: tl.tensor, code: tl.tensor, back: tl.tensor, COUNT: tl.constexpr) -> None:
    place = tl.arange(0, COUNT)
    bits = to_e4m3(tl.load(value + place))
    tl.store(code + place, bits)
    tl.store(back + place, from_e4m3(bits))


def test_every_e4m3_and_what_lies_between() -> None:
    """All codes but NaN, the middles of neighbours (ties go to even), and what is too large."""
    codes = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    codes = codes[codes.isfinite()].sort().values
    middles = (codes[1:] + codes[:-1]) / 2
    given = torch.cat(
        (codes, middles, middles.nextafter(codes[1:]), torch.tensor([1e9, -1e9, 0.0]))
    )
    given = torch.nn.functional.pad(given, (0, 1024 - len(given))).to(DEVICE)
    code = torch.empty(1024, dtype=torch.uint8, device=DEVICE)
    back = torch.empty(1024, device=DEVICE)
    codes_kernel[(1,)](given, code, back, COUNT=1024)
    expected = given.clamp(-448, 448).to(torch.float8_e4m3fn)
    assert torch.equal(code, expected.view(torch.uint8))
    assert torch.equal(back, expected.float())


def test_wrong_calls_name_the_argument() -> None:
    keys, turn, mask = call(SIZES[1], torch.float32)
    keys = keys[:, :, :2]
    for wrong, told in (
        ((keys[0], turn, mask, None), "keys has shape"),
        ((keys, turn[:, :1], mask, None), "turn has shape"),
        ((keys, turn, mask.int(), None), "mask is torch.int32"),
        ((keys, turn, mask[:2], None), "mask has shape"),
        ((keys.to(torch.int8), turn, mask, None), "scale is missing"),
        (
            (keys, turn, mask, keys[..., 0].contiguous()),
            "scale is given, but keys are torch.float32",
        ),
        ((keys[..., :2], turn, mask, None), "turn has 2 pairs; heads of 2 have 1"),
        ((keys.transpose(4, 5), turn, mask, None), "heads of 3|strides"),
    ):
        with pytest.raises(ValueError, match=told):
            turn_keys(*wrong)
