"""Places on three axes."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from millrace.models.vl.positions import (
    CONTIGUOUS,
    Growing,
    Places,
    lay_out,
    picture_offsets,
    piece_offsets,
    word_offsets,
)
from millrace.models.vl.segments import Pictures, Piece, Segment, Words
from transformers import Qwen2_5_VLForConditionalGeneration
from vl_oracle import oracle_config, small_spec

RATE = 2.0

pieces = st.lists(
    st.one_of(
        st.integers(1, 9).map(lambda n: Words("caption", (0,) * n)),
        st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)).map(
            lambda grid: Pictures(None, grid, 0, 0.0, seconds=0.25)
        ),
    ),
    min_size=1,
    max_size=12,
)


def test_places_are_transformers_where_its_own_are_right() -> None:
    """With one grid a block; after several, 5.23 puts words before the end of the block."""
    spec = small_spec()
    with torch.device("meta"):
        theirs = Qwen2_5_VLForConditionalGeneration(oracle_config(spec))
    grids = [(1, 2, 3), (1, 4, 1), (1, 1, 1)]
    sequence: list[Piece] = [Words("system", (1,) * 5)]
    kinds = [0] * 5
    for grid in grids:
        sequence += [Pictures(None, grid, 0, 0.0), Words("caption", (1, 2))]
        kinds += [2] * (grid[1] * grid[2]) + [0] * 2
    merge = spec.vision.merge
    found, _ = theirs.model.get_rope_index(
        torch.zeros(1, len(kinds), dtype=torch.int64),
        mm_token_type_ids=torch.tensor([kinds]),
        video_grid_thw=torch.tensor([(t, h * merge, w * merge) for t, h, w in grids]),
    )
    np.testing.assert_array_equal(lay_out(sequence, RATE), found[:, 0].numpy())


def test_grids_follow_in_time_without_rounding() -> None:
    """2 grids of 2 x 1 tokens, 0.3 s apart, at 2 places a second: 0.6 on the time axis."""
    block = Pictures(None, (2, 2, 1), 0, 0.0, seconds=0.3)
    places = lay_out([Words("header", (1, 2)), block, Words("footer", (3,))], RATE)
    expected = [
        [0, 1, 2.0, 2.0, 2.6, 2.6, 4],
        [0, 1, 2.0, 3.0, 2.0, 3.0, 4],
        [0, 1, 2.0, 2.0, 2.0, 2.0, 4],
    ]
    np.testing.assert_allclose(places, expected)


def test_a_block_that_is_longer_than_high_ends_with_its_time() -> None:
    _, span = piece_offsets(Pictures(None, (4, 2, 2), 0, 0.0, seconds=1.5), RATE)
    assert span == 10.0
    _, span = piece_offsets(Pictures(None, (4, 2, 12), 0, 0.0, seconds=1.5), RATE)
    assert span == 12.0


@given(pieces)
def test_pieces_follow_each_other(sequence: list[Piece]) -> None:
    places = lay_out(sequence, RATE)
    first, largest = 0, -1.0
    for piece in sequence:
        offsets, span = piece_offsets(piece, RATE)
        part = places[:, first : first + offsets.shape[1]]
        assert (part[:, 0] == largest + 1).all()
        largest = float(part.max())
        assert largest + 1 == part[0, 0] + span
        first += offsets.shape[1]
    assert first == places.shape[1]
    assert lay_out([], RATE).shape == (3, 0)


def table_of(sequence: list[Piece], start: float) -> list[Segment]:
    out: list[Segment] = []
    for piece in sequence:
        offsets, span = piece_offsets(piece, RATE)
        none = np.zeros(offsets.shape[1], np.int64)
        base = CONTIGUOUS.following(out, piece.kind) if out else start
        out.append(Segment(piece.kind, 0, 0.0, False, none, none, offsets, base, span))
    return out


@given(pieces, st.data())
def test_the_newest_keep_their_places(sequence: list[Piece], data: st.DataObject) -> None:
    table = table_of(sequence, start=40.0)
    kept = [segment for segment in table if data.draw(st.booleans())]
    bases = CONTIGUOUS.rearranged(kept, table)
    ends = [base + segment.span for base, segment in zip(bases, kept, strict=True)]
    assert list(bases[1:]) == ends[:-1]
    if kept:
        assert ends[-1] == kept[-1].base + kept[-1].span
    pairs = zip(reversed(kept), reversed(bases), strict=True)
    for old, new in zip(reversed(table), pairs, strict=False):
        if old is not new[0]:
            break
        assert new[1] == old.base
    assert [s.base for s in kept] == Growing().rearranged(kept, table).tolist()


def test_shared_tables_cannot_be_written() -> None:
    for shared in (word_offsets(3), picture_offsets((1, 2, 2), 1.0)):
        assert not shared.flags.writeable


def test_a_part_of_words_knows_where_it_began() -> None:
    words: Places = word_offsets(6)
    ids = np.arange(6)
    whole = Segment("memo", 1, 2.0, False, ids + 10, ids, words, 30.0, 6.0)
    part = whole.cut(2, 5)
    assert (part.base, part.span, part.length) == (32.0, 3.0, 3)
    assert part.offsets.tolist() == [[0, 1, 2]] * 3 and part.ids.tolist() == [2, 3, 4]
    assert whole.cut(3, 3).length == 0
