"""Recall by time: the span that a question names, what is near it, and bounds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.models.vl.memory.archive import Entry
from millrace.models.vl.memory.policy import Cue
from millrace.models.vl.memory.recalls import ArchiveRecall, TimeOr
from millrace.models.vl.memory.sizes import ArchiveSizes, TimedSizes
from millrace.models.vl.memory.store import ArchiveStore
from millrace.models.vl.memory.timed import ByTime
from millrace.models.vl.segments import Pictures, Segment
from segment_fakes import Maker, entry_of, picture

SIZES = TimedSizes(pictures=3, tokens=30, around=2.0)
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
    assert pictures(segments) == [30.0]


def test_captions_around_it_come_as_well() -> None:
    segments = found(timed(60), 30.0, 30.0)
    assert {segment.turn for segment in segments} == {28, 29, 30, 31, 32}
    assert {segment.turn for segment in found(timed(60, said=100), 30.0, 30.0)} == {30}


def test_a_long_span_is_shown_evenly() -> None:
    assert pictures(found(timed(60), 10.0, 30.0)) == [10.0, 20.0, 30.0]


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
    sizes = TimedSizes(pictures=most, tokens=tokens, around=2.0)
    recall = timed(turns, sizes, said=2, room=ArchiveSizes(kib * 1024))
    segments = found(recall, first, second, now=80.0)
    assert sum(segment.length for segment in segments) <= tokens
    assert len(pictures(segments)) <= most
    assert [segment.turn for segment in segments] == sorted(segment.turn for segment in segments)
    again = found(timed(turns, sizes, said=2, room=ArchiveSizes(kib * 1024)), first, second, 80.0)
    assert [(s.kind, s.turn) for s in segments] == [(s.kind, s.turn) for s in again]


def test_the_nearest_picture_stands_in_for_one_that_is_gone() -> None:
    recall = timed(2000, room=ArchiveSizes(200 * 1024, words_share=0.2))
    stored = {item.time for item in recall.store.pictures}
    gone = next(float(second) for second in range(1000, 0, -1) if second not in stored)
    shown = pictures(found(recall, gone, gone, now=2000.0))
    assert len(shown) == 1
    assert abs(shown[0] - gone) <= SIZES.tolerance * (2000 - shown[0])


def test_a_picture_too_far_off_does_not_stand_in() -> None:
    store = ArchiveStore(ROOMY)
    recall = ArchiveRecall(store, ByTime(store, SIZES))
    maker = Maker()
    recall.archived([entry_of(maker.segment("vision", 4, turn, float(turn))) for turn in (0, 90)])
    assert pictures(found(recall, 40.0, 40.0, now=100.0)) == []


def test_a_span_that_is_still_in_the_cache_brings_nothing() -> None:
    assert found(timed(30), 40.0, 45.0) == []


def test_no_archive_and_no_span_bring_nothing() -> None:
    assert found(timed(0), 3.0, 5.0) == []
    assert list(timed(10).recall(Cue(20.0, None))) == []


class Fake:
    """A recall that notes what it is told."""

    wants_queries = True

    def __init__(self) -> None:
        self.told: list[object] = []

    def seen(self, pictures: Pictures) -> None:
        self.told.append(pictures)

    def archived(self, entries: object) -> None:
        self.told.append(entries)

    def recall(self, cue: Cue) -> list[Entry | Pictures]:
        return [picture(7, 1.0)]


def test_time_where_it_is_named_and_another_memory_where_not() -> None:
    other, by_time = Fake(), timed(30)
    both = TimeOr(by_time, other)
    assert both.wants_queries
    shown = picture(31, 1.0)
    both.seen(shown)
    more = [entry_of(Maker().segment("vision", 4, 30, 30.0))]
    both.archived(more)
    assert other.told == [shown, more]
    assert list(by_time.recall(Cue(40.0, (30.0, 30.0))))
    assert [type(one) for one in both.recall(Cue(40.0, (5.0, 5.0)))][0] is Entry
    assert [one.turn for one in both.recall(Cue(40.0, None)) if isinstance(one, Pictures)] == [7]


@pytest.mark.parametrize("span", [(5.0, 3.0), (3.0, 5.0)])
def test_a_span_may_be_told_backwards(span: tuple[float, float]) -> None:
    assert pictures(found(timed(30), *span)) == [3.0, 4.0, 5.0]
