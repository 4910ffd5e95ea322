"""Each memory policy on a small random model over some hundred turns, with questions in forks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from millrace.models.vl import keeping
from millrace.models.vl.memory.archive import Entry
from millrace.models.vl.memory.asking import prepare
from millrace.models.vl.memory.groups import GroupPositions
from millrace.models.vl.memory.policies import policy_named
from millrace.models.vl.memory.policy import Cue, Memory
from millrace.models.vl.memory.sizes import (
    POLICIES,
    ArchiveSizes,
    ClusterSizes,
    MemorySizes,
    RetrievalSizes,
    SinkSizes,
    TimedSizes,
    WindowSizes,
)
from millrace.models.vl.model import VLModel
from millrace.models.vl.positions import lay_out
from millrace.models.vl.segments import Pictures, Segment, Words
from millrace.models.vl.stream import Stream, StreamingVL
from torch import Tensor
from vl_oracle import randomize, small_spec
from vl_streams import embeds_of, opening, turn

SPEC = small_spec(layers=2)
SIZES = MemorySizes(
    window=WindowSizes(vision_turns=3, text_turns=8, memo_first=5, memo_last=7),
    sinks=SinkSizes(first=4, last=60),
    archive=ArchiveSizes(max_bytes=60_000),
    timed=TimedSizes(pictures=2, tokens=40),
    clusters=ClusterSizes(clusters=4, details=2, candidates=1, max_bytes=20_000, tokens=40),
    retrieval=RetrievalSizes(planes=32, distance=7, mass=0.3, tokens=30),
)
WORDS, VISION, PINNED = 8, 6, 6
"""Most tokens of a turn, and of the opening, in what `live` plays."""
FORK = 60
"""What a fork holds of its own: what it recalls (at most 40), a question, an answer."""
BOUND = max(SIZES.window.bound(PINNED, WORDS, VISION), 4 + 60 + PINNED)

policies = pytest.mark.parametrize("name", POLICIES)


def small_model() -> VLModel:
    model = VLModel(SPEC)
    randomize(model, seed=3)
    return model.eval().requires_grad_(False)


MODEL = small_model()


@dataclass
class Life:
    """A stream and its memory, turn by turn, as the captions engine drives them."""

    name: str
    slots: int = 3 * BOUND + FORK
    archive: int = SIZES.archive.max_bytes

    def __post_init__(self) -> None:
        sizes = replace(SIZES, archive=ArchiveSizes(self.archive))
        self.memory: Memory = policy_named(self.name, sizes)
        self.reader = StreamingVL(MODEL, self.slots, self.memory.layout)
        self.stream: Stream = self.reader.open()
        self.reader.append([(self.stream, opening(SPEC))])
        self.now = 0

    def live(self, turns: int) -> Iterator[Tensor]:
        """Logits after each turn's last token."""
        for _ in range(turns):
            number = self.now
            pieces = turn(SPEC, number, caption=(number * 7) % 5)
            pieces = [p for p in pieces if isinstance(p, Pictures) or p.ids]
            yield self.reader.append([(self.stream, pieces)])
            self.now += 1
            recall = self.memory.recall
            if recall is not None:
                for piece in pieces:
                    if isinstance(piece, Pictures):
                        recall.seen(piece)
            kept = self.memory.window.keep(self.stream.table)
            left = self.reader.rearrange(self.stream, kept, archive=recall is not None)
            if recall is not None:
                recall.archived(left)

    def ask(self, span: tuple[float, float] | None) -> tuple[list[Entry | Pictures], Stream]:
        """A question in a fork, with what memory brings back, and some words of an answer."""
        fork = self.reader.fork(self.stream)
        ids, recall = (11, 12, 13, 14), self.memory.recall
        found: list[Entry | Pictures] = []
        if recall is not None:
            queries = self.reader.queries(fork, ids) if recall.wants_queries else None
            found = list(recall.recall(Cue(float(self.now), span, queries)))
            self.reader.insert(fork, found)
        logits = self.reader.append([(fork, [Words("question", ids)])])
        fork.begin("answer")
        for _ in range(4):
            assert logits.isfinite().all()
            logits = self.reader.step([(fork, int(logits.argmax()))])
        return found, fork


def extent(table: list[Segment]) -> float:
    """From the first place to the last one."""
    places = [place for s in table for place in (s.base, s.base + s.span)]
    return max(places) - min(places)


def state(life: Life) -> list[Tensor]:
    """All that the stream's tokens are in the arena."""
    arena, index = life.reader.arena, torch.from_numpy(life.stream.slots.copy())
    places = torch.from_numpy(arena.places[:, life.stream.slots])
    return [pool[:, index].clone() for pool in (arena.raw, arena.rotated, arena.value)] + [places]


@policies
def test_slots_and_places_stay_bounded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The arena has room for the bound and one turn; places are counted anew from zero when they
    have grown large (here early)."""
    monkeypatch.setattr(keeping, "REBASE", 300.0)
    life = Life(name, slots=BOUND + WORDS + VISION)
    pool = life.reader.arena.nbytes
    for _ in life.live(200):
        arena = life.reader.arena
        assert arena.slots - arena.free == life.stream.length <= arena.slots
        # A segment takes no more places than it has tokens.
        assert extent(life.stream.table) <= life.reader.arena.slots
        assert life.stream.position <= 300 + life.reader.arena.slots
    assert life.stream.length <= BOUND
    assert life.reader.arena.nbytes == pool
    held = [segment for segment in life.stream.table if segment.pinned]
    assert [segment.ids.tolist() for segment in held] == [[5, 6, 7, 8], [9, 10]]


@policies
@pytest.mark.parametrize("span", [None, (30.0, 32.0)], ids=["now", "past"])
def test_questions_leave_their_stream_bit_equal(
    name: str, span: tuple[float, float] | None
) -> None:
    life = Life(name)
    for _ in life.live(60):
        pass
    before, table = state(life), list(life.stream.table)
    free = life.reader.arena.free
    found, fork = life.ask(span)
    if life.memory.recall is not None:
        # Of the policies, only "timed" has nothing for a question that names no time.
        assert bool(found) == (name != "timed" or span is not None)
    for one, other in zip(before, state(life), strict=True):
        assert torch.equal(one, other)
    assert all(one is other for one, other in zip(table, life.stream.table, strict=True))
    assert life.reader.arena.free < free
    life.reader.close(fork)
    assert life.reader.arena.free == free


@policies
def test_a_stream_that_is_asked_goes_on_as_one_that_is_not(name: str) -> None:
    """Questions stay open over several turns while the stream goes on."""
    quiet, asked = Life(name), Life(name)
    forks: list[Stream] = []
    for number, (one, other) in enumerate(zip(quiet.live(60), asked.live(60), strict=True)):
        assert torch.equal(one, other), number
        if number % 20 == 15:
            span = (number - 12.0, number - 10.0) if number % 40 == 15 else None
            forks.append(asked.ask(span)[1])
        if number % 20 == 18:
            asked.reader.close(forks.pop())
    assert [s.kind for s in quiet.stream.table] == [s.kind for s in asked.stream.table]


@policies
def test_the_same_turns_leave_the_same_memory(name: str) -> None:
    one, other = Life(name), Life(name)
    for _ in zip(one.live(40), other.live(40), strict=True):
        pass
    for first, second in zip(state(one), state(other), strict=True):
        assert torch.equal(first, second)
    found, again = one.ask((20.0, 25.0))[0], other.ask((20.0, 25.0))[0]
    assert [_name(item) for item in found] == [_name(item) for item in again]


@policies
@pytest.mark.parametrize("narrowed", [False, True])
def test_a_question_takes_what_comes_back_and_what_stands_before_it(
    name: str, narrowed: bool
) -> None:
    """The arena has room for the stream, one turn, what a fork reads of its own, and copies of all
    that is kept but pictures (`slots_for` counts on it)."""
    moved = SIZES.window.bound(PINNED, WORDS, 0)
    life = Life(name, slots=BOUND + WORDS + VISION + FORK + moved)
    asked = 0
    for number, _ in enumerate(life.live(60)):
        for back in (1, 3, 12, 25):
            if number % 4 or number < back:
                continue
            free, asked = life.reader.arena.free, asked + 1
            span = (float(number - back), float(number - back + 2))
            if narrowed:
                fork = life.reader.fork(life.stream)
                words = [Words("question", (11, 12, 13, 14))]
                prepare(life.reader, fork, life.memory, words, float(number), span)
                life.reader.append([(fork, [*words, *words, *words])])
            else:
                fork = life.ask(span)[1]
            life.reader.close(fork)
            assert life.reader.arena.free == free
    assert asked > 40


def _name(item: Entry | Pictures) -> tuple[str, int, float]:
    segment = item.segment if isinstance(item, Entry) else item
    return segment.kind, segment.turn, segment.time


def kinds_of(table: list[Segment], number: int) -> list[str]:
    return [segment.kind for segment in table if segment.turn == number]


@pytest.mark.parametrize(
    ("second", "kinds"),
    [
        (30, ["header", "vision", "footer"]),  # nothing was said
        (31, ["header", "vision", "memo", "footer"]),  # still there as a memo when the rest left
        (54, ["header", "vision", "caption", "footer"]),  # only its picture had left
    ],
)
def test_a_turn_that_comes_back_stands_as_it_stood(second: int, kinds: list[str]) -> None:
    life = Life("default", archive=1 << 20)
    for _ in life.live(60):
        pass
    _, fork = life.ask((float(second), float(second)))
    assert kinds_of(fork.table, second) == kinds
    turns = [s.turn for s in fork.table if s.turn >= 0 and s.kind not in ("question", "answer")]
    assert turns == sorted(turns)


def test_a_picture_between_two_headers_comes_back_between_them() -> None:
    life = Life("default", archive=1 << 20)
    for number in range(30):
        mark, (_, vision, _, footer) = (
            Words("header", (77,), number, float(number)),
            turn(SPEC, number),
        )
        life.reader.append([(life.stream, [mark, vision, mark, footer])])
        kept = life.memory.window.keep(life.stream.table)
        assert life.memory.recall is not None
        life.memory.recall.archived(life.reader.rearrange(life.stream, kept, archive=True))
    life.now = 30
    for second in (10, 24):
        _, fork = life.ask((float(second), float(second)))
        assert kinds_of(fork.table, second) == ["header", "vision", "header", "footer"]
        life.reader.close(fork)


def test_what_comes_back_has_the_keys_that_it_had() -> None:
    """Up to the type of the archive: half precision."""
    life = Life("default", archive=1 << 20)
    raw: Tensor | None = None
    for _ in life.live(60):
        for segment in life.stream.table:
            if segment.turn == 30 and segment.kind == "vision" and raw is None:
                raw = life.reader.arena.read(segment.slots)[0]
    _, fork = life.ask((30.0, 30.0))
    (back,) = [s for s in fork.table if s.turn == 30 and s.kind == "vision"]
    assert raw is not None
    torch.testing.assert_close(life.reader.arena.read(back.slots)[0], raw, rtol=2**-10, atol=1e-6)
    assert np.isfinite(life.reader.arena.places[:, back.slots]).all()


def test_groups_in_a_stream_stand_as_in_a_whole_sequence() -> None:
    """Appended bit by bit, in float64, against one pass at the places of the layout."""
    model = small_model().double()
    layout = GroupPositions(2.0)
    reader = StreamingVL(model, 200, layout)
    stream = reader.open()
    pieces = [*opening(SPEC), *(piece for n in range(4) for piece in turn(SPEC, n))]
    logits = [reader.append([(stream, [piece])])[0] for piece in pieces]
    places = torch.from_numpy(lay_out(pieces, SPEC.text.tokens_per_second, layout))
    hidden = model.text(embeds_of(reader, pieces)[None], places[:, None])[0]
    last = np.cumsum([segment.length for segment in stream.table]) - 1
    torch.testing.assert_close(torch.stack(logits), model.text.logits(hidden[last]))


def test_groups_stand_as_fresh_ones_after_each_eviction() -> None:
    life = Life("group")
    for _ in life.live(40):
        table = life.stream.table
    fresh = life.memory.layout.bases([s.kind for s in table], [s.span for s in table])
    assert np.ptp(np.array([s.base for s in table]) - fresh) < 1e-9
