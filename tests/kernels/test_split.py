"""The plan by which keys are dealt out, and the merging of what each program makes of them."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.kernels.merge import attention_part, merge_attention
from millrace.kernels.split import SplitPlan, plan, waves
from torch import Tensor

Part = tuple[Tensor, Tensor, Tensor]
PLANS = st.builds(
    SplitPlan,
    st.lists(st.integers(0, 9), min_size=1, max_size=4).map(tuple),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 30),
)


@settings(deadline=None)
@given(PLANS)
def test_every_unit_is_done_once(split: SplitPlan) -> None:
    done = [
        (piece.row, piece.head, piece.block, key)
        for program in range(split.programs)
        for piece in split.pieces(program)
        for key in range(piece.first, piece.stop)
    ]
    wanted = [
        (row, head, block, key)
        for row, blocks in enumerate(split.key_blocks)
        for head, block, key in itertools.product(
            range(split.heads), range(split.query_blocks), range(blocks)
        )
    ]
    assert done == wanted


@given(PLANS)
def test_no_program_has_more_than_a_unit_more_than_another(split: SplitPlan) -> None:
    loads = [stop - first for first, stop in map(split.span, range(split.programs))]
    assert max(loads) - min(loads) <= 1 and sum(loads) == split.units


@given(PLANS)
def test_a_unit_knows_its_owner(split: SplitPlan) -> None:
    for program in range(split.programs):
        for unit in range(*split.span(program)):
            assert split.owner(unit) == program


@given(PLANS)
def test_two_places_are_enough_for_the_parts_of_a_program(split: SplitPlan) -> None:
    for program in range(split.programs):
        pieces = split.pieces(program)
        places = [piece.place for piece in pieces if piece.place is not None]
        assert len(set(places)) == len(places)
        for piece in pieces[1:-1]:
            assert piece.place is None


def test_one_number_of_key_blocks_is_for_all_rows() -> None:
    assert plan(3, 2, 1, 5, 4) == plan(3, 2, 1, [5, 5, 5], 4)
    assert plan(2, 12, 13, 225, 132).units == 2 * 12 * 13 * 225


def test_wrong_counts_are_named() -> None:
    with pytest.raises(ValueError, match="key_blocks has 2 numbers for 3 rows"):
        plan(3, 1, 1, [4, 4], 2)
    with pytest.raises(ValueError, match="no program"):
        plan(1, 1, 1, 4, 0)
    with pytest.raises(ValueError, match="negative"):
        plan(1, -1, 1, 4, 2)


def test_waves() -> None:
    assert waves(156, 132) == 156 / 264
    assert waves(264, 132) == 1 and waves(0, 132) == 1


def draw_parts(count: int, seed: int, dtype: torch.dtype) -> list[Part]:
    """Parts of one attention; some have seen nothing, some far larger scores."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for index in range(count):
        keys = (index * 3 + seed) % 5
        query, key, value = (
            torch.randn(2, size, 2, 4, generator=generator, dtype=dtype) for size in (3, keys, keys)
        )
        parts.append(attention_part(query * 10 ** (index % 3), key, value))
    return parts


def merged(parts: list[Part]) -> Part:
    most, total, mixed = (torch.stack(kind) for kind in zip(*parts, strict=True))
    return merge_attention(most, total, mixed)


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 6), st.integers(0, 50), st.data())
def test_merging_is_associative_and_knows_no_order(
    count: int, seed: int, data: st.DataObject
) -> None:
    parts = draw_parts(count, seed, torch.float64)
    cut = data.draw(st.integers(1, count - 1))
    together = merged(parts)
    in_two = merged([merged(parts[:cut]), merged(parts[cut:])])
    shuffled = merged(data.draw(st.permutations(parts)))
    for other in (in_two, shuffled):
        for ours, theirs in zip(together, other, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_part_of_no_keys_changes_nothing() -> None:
    part = draw_parts(2, 1, torch.float64)[0]
    nothing = attention_part(
        *(torch.zeros(2, size, 2, 4, dtype=torch.float64) for size in (3, 0, 0))
    )
    assert nothing[0].isneginf().all() and not nothing[1].any() and not nothing[2].any()
    for ours, theirs in zip(merged([nothing, part]), part, strict=True):
        assert torch.equal(ours, theirs)
    for of_nothing in merged([nothing, nothing])[1:]:
        assert not of_nothing.any()


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(0, 11), min_size=1, max_size=3),
    st.integers(1, 9),
    st.integers(1, 7),
    st.integers(0, 99),
)
def test_attention_by_plan_equals_softmax(
    lengths: list[int], queries: int, programs: int, seed: int
) -> None:
    """In float64, with any number of programs and of keys a row, none and odd ones included."""
    heads, size, block_q, block_k = 2, 4, 3, 2
    generator = torch.Generator().manual_seed(seed)
    rows, most_keys = len(lengths), max(lengths)
    query = torch.randn(rows, queries, heads, size, generator=generator, dtype=torch.float64)
    key, value = torch.randn(
        2, rows, most_keys, heads, size, generator=generator, dtype=torch.float64
    )
    blocks = [-(-length // block_k) for length in lengths]
    split = plan(rows, heads, -(-queries // block_q), blocks, programs)
    parts: dict[tuple[int, int, int], list[Part]] = {}
    for program in range(programs):
        for piece in split.pieces(program):
            row, head = slice(piece.row, piece.row + 1), slice(piece.head, piece.head + 1)
            keys = slice(piece.first * block_k, min(piece.stop * block_k, lengths[piece.row]))
            asked = query[row, piece.block * block_q : (piece.block + 1) * block_q, head]
            part = attention_part(asked, key[row, keys, head], value[row, keys, head])
            parts.setdefault((piece.row, piece.head, piece.block), []).append(part)
    for (row_, head_, block), found in parts.items():
        _, total, mixed = merged(found)
        asked = query[row_, block * block_q : (block + 1) * block_q, head_]
        seen = slice(lengths[row_])
        scores = asked @ key[row_, seen, head_].T / size**0.5
        expected = scores.softmax(-1) @ value[row_, seen, head_]
        ours = (mixed / total[..., None])[0, :, 0]
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    assert len(parts) == sum(split.tiles_per_row for length in lengths if length)
