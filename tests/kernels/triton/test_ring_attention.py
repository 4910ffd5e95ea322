"""Attention straight in the ring, whole tiles and split ones, against the float64 reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from millrace.kernels import turns
from millrace.kernels.attention import ring_attention_reference
from millrace.kernels.quantise import dequantise, quantise
from millrace.kernels.ring_call import RingCall
from millrace.kernels.split import plan
from millrace.kernels.triton.ring_attention import (
    launch_split,
    prepare,
    ring_attention_split,
    ring_attention_tiles,
    room_for_parts,
)
from millrace.models.ring import KVRing
from millrace.models.specs import RingSpec
from torch import Tensor
from triton_rig import DEVICE, INTERPRETED, assert_near, drawer, dtypes

Call = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]
forms = pytest.mark.parametrize("form", [ring_attention_tiles, ring_attention_split])


def ring_call(
    dtype: torch.dtype,
    rows: int,
    queries: int,
    slots: int,
    tokens: int,
    heads: int = 2,
    dim: int = 8,
    *,
    turned: int = 0,
    own: bool = False,
    seed: int = 0,
) -> Call:
    """A ring with holes, of which the last slot is always seen."""
    draw = drawer(seed, dtype)
    valid = drawer(seed, torch.float32)(rows, slots) > 0
    valid[:, -1] = True
    memory = draw(2, rows + 2 * own, slots, tokens, heads, dim)
    angle = drawer(seed + 1, torch.float32)(rows, turned, max(dim // 4, 1))
    turn = turns(angle, torch.float32) if turned else None
    places = drawer(seed, torch.float32)(rows + 2).argsort()[:rows] if own else None
    return draw(rows, queries, heads, dim), memory[0], memory[1], valid, turn, places


def exact(call: Call) -> Tensor:
    return ring_attention_reference(
        *(part.double() if part is not None and part.is_floating_point() else part for part in call)  # type: ignore[arg-type]
    )


@forms
@dtypes
@pytest.mark.parametrize(
    "shape, dim, turned, own",
    [
        ((1, 1, 1, 1), 8, 0, False),
        ((2, 5, 4, 3), 8, 2, True),
        ((1, 33, 3, 17), 24, 0, True),
        ((2, 3, 3, 20), 20, 1, False),
    ],
    ids=str,
)
def test_forms_equal_the_reference(
    form: Callable[..., Tensor],
    dtype: torch.dtype,
    shape: tuple[int, int, int, int],
    dim: int,
    turned: int,
    own: bool,
) -> None:
    call = ring_call(dtype, *shape, dim=dim, turned=turned, own=own)
    assert_near(form(*call), exact(call))


@settings(
    max_examples=4 if INTERPRETED else 40,
    deadline=None,
    # Shrinking what the interpreter runs would take minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(programs=st.integers(1, 9), queries=st.integers(1, 17), seed=st.integers(0, 99))
def test_any_number_of_programs_gives_the_same(programs: int, queries: int, seed: int) -> None:
    """More programs than work, and fewer than tiles, included."""
    call = ring_call(torch.float32, 2, queries, 3, 18, 1, turned=1, own=True, seed=seed)
    launch = prepare(RingCall(*call))
    launch_split(launch, programs, room_for_parts(launch, programs))
    assert_near(launch.out, exact(call))


@pytest.mark.parametrize("programs", [1, 2, 5, 7])
def test_programs_do_what_the_plan_says(programs: int) -> None:
    """Each leaves a part just where the plan has it leave one, rows of different ages included."""
    call = ring_call(torch.float32, 3, 20, 3, 18, 1)
    call[3].copy_(torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 1]]) > 0)
    launch = prepare(RingCall(*call))
    parts = room_for_parts(launch, programs).fill_(-1.0)
    launch_split(launch, programs, parts)
    lines = launch.constants["QUERIES"]
    totals = parts[2 * programs * lines :][: 2 * programs * lines].view(programs, 2, lines)
    left = {(int(p), int(place)) for p, place in (totals[..., 0] != -1).nonzero()}
    blocks = -(-18 // launch.constants["KEYS"])
    seen = [blocks * int(count) for count in call[3].sum(1)]
    split = plan(3, 1, launch.tiles[0], seen, programs)
    assert left == {
        (program, piece.place)
        for program in range(programs)
        for piece in split.pieces(program)
        if piece.place is not None
    }


@forms
@dtypes
@pytest.mark.parametrize("narrow", [torch.float8_e4m3fn, torch.int8], ids=str)
def test_eight_bit_rings(
    form: Callable[..., Tensor], narrow: torch.dtype, dtype: torch.dtype
) -> None:
    """Codes are decoded on the way; their rounding is not the kernel's, so it is held to them."""
    query, key, value, valid, turn, rows = ring_call(dtype, 2, 3, 3, 5, dim=20, turned=1, own=True)
    (keys, key_scale), (values, value_scale) = (quantise(part, narrow) for part in (key, value))
    scales = (key_scale, value_scale)
    plain = (
        dequantise(keys, key_scale, torch.float64),
        dequantise(values, value_scale, torch.float64),
    )
    wanted = exact((query, *plain, valid, turn, rows))
    assert_near(form(query, keys, values, valid, turn, rows, False, scales), wanted)


@forms
def test_strided_queries_are_taken(form: Callable[..., Tensor]) -> None:
    query, key, value, valid, _, _ = ring_call(torch.float32, 2, 6, 2, 4, dim=8)
    wide = torch.zeros(2, 6, 2, 24, device=DEVICE)
    wide[..., 8:16] = query
    part = wide[..., 8:16]
    assert not part.is_contiguous()
    assert_near(
        form(part, key, value, valid, None, None), exact((query, key, value, valid, None, None))
    )


@forms
def test_what_a_row_does_not_see_is_not_read(form: Callable[..., Tensor]) -> None:
    """Not a number times zero would still be none; a row that sees nothing gives zeros."""
    query, key, value, valid, _, _ = ring_call(torch.float32, 2, 4, 4, 3)
    valid[0] = False
    hidden = ~valid[:, :, None, None, None]
    loud = [part.masked_fill(hidden, torch.nan) for part in (key, value)]
    out = form(query, *loud, valid, None, None)
    assert not out[0].any()
    assert_near(out[1:], exact((query[1:], key[1:], value[1:], valid[1:], None, None)))


@pytest.mark.parametrize(
    "form, positions", [(ring_attention_split, "relative"), (ring_attention_tiles, "absolute")]
)
def test_a_stream_past_the_sliding_point(form: Callable[..., Tensor], positions: Any) -> None:
    """What a ring of a running model shows, at every chunk from its first to long after it slid."""
    rows, tokens, heads, dim = 2, 3, 1, 12
    spec = RingSpec(1, 2, positions, None, 5 if positions == "absolute" else None)
    ring = KVRing.allocate(spec, 1, 10_000.0, (1, rows, tokens, heads, dim), DEVICE, torch.float32)
    draw = drawer(3, torch.float32)
    for step in range(7):
        view = ring.view(1)
        query, key, value = draw(3, rows, 1, tokens, heads, dim)
        out = ring.attend(0, view, query, key, value, None)
        call = (query.flatten(1, 2), ring.k[0], ring.v[0], view.valid, view.turn, view.rows)
        seen = form(*call)
        assert_near(seen, exact(call))
        assert_near(seen.view_as(out), out.double())
        ring.commit(torch.tensor([True, step % 3 > 0], device=DEVICE))
    assert ring.frames.tolist() == [7, 4]


@forms
def test_what_does_not_fit_is_named(form: Callable[..., Tensor]) -> None:
    query, key, value, valid, turn, rows = ring_call(torch.float32, 2, 3, 4, 3, turned=2, own=True)
    wrong: list[tuple[str, Call]] = [
        ("query is torch.float64", (query.double(), key, value, valid, turn, rows)),
        ("query is .2, 3, 16.", (query.flatten(2), key, value, valid, turn, rows)),
        ("key is torch.float16", (query, key.half(), value, valid, turn, rows)),
        ("key is .* not .all rows", (query, key[..., :4], value, valid, turn, rows)),
        ("value is .* its key", (query, key, value[:, :3], valid, turn, rows)),
        ("valid is torch.int64", (query, key, value, valid.long(), turn, rows)),
        ("rows is not given", (query, key, value, valid, turn, None)),
        ("rows is torch.int32", (query, key, value, valid, turn, rows.int())),  # type: ignore[union-attr]
        ("turn is .* not .2, <= 4, <= 4, 2", (query, key, value, valid, turn[:1], rows)),  # type: ignore[index]
    ]
    for told, call in wrong:
        with pytest.raises(ValueError, match=told):
            form(*call)
    codes, scale = quantise(key, torch.int8)
    coded = (query, codes, codes, valid, turn, rows, False)
    for told, scales in (
        ("scales are not given, but key is torch.int8", None),
        ("key_scale is torch.float64", (scale.double(), scale)),
        ("value_scale is torch.float32 .* not float32", (scale, scale[..., :1])),
    ):
        with pytest.raises(ValueError, match=told):
            form(*coded, scales)
    with pytest.raises(ValueError, match="scales are given, but key is torch.float32"):
        form(query, key, value, valid, turn, rows, False, (scale, scale))
