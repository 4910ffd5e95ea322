"""Recall by time: the span that a question names, what was before it, and bounds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.models.vl.memory.archive import Entry
from millrace.models.vl.memory.policy import Cue
from millrace.models.vl.memory.recalls import ArchiveRecall
from millrace.models.vl.memory.sizes import ArchiveSizes, TimedSizes
from millrace.models.vl.memory.store import ArchiveStore
from millrace.models.vl.memory.timed import ByTime
from millrace.models.vl.segments import Segment
from segment_fakes import Maker, entry_of

SIZES = TimedSizes(pictures=3, tokens=30)
ROOMY = ArchiveSizes(1 << 24)


def timed(
    turns: int, sizes: TimedSizes = SIZES, said: int = 1, room: ArchiveSizes = ROOMY
) -> ArchiveRecall:
    """An archive of turns of a second, each of 4 tokens of pictures; every `said`th has a caption
    of 2."""
    store = ArchiveStore(room)
    recall = ArchiveRecall(store, ByTime(store, sizes))
    maker = Maker()
    for number in range(turns):
        parts = maker.turn(number, 4, 2 if number % said == 0 else 0)
        recall.archived([entry_of(part) for part in parts])
    return recall


def found(recall: ArchiveRecall, start: float, stop: float, now: float = 100.0) -> list[Segment]:
    entries = recall.recall(Cue(now, (start, stop)))
    assert all(isinstance(entry, Entry) for entry in entries)
    return [entry.segment for entry in entries if isinstance(entry, Entry)]


def pictures(segments: list[Segment]) -> list[float]:
    return [segment.time for segment in segments if segment.kind == "vision"]


def test_the_named_second_comes_back_whole() -> None:
    segments = found(timed(60), 30.0, 30.0)
    turn = [segment.kind for segment in segments if segment.turn == 30]
    assert turn == ["header", "vision", "caption", "footer"]
    assert pictures(segments) == [29.0, 30.0]


def test_the_last_turn_before_it_comes_as_well() -> None:
    assert {segment.turn for segment in found(timed(60), 30.0, 30.0)} == {29, 30}
    assert {segment.turn for segment in found(timed(60), 30.2, 30.6)} == {29, 30, 31}


def test_words_of_seconds_whose_pictures_do_not_come_come_as_far_as_there_is_room() -> None:
    segments = found(timed(60, TimedSizes(pictures=2, tokens=28)), 30.0, 33.0)
    assert pictures(segments) == [29.0, 33.0]
    # 8 tokens of pictures, 4 of words a turn: those of the pictures first.
    assert {segment.turn for segment in segments} == {29, 30, 31, 32, 33}
    segments = found(timed(60, TimedSizes(pictures=2, tokens=20)), 30.0, 33.0)
    assert {segment.turn for segment in segments} == {29, 30, 33}


def test_a_long_span_is_shown_evenly() -> None:
    assert pictures(found(timed(60), 11.0, 30.0)) == [10.0, 20.0, 30.0]


@settings(max_examples=60, deadline=None)
@given(
    turns=st.integers(1, 60),
    first=st.floats(-5, 70),
    second=st.floats(-5, 70),
    most=st.integers(0, 5),
    tokens=st.integers(0, 40),
    kib=st.sampled_from([3, 20, 10_000]),
)
def test_what_comes_back_is_bounded_and_in_order(
    turns: int, first: float, second: float, most: int, tokens: int, kib: int
) -> None:
    sizes = TimedSizes(pictures=most, tokens=tokens)
    recall = timed(turns, sizes, said=2, room=ArchiveSizes(kib * 1024))
    segments = found(recall, first, second, now=80.0)
    assert sum(segment.length for segment in segments) <= tokens
    assert len(pictures(segments)) <= most
    assert [segment.turn for segment in segments] == sorted(segment.turn for segment in segments)
    again = found(timed(turns, sizes, said=2, room=ArchiveSizes(kib * 1024)), first, second, 80.0)
    assert [(s.kind, s.turn) for s in segments] == [(s.kind, s.turn) for s in again]


def archive(*turns: int) -> ArchiveRecall:
    """Pictures alone, of these seconds."""
    store = ArchiveStore(ROOMY)
    recall = ArchiveRecall(store, ByTime(store, SIZES))
    maker = Maker()
    recall.archived([entry_of(maker.segment("vision", 4, turn, float(turn))) for turn in turns])
    return recall


def test_seconds_that_were_not_read_are_told_by_the_turn_before() -> None:
    assert pictures(found(archive(30, 35, 40), 37.0, 38.0)) == [35.0]


def test_a_turn_so_long_before_that_others_must_be_forgotten_does_not_stand_in() -> None:
    assert pictures(found(archive(0, 27, 60), 40.0, 40.0)) == []
    assert pictures(found(archive(0, 28, 60), 40.0, 40.0)) == [28.0]


def test_a_span_that_is_still_in_the_cache_brings_nothing() -> None:
    assert found(timed(30), 45.0, 50.0) == []


def test_no_archive_and_no_span_bring_nothing() -> None:
    assert found(timed(0), 3.0, 5.0) == []
    assert list(timed(10).recall(Cue(20.0, None))) == []


@pytest.mark.parametrize("span", [(5.0, 3.0), (3.0, 5.0)])
def test_a_span_may_be_told_backwards(span: tuple[float, float]) -> None:
    assert pictures(found(timed(30), *span)) == [2.0, 4.0, 5.0]
