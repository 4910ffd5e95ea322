"""What a question that names a time reads, and how a fork is made ready for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.models.vl.memory.archive import Entry
from millrace.models.vl.memory.asking import prepare
from millrace.models.vl.memory.focus import HALF, focus
from millrace.models.vl.memory.policies import policy_named
from millrace.models.vl.memory.policy import Cue, Memory
from millrace.models.vl.memory.sizes import (
    TINY_SIZES,
    ArchiveSizes,
    ClusterSizes,
    MemorySizes,
    RetrievalSizes,
    SinkSizes,
    TimedSizes,
    WindowSizes,
)
from millrace.models.vl.model import VLModel
from millrace.models.vl.segments import Segment, Words
from millrace.models.vl.stream import Stream, StreamingVL
from segment_fakes import Maker
from torch import Tensor
from vl_oracle import randomize, small_spec
from vl_streams import opening, turn

SPEC = small_spec(layers=2)
MODEL = VLModel(SPEC).double().eval().requires_grad_(False)
randomize(MODEL)
SIZES = MemorySizes(
    window=WindowSizes(vision_turns=3, text_turns=8, memo_first=5, memo_last=7),
    sinks=SinkSizes(first=4, last=60),
    archive=ArchiveSizes(max_bytes=1 << 24),
    timed=TimedSizes(pictures=4, tokens=60),
    clusters=ClusterSizes(clusters=4, details=2, candidates=1, max_bytes=20_000, tokens=40),
    retrieval=RetrievalSizes(planes=32, distance=7, mass=0.3, tokens=30),
)
ASKED = [Words("question", (11, 12, 13))]


# ---- what is read ------------------------------------------------------------------------------


def table_of(turns: Sequence[int]) -> list[Segment]:
    maker = Maker()
    return [*maker.opening(query=2), *(part for n in turns for part in maker.turn(n, 4, 2))]


def turns_of(table: Sequence[Segment]) -> list[int]:
    return sorted({segment.turn for segment in table if segment.turn >= 0})


@pytest.mark.parametrize(
    ("turns", "span", "read"),
    [
        (range(20), (10.0, 11.0), [9, 10, 11]),
        (range(20), (9.5, 10.49), [8, 9, 10]),
        (range(20), (11.0, 10.0), [9, 10, 11]),  # told backwards
        ((0, 5, 6, 18), (10.0, 12.0), [6]),  # nothing was read then
        ((0, 5, 6, 18), (5.0, 5.0), [0, 5]),
        (range(20), (0.0, 1.0), [0, 1]),
        (range(10, 20), (3.0, 5.0), []),  # forgotten
        (range(20), (25.0, 26.0), [19]),
    ],
)
def test_the_turns_of_the_span_and_the_last_one_before_it_are_read(
    turns: Sequence[int], span: tuple[float, float], read: list[int]
) -> None:
    table = table_of(turns)
    kept = focus(table, span)
    assert turns_of(kept) == read
    assert [part.kind for part in kept[:2]] == ["system", "query"]
    whole = [part for part in table if part.pinned or part.turn in read]
    assert len(kept) == len(whole) and all(a is b for a, b in zip(kept, whole, strict=True))


def test_words_of_turns_long_gone_are_not_read_and_those_of_turns_that_are_back_are() -> None:
    maker = Maker()
    memo = [maker.segment("memo", 3, turn, float(turn)) for turn in (3, 4)]
    table = [*maker.opening(), *memo, *maker.turn(4), *maker.turn(9)]
    kept = focus(table, (4.0, 4.0))
    assert memo[1] in kept and memo[0] not in kept and turns_of(kept) == [4]
    assert turns_of(focus(table, (3.0, 3.0))) == []


@settings(max_examples=100, deadline=None)
@given(
    turns=st.lists(st.integers(0, 40), unique=True).map(sorted),
    first=st.floats(-3, 45),
    length=st.floats(0, 20),
)
def test_no_turn_is_read_that_is_not_asked_for(
    turns: list[int], first: float, length: float
) -> None:
    kept = focus(table_of(turns), (first, first + length))
    assert kept == focus(kept, (first, first + length))
    within = [n for n in turns if first - HALF <= n <= first + length + HALF]
    earlier = [n for n in turns if n < first - HALF][-1:]
    assert turns_of(kept) == [*earlier, *within]


# ---- a fork that is made ready -----------------------------------------------------------------


class Life:
    """A stream of so many turns under a memory, in float64."""

    def __init__(self, name: str, turns: int = 30, owes: bool = False) -> None:
        self.reader = StreamingVL(MODEL, 800)
        self.memory: Memory = policy_named(name, SIZES)
        self.stream: Stream = self.reader.open()
        self.reader.append([(self.stream, opening(SPEC))])
        self.now = float(turns)
        for number in range(turns):
            pieces = turn(SPEC, number)
            self.owed = [pieces.pop()] if owes and number == turns - 1 else []
            self.reader.append([(self.stream, pieces)])
            kept = self.memory.window.keep(self.stream.table)
            left = self.reader.rearrange(self.stream, kept, archive=True)
            if self.memory.recall is not None:
                self.memory.recall.archived(left)

    def ready(self, span: tuple[float, float] | None) -> tuple[Stream, list[Words]]:
        fork = self.reader.fork(self.stream)
        owed = [words for words in self.owed if isinstance(words, Words)]
        return fork, prepare(self.reader, fork, self.memory, ASKED, self.now, span, owed)

    def held(self) -> list[Tensor]:
        """All that the stream's tokens are in the arena."""
        arena, slots = self.reader.arena, self.stream.slots.copy()
        pools = (arena.raw, arena.rotated, arena.value)
        return [p[:, torch.from_numpy(slots)].clone() for p in pools] + [
            torch.from_numpy(arena.places[:, slots])
        ]


SPANS = [(4.0, 6.0), (20.0, 21.0), (24.0, 28.0), (27.5, 29.0), (50.0, 60.0), (-9.0, -8.0)]


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("name", ["default", "timed"])
def test_a_focused_fork_is_a_stream_that_holds_these_turns_and_nothing_else(
    name: str, span: tuple[float, float]
) -> None:
    life = Life(name)
    before, table = life.held(), list(life.stream.table)
    free = life.reader.arena.free
    fork, _ = life.ready(span)
    middle = 0.5 * (span[0] + span[1])
    wanted = [n for n in range(30) if span[0] - HALF <= n <= span[1] + HALF]
    earlier = [n for n in range(30) if n < span[0] - HALF][-1:]
    if -1 < middle < 30:
        assert turns_of(fork.table) == [*earlier, *wanted]
    read = life.reader.arena
    entries = [Entry(part, *read.read(part.slots)) for part in fork.table]
    fresh = life.reader.open()
    life.reader.insert(fresh, entries)
    left = [s.base - fork.table[0].base for s in fork.table]
    right = [s.base - fresh.table[0].base for s in fresh.table]
    assert left == right and [s.kind for s in fresh.table] == [s.kind for s in fork.table]
    bases = life.memory.layout.bases([s.kind for s in fork.table], [s.span for s in fork.table])
    assert left == bases.tolist()
    one, other = life.reader.append([(fork, ASKED), (fresh, ASKED)])
    torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)
    life.reader.close(fork)
    life.reader.close(fresh)
    assert life.reader.arena.free == free
    for was, now in zip(before, life.held(), strict=True):
        assert torch.equal(was, now)
    assert all(a is b for a, b in zip(table, life.stream.table, strict=True))


@pytest.mark.parametrize("span", SPANS)
def test_bringing_back_and_then_narrowing_comes_to_the_same(span: tuple[float, float]) -> None:
    """By the letter of the design, which takes more room."""
    life = Life("timed")
    fork, _ = life.ready(span)
    plain = life.reader.fork(life.stream)
    assert life.memory.recall is not None
    life.reader.insert(plain, life.memory.recall.recall(Cue(life.now, span)))
    life.reader.rearrange(plain, focus(plain.table, span))
    assert [(s.kind, s.turn) for s in plain.table] == [(s.kind, s.turn) for s in fork.table]
    one, other = life.reader.append([(fork, ASKED), (plain, ASKED)])
    torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", ["default", "timed", "rex", "streamingvlm"])
def test_a_question_that_names_no_time_and_other_memories_keep_all(name: str) -> None:
    life = Life(name)
    own = {(segment.kind, segment.turn) for segment in life.stream.table}
    fork, _ = life.ready(None)
    assert own <= {(segment.kind, segment.turn) for segment in fork.table}
    if not life.memory.focused:
        fork, _ = life.ready((5.0, 6.0))
        assert own <= {(segment.kind, segment.turn) for segment in fork.table}


@pytest.mark.parametrize(
    ("span", "still"), [((28.0, 29.0), True), ((40.0, 41.0), True), ((3.0, 4.0), False)]
)
def test_the_end_of_the_last_turn_is_read_where_that_turn_is(
    span: tuple[float, float], still: bool
) -> None:
    life = Life("timed", owes=True)
    assert bool(life.ready(span)[1]) == still
    assert life.ready(None)[1] == life.owed != []


def test_words_are_weighed_only_where_no_time_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    life, asked = Life("default"), list[object]()
    queries = life.reader.queries

    def counted(stream: Stream, ids: Sequence[int]) -> Tensor:
        asked.append(ids)
        return queries(stream, ids)

    monkeypatch.setattr(life.reader, "queries", counted)
    life.ready((5.0, 6.0))
    assert asked == []
    life.ready(None)
    assert asked == [[11, 12, 13]]


def test_copies_are_made_of_what_moves_alone() -> None:
    """A focus within the cache: only what stands before it moves."""
    life = Life("timed")
    free = life.reader.arena.free
    life.ready((28.0, 29.0))
    pinned = sum(segment.length for segment in life.stream.table if segment.pinned)
    assert free - life.reader.arena.free == pinned
    free = life.reader.arena.free
    life.ready((28.0, 28.0))
    assert free - life.reader.arena.free == pinned


def test_pictures_of_the_embedded_model_fit_with_their_words() -> None:
    """Seven seconds, the one before, and a caption for each."""
    assert math.floor(TINY_SIZES.timed.tokens / TINY_SIZES.timed.pictures) >= 16 + 14
