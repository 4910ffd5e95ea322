"""The archive: what it holds, what leaves first, and in which order things come back."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.models.vl.memory.archive import Entry
from millrace.models.vl.memory.sizes import ArchiveSizes
from millrace.models.vl.memory.store import ArchiveStore, in_order
from segment_fakes import Maker, entry_of

KIB = 1024
TURNS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5)), min_size=1, max_size=30)


def archive(turns: list[tuple[int, int]], store: ArchiveStore) -> ArchiveStore:
    maker = Maker()
    for number, (vision, caption) in enumerate(turns):
        store.add([entry_of(segment) for segment in maker.turn(number, vision, caption)])
    return store


def held(store: ArchiveStore) -> list[tuple[str, int]]:
    return [(item.entry.segment.kind, item.entry.segment.turn) for item in store.kept]


@settings(max_examples=50, deadline=None)
@given(turns=TURNS, size=st.integers(1, 30_000), share=st.floats(0.1, 1.0))
def test_it_never_holds_more_than_its_bytes(
    turns: list[tuple[int, int]], size: int, share: float
) -> None:
    store = archive(turns, ArchiveStore(ArchiveSizes(size, share)))
    assert store.nbytes <= size
    assert store.nbytes == sum(item.nbytes for item in store.kept)
    offered = sum(2 + (vision > 0) + (caption > 0) for vision, caption in turns)
    assert len(store.kept) + store.dropped == offered


@settings(max_examples=30, deadline=None)
@given(turns=TURNS, size=st.integers(1, 30_000))
def test_the_same_entries_leave_the_same_archive(turns: list[tuple[int, int]], size: int) -> None:
    once = archive(turns, ArchiveStore(ArchiveSizes(size)))
    again = archive(turns, ArchiveStore(ArchiveSizes(size)))
    assert held(once) == held(again)


def test_bytes_are_those_of_memory_of_its_own() -> None:
    """A slice of a large tensor would keep all of it alive."""
    segment = Maker().segment("vision", 4)
    whole = torch.randn(2, 400, 2, 8)
    store = ArchiveStore(ArchiveSizes(1 << 20))
    store.add([Entry(segment, whole[:, 4:8], whole[:, 8:12])])
    kept = store.kept[0].entry
    assert kept.keys.untyped_storage().nbytes() == kept.keys.nbytes
    whole.zero_()
    assert kept.keys.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_holds_nearly_twice_as_much(dtype: torch.dtype) -> None:
    turns = [(8, 0)] * 200
    wide = archive(turns, ArchiveStore(ArchiveSizes(200 * KIB)))
    narrow = archive(turns, ArchiveStore(ArchiveSizes(200 * KIB), dtype=dtype))
    assert narrow.kept[0].entry.keys.dtype == dtype
    assert len(narrow.pictures) > 1.5 * len(wide.pictures)


def test_keys_that_are_narrow_already_stay_as_they_are() -> None:
    store = ArchiveStore(ArchiveSizes(1 << 20), dtype=torch.float16)
    entry = entry_of(Maker().segment("vision", 4))
    store.add([Entry(entry.segment, entry.keys.bfloat16(), entry.values.bfloat16())])
    assert store.kept[0].entry.keys.dtype == torch.bfloat16


def test_pictures_thin_out_with_age_and_reach_back_to_the_first() -> None:
    store = archive([(8, 0)] * 2000, ArchiveStore(ArchiveSizes(400 * KIB)))
    times = [item.time for item in store.pictures]
    assert 40 < len(times) < 200
    assert times[0] == 0.0
    assert times[-1] == 1999.0
    recent = [one for one in times if one >= 1999 - 10]
    assert len(recent) >= 9
    for before, after in pairwise(times):
        assert after - before <= 2 + 0.25 * (1999 - before), (before, after)


def test_words_outlive_pictures_until_they_crowd_them_out() -> None:
    store = archive([(8, 2)] * 40, ArchiveStore(ArchiveSizes(80 * KIB, words_share=0.9)))
    assert len(store.words) == 3 * 40
    assert 2 < len(store.pictures) < 40
    crowded = archive([(8, 4)] * 400, ArchiveStore(ArchiveSizes(40 * KIB, words_share=0.5)))
    turns = [item.entry.segment.turn for item in crowded.words]
    assert turns[-1] == 399
    assert min(turns) > 300
    assert crowded.pictures


def test_words_alone_leave_oldest_first() -> None:
    store = archive([(0, 2)] * 100, ArchiveStore(ArchiveSizes(10 * KIB, words_share=1.0)))
    assert not store.pictures
    turns = sorted({item.entry.segment.turn for item in store.words})
    assert turns == list(range(turns[0], 100))


def test_what_is_larger_than_the_archive_is_not_taken() -> None:
    store = archive([(1, 0)], ArchiveStore(ArchiveSizes(2 * KIB)))
    before = held(store)
    store.add([entry_of(Maker().segment("vision", 100, 7, 7.0))])
    assert held(store) == before
    assert store.dropped == 1


def test_nothing_is_made_of_empty_segments() -> None:
    store = ArchiveStore(ArchiveSizes(KIB))
    store.add([entry_of(Maker().segment("caption", 0, 1))])
    assert not store.kept
    assert store.dropped == 0


def test_parts_of_a_turn_come_back_as_they_stood() -> None:
    """Pictures leave first, captions last; both belong between header and footer."""
    maker = Maker()
    header, vision = maker.turn(3, 4)[:2]
    opening, caption, footer = (
        maker.segment("header", 1, 3, 3.0),
        maker.segment("caption", 2, 3, 3.0),
        maker.segment("footer", 1, 3, 3.0),
    )
    later = maker.turn(4, 4, 1)
    store = ArchiveStore(ArchiveSizes(1 << 20))
    store.add([entry_of(vision), entry_of(later[1])])
    store.add([entry_of(header), entry_of(opening), entry_of(footer)])
    store.add([entry_of(caption)])
    found = [entry.segment for entry in in_order(store.kept)]
    assert found == [header, vision, opening, caption, footer, later[1]]


def test_sizes_that_make_no_sense_are_refused() -> None:
    for wrong in ({"max_bytes": 0}, {"max_bytes": 1, "words_share": 0.0}):
        with pytest.raises(ValueError, match="positive"):
            ArchiveSizes(**wrong)
