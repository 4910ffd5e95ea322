"""What windows keep: bounds, what is pinned, order, determinism, lengths of cuts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.models.vl.memory.policy import Window
from millrace.models.vl.memory.sizes import STREAMING_VLM, SinkSizes, WindowSizes
from millrace.models.vl.memory.windows import LastPictures, SinkAndRecent, VisionAndText
from millrace.models.vl.segments import Kind
from segment_fakes import Maker, live, tokens

SMALL = WindowSizes(vision_turns=3, text_turns=5, memo_first=4, memo_last=6)
WINDOWS: list[Window] = [
    LastPictures(4),
    LastPictures(1),
    SinkAndRecent(SinkSizes(first=4, last=30)),
    SinkAndRecent(SinkSizes(first=0, last=1)),
    SinkAndRecent(SinkSizes(first=13, last=7)),
    VisionAndText(SMALL),
    VisionAndText(WindowSizes(vision_turns=1, text_turns=1, memo_first=0, memo_last=0)),
    VisionAndText(STREAMING_VLM),
]
TURNS = st.lists(st.tuples(st.sampled_from([0, 4, 9]), st.integers(0, 5)), max_size=40)
"""(vision, caption) tokens of each turn; a turn may have no picture, no caption or neither."""

windows = pytest.mark.parametrize("window", WINDOWS, ids=repr)


@windows
@settings(max_examples=30, deadline=None)
@given(turns=TURNS, query=st.integers(0, 3))
def test_what_is_pinned_stays_and_order_is_kept(
    window: Window, turns: list[tuple[int, int]], query: int
) -> None:
    kept, everything = live(window, turns, query)
    order = {slot: place for place, slot in enumerate(tokens(everything))}
    places = [order[slot] for slot in tokens(kept)]
    assert places == sorted(places)
    assert len(set(places)) == len(places)
    pinned = [segment for segment in everything if segment.pinned]
    assert [segment for segment in kept if segment.pinned] == pinned


@windows
@settings(max_examples=30, deadline=None)
@given(turns=TURNS)
def test_pictures_are_whole_and_segments_hold_something(
    window: Window, turns: list[tuple[int, int]]
) -> None:
    kept, everything = live(window, turns)
    whole = {id(segment) for segment in everything if segment.kind == "vision"}
    assert all(id(segment) in whole for segment in kept if segment.kind == "vision")
    assert all(segment.length for segment in kept)


@windows
@settings(max_examples=20, deadline=None)
@given(turns=TURNS)
def test_the_same_turns_leave_the_same_memory(window: Window, turns: list[tuple[int, int]]) -> None:
    once, again = live(window, turns)[0], live(window, turns)[0]
    assert tokens(once) == tokens(again)
    assert [segment.kind for segment in once] == [segment.kind for segment in again]


@windows
@settings(max_examples=20, deadline=None)
@given(turns=TURNS)
def test_keeping_twice_is_keeping_once(window: Window, turns: list[tuple[int, int]]) -> None:
    kept, _ = live(window, turns)
    again = window.keep(kept)
    assert [s.kind for s in again if s.kind == "vision"] == [
        s.kind for s in kept if s.kind == "vision"
    ]
    assert tokens(again) == tokens(kept)


def test_a_wish_pinned_in_the_middle_outlives_its_turn() -> None:
    for window in WINDOWS:
        maker = Maker()
        wish = maker.segment("query", 3, turn=1, time=1.0, pinned=True)
        table = [*maker.opening(), *maker.turn(0), wish]
        for number in range(1, 60):
            table = window.keep([*table, *maker.turn(number, 4, number % 3)])
        assert any(segment is wish for segment in table), window


@settings(max_examples=50, deadline=None)
@given(turns=TURNS, count=st.integers(1, 5))
def test_last_pictures_keeps_the_turns_of_the_last_ones(
    turns: list[tuple[int, int]], count: int
) -> None:
    kept, _ = live(LastPictures(count), turns)
    looked = [number for number, (vision, _) in enumerate(turns) if vision]
    assert {segment.turn for segment in kept if not segment.pinned} == set(looked[-count:])


@settings(max_examples=50, deadline=None)
@given(turns=TURNS, first=st.integers(0, 20), last=st.integers(1, 40))
def test_sink_and_recent_never_exceeds_its_tokens(
    turns: list[tuple[int, int]], first: int, last: int
) -> None:
    kept, _ = live(SinkAndRecent(SinkSizes(first, last)), turns)
    assert sum(s.length for s in kept if not s.pinned) <= first + last


def test_sink_and_recent_cuts_words_to_the_token() -> None:
    maker = Maker()
    table = [maker.segment("caption", 10, 0), maker.segment("caption", 10, 1)]
    kept = SinkAndRecent(SinkSizes(first=3, last=4)).keep(table)
    assert tokens(kept) == [0, 1, 2, 16, 17, 18, 19]
    one = SinkAndRecent(SinkSizes(first=3, last=4)).keep([maker.segment("caption", 10, 0)])
    assert [segment.length for segment in one] == [3, 4]


def test_sink_and_recent_end_where_a_picture_does_not_fit() -> None:
    """What lies beyond it is no longer among the first or the last tokens."""
    maker = Maker()
    lengths: tuple[tuple[Kind, int], ...]
    lengths = (("caption", 2), ("vision", 8), ("caption", 6), ("vision", 8), ("caption", 2))
    table = [maker.segment(kind, length, turn) for turn, (kind, length) in enumerate(lengths)]
    kept = SinkAndRecent(SinkSizes(first=6, last=6)).keep(table)
    assert [(segment.turn, segment.length) for segment in kept] == [(0, 2), (4, 2)]
    assert SinkAndRecent(SinkSizes(first=10, last=6)).keep(table)[1] is table[1]


@settings(max_examples=50, deadline=None)
@given(turns=TURNS)
def test_vision_and_text_keeps_within_its_bound(turns: list[tuple[int, int]]) -> None:
    kept, everything = live(VisionAndText(SMALL), turns)
    pinned = sum(segment.length for segment in everything if segment.pinned)
    assert sum(segment.length for segment in kept) <= SMALL.bound(pinned, words=7, vision=9)
    looked = [number for number, (vision, _) in enumerate(turns) if vision]
    seen = [segment.turn for segment in kept if segment.kind == "vision"]
    assert seen == looked[-SMALL.vision_turns :]


@settings(max_examples=50, deadline=None)
@given(captions=st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_older_captions_become_a_memo_cut_to_its_ends(captions: list[int]) -> None:
    kept, everything = live(VisionAndText(SMALL), [(4, caption) for caption in captions])
    said = [s for s in everything if s.kind == "caption"]
    left = [s for s in said if s.turn < len(captions) - SMALL.text_turns]
    words = tokens(left)
    if len(words) > SMALL.memo_first + SMALL.memo_last:
        words = words[: SMALL.memo_first] + words[-SMALL.memo_last :]
    assert tokens([s for s in kept if s.kind == "memo"]) == words
    newest = range(max(0, len(captions) - SMALL.text_turns), len(captions))
    verbatim = Counter(s.turn for s in kept if s.kind in ("header", "footer"))
    assert verbatim == {turn: 2 for turn in newest}


def test_memo_keeps_when_and_in_which_turn_it_was_said() -> None:
    kept, _ = live(VisionAndText(SMALL), [(4, 2)] * 8)
    memo = [segment for segment in kept if segment.kind == "memo"]
    assert [(segment.turn, segment.time) for segment in memo] == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_a_scene_not_looked_at_keeps_its_last_pictures() -> None:
    turns = [(4, 1)] * 3 + [(0, 1)] * 30
    kept, _ = live(VisionAndText(SMALL), turns)
    assert [s.turn for s in kept if s.kind == "vision"] == [0, 1, 2]
    # Its words stay with it, though they are older than all that stay for their own sake.
    assert [s.kind for s in kept if s.turn == 1] == ["header", "vision", "caption", "footer"]


def test_nothing_leaves_a_young_stream() -> None:
    for window in (VisionAndText(STREAMING_VLM), SinkAndRecent(SinkSizes(4, 500))):
        kept, everything = live(window, [(9, 2)] * 10)
        assert tokens(kept) == tokens(everything)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: WindowSizes(vision_turns=5, text_turns=4, memo_first=1, memo_last=1),
        lambda: WindowSizes(vision_turns=0, text_turns=4, memo_first=1, memo_last=1),
        lambda: WindowSizes(vision_turns=1, text_turns=4, memo_first=-1, memo_last=1),
        lambda: SinkSizes(first=-1, last=4),
        lambda: LastPictures(0),
    ],
)
def test_sizes_that_make_no_sense_are_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="must|at least"):
        wrong()
