"""Group Position Encoding: where groups stand, what they see, and how far words lag behind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.models.vl.memory.groups import (
    GroupPositions,
    average_lagging,
    group_mask,
    is_source,
)
from millrace.models.vl.positions import lay_out
from millrace.models.vl.segments import Kind, Pictures, Piece, Segment, Words
from segment_fakes import Maker
from torch import Tensor
from vl_oracle import pair, small_spec

MODEL, _ = pair(small_spec())
DIM = MODEL.spec.text.dim


def source_piece(number: int) -> Piece:
    generator = torch.Generator().manual_seed(number)
    if number % 2:
        return Words("header", (100 + number,), number, float(number))
    features = torch.randn(4, DIM, generator=generator, dtype=torch.float64)
    return Pictures(features, (1, 2, 2), number, float(number))


SOURCE = [source_piece(number) for number in range(6)]
TARGET: list[Piece] = [Words("caption", (10 + n, 40 + n), n, float(n)) for n in range(4)]


def embed(piece: Piece) -> Tensor:
    if isinstance(piece, Pictures):
        assert isinstance(piece.features, Tensor)
        return piece.features
    return MODEL.text.embed(torch.tensor(piece.ids))


def run(order: list[Piece], reads: list[int], start: float) -> dict[int, Tensor]:
    """Logits of each piece of the target, of a sequence in this order; the n-th one reads the
    first `reads[n]` pieces of the source."""
    tokens = [embed(piece) for piece in order]
    sizes = {id(piece): len(part) for piece, part in zip(order, tokens, strict=True)}
    source: list[bool] = []
    visible: list[int] = []
    for piece, part in zip(order, tokens, strict=True):
        own = is_source(piece.kind)
        count = 0
        if not own:
            number = next(n for n, one in enumerate(TARGET) if one is piece)
            count = sum(sizes[id(one)] for one in SOURCE[: reads[number]])
        source += [own] * len(part)
        visible += [count] * len(part)
    positions = lay_out(order, MODEL.spec.text.tokens_per_second, GroupPositions(start))
    mask = torch.from_numpy(group_mask(source, visible))
    hidden = MODEL.text(torch.cat(tokens)[None], torch.from_numpy(positions)[:, None], mask)
    logits = MODEL.text.logits(hidden)[0].split([len(part) for part in tokens])
    return {n: logits[order.index(piece)] for n, piece in enumerate(TARGET)}


@settings(max_examples=25, deadline=None)
@given(
    reads=st.lists(st.integers(1, 6), min_size=4, max_size=4),
    late=st.lists(st.integers(0, 6), min_size=4, max_size=4),
    start=st.sampled_from([0.0, 7.0]),
)
def test_interleavings_that_see_the_same_say_the_same(
    reads: list[int], late: list[int], start: float
) -> None:
    """Each target reads a prefix of the source; when more of the source comes in between does not
    matter, up to the order of additions."""
    reads = sorted(reads)
    after = [max(n, m) for n, m in zip(reads, sorted(late), strict=True)]
    mixed: list[Piece] = []
    given_so_far = 0
    for number, count in enumerate(after):
        mixed += SOURCE[given_so_far:count]
        given_so_far = max(given_so_far, count)
        mixed.append(TARGET[number])
    mixed += SOURCE[given_so_far:]
    whole = run([*SOURCE, *TARGET], reads, start)
    interleaved = run(mixed, reads, start)
    for number in range(len(TARGET)):
        torch.testing.assert_close(interleaved[number], whole[number], rtol=0, atol=1e-9)


def test_what_is_seen_and_where_the_target_begins_do_matter() -> None:
    """So that the equality above proves something."""
    order = [*SOURCE, *TARGET]
    base = run(order, [2, 3, 4, 6], 0.0)
    assert (run(order, [2, 3, 5, 6], 0.0)[2] - base[2]).abs().max() > 1e-3
    assert (run(order, [2, 3, 4, 6], 5.0)[2] - base[2]).abs().max() > 1e-3


def test_groups_count_apart() -> None:
    kinds: list[Kind] = ["system", "vision", "caption", "header", "vision", "answer"]
    bases = GroupPositions(3.0).bases(kinds, [5.0, 4.0, 2.0, 1.0, 4.0, 6.0])
    assert bases.tolist() == [0.0, 5.0, 3.0, 9.0, 10.0, 5.0]
    assert GroupPositions().bases([], []).tolist() == []


def placed(table: list[Segment], layout: GroupPositions) -> list[Segment]:
    bases = layout.bases([s.kind for s in table], [s.span for s in table])
    return [replace(s, base=float(base)) for s, base in zip(table, bases, strict=True)]


@settings(max_examples=50, deadline=None)
@given(
    captions=st.lists(st.integers(0, 3), max_size=12),
    start=st.sampled_from([0.0, 4.5]),
    drop=st.integers(0, 11),
)
def test_appending_and_rearranging_agree_with_the_whole(
    captions: list[int], start: float, drop: int
) -> None:
    """Segment by segment, with one turn leaving at the end: places are those of a fresh layout,
    moved by one constant; the newest of the source stays where it is."""
    layout, maker = GroupPositions(start), Maker()
    table: list[Segment] = []
    for number, caption in enumerate(captions):
        for segment in maker.turn(number, 4, caption):
            base = layout.following(table, segment.kind)
            table.append(replace(segment, base=base))
    assert [s.base for s in table] == [s.base for s in placed(table, layout)]
    kept = [segment for segment in table if segment.turn != drop]
    bases = layout.rearranged(kept, table)
    if kept:
        fresh = layout.bases([s.kind for s in kept], [s.span for s in kept])
        assert np.ptp(bases - fresh) == 0
        newest = [n for n, s in enumerate(kept) if is_source(s.kind)][-1]
        if drop != len(captions) - 1:
            assert bases[newest] == kept[newest].base


def test_a_group_that_is_empty_begins_where_the_other_says() -> None:
    layout, maker = GroupPositions(2.0), Maker()
    only = [replace(maker.segment("system", 3), base=100.0)]
    assert layout.following(only, "caption") == 102.0
    assert layout.following([replace(only[0], kind="caption")], "vision") == 98.0
    assert layout.following([], "vision") == 0.0
    assert layout.following([], "caption") == 2.0


def test_source_never_sees_target() -> None:
    source = [True, False, True, False, True]
    mask = group_mask(source, [0, 1, 0, 2, 0])
    expected = [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 0, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 0, 1, 0, 1],
    ]
    assert mask.astype(int).tolist() == expected


@pytest.mark.parametrize(
    ("delays", "source", "lag"),
    [
        ([4, 4, 4, 4], 4, 4.0),  # all is read first: the lag is the whole source
        ([1, 2, 3, 4], 4, 1.0),  # wait-1 at equal lengths
        ([3, 4, 4, 4], 4, 3.0),  # wait-3: ends with the first that has read all
        ([2, 4], 4, 2.0),  # two source tokens for each target token
        ([0, 0], 4, -1.0),  # written without reading: ahead of an ideal listener
    ],
)
def test_average_lagging_of_known_schedules(delays: list[float], source: int, lag: float) -> None:
    assert average_lagging(delays, source) == pytest.approx(lag)


@settings(max_examples=50, deadline=None)
@given(k=st.integers(1, 8), count=st.integers(1, 20))
def test_wait_k_lags_by_k(k: int, count: int) -> None:
    delays = [min(k + step, count) for step in range(count)]
    assert average_lagging(delays, count) == pytest.approx(min(k, count))


@pytest.mark.parametrize(
    ("delays", "source"), [([], 4), ([1], 0), ([2, 1], 4), ([5], 4), ([-1], 4)]
)
def test_delays_that_make_no_sense_are_refused(delays: list[float], source: int) -> None:
    with pytest.raises(ValueError, match="lagging|delays"):
        average_lagging(delays, source)
