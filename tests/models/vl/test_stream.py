"""Slots, places and forks of streams."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.models.vl import keeping
from millrace.models.vl.arena import ArenaFull, KVArena
from millrace.models.vl.decoding import SHORTEST, bucket, decode, feed
from millrace.models.vl.model import VLModel
from millrace.models.vl.segments import Pictures, Piece, Segment, Words
from millrace.models.vl.specs import TINY_VL
from millrace.models.vl.stream import Stream, StreamingVL
from millrace.models.vl.table import places_of
from torch import Tensor
from vl_oracle import randomize, small_spec
from vl_streams import opening, recent, turn

SPEC = small_spec(layers=2)
MODEL = VLModel(SPEC).double().eval().requires_grad_(False)
randomize(MODEL)


def made(slots: int = 400) -> StreamingVL:
    return StreamingVL(MODEL, slots)


def state(streaming: StreamingVL) -> tuple[object, ...]:
    arena = streaming.arena
    pools = (arena.raw, arena.rotated, arena.value)
    return (arena.free, arena.counts.tolist(), *(pool.sum().item() for pool in pools))


def ask(streaming: StreamingVL, stream: Stream) -> Tensor:
    """What a question makes of a stream, which stays as it is."""
    fork = streaming.fork(stream)
    logits = streaming.append([(fork, [Words("question", (40, 41))])])
    streaming.close(fork)
    return logits


def test_a_full_arena_changes_nothing() -> None:
    streaming = made(60)
    stream, other = streaming.open(), streaming.open()
    streaming.append([(stream, opening(SPEC)), (other, opening(SPEC))])
    for number in range(2):
        streaming.append([(stream, turn(SPEC, number)), (other, turn(SPEC, number, 1))])
    before, table = state(streaming), list(stream.table)
    assert streaming.arena.free == 0
    stream.begin("caption")
    for act in (
        lambda: streaming.append([(stream, turn(SPEC, 2)), (other, turn(SPEC, 2))]),
        lambda: streaming.step([(stream, 1)]),
        lambda: streaming.queries(stream, [1, 2]),
    ):
        with pytest.raises(ArenaFull, match="slots are free"):
            act()
    assert state(streaming) == before
    assert stream.table[:-1] == table and not stream.table[-1].length
    # Moving what a fork holds as well needs copies, and there is no room for them.
    fork = streaming.fork(stream)
    with pytest.raises(ArenaFull):
        streaming.rearrange(stream, [s for s in stream.table if s.turn != 0])
    assert stream.table[:-1] == table
    streaming.close(fork)
    streaming.rearrange(stream, [s for s in stream.table if s.turn != 0])
    streaming.append([(stream, turn(SPEC, 2))])


def test_bad_work_changes_nothing() -> None:
    streaming = made()
    stream = streaming.open()
    streaming.append([(stream, opening(SPEC))])
    before = state(streaming)
    bad: list[tuple[list[Piece], str]] = [
        ([Words("caption", (1000,))], "token ids"),
        ([Words("caption", (-1,))], "token ids"),
        ([Pictures(torch.zeros(5, 64), (1, 2, 3), 0, 0.0)], "features"),
        ([Pictures("a picture", (1, 2, 3), 0, 0.0)], "features"),
        ([], "nothing to append"),
        ([Words("caption", ())], "nothing to append"),
    ]
    for pieces, message in bad:
        with pytest.raises(ValueError, match=message):
            streaming.append([(stream, pieces)])
    with pytest.raises(ValueError, match="twice"):
        streaming.append([(stream, opening(SPEC)), (stream, opening(SPEC))])
    with pytest.raises(ValueError, match="tokens back"):
        streaming.append([(stream, opening(SPEC))], back=[6])
    with pytest.raises(ValueError, match="token id 1000"):
        streaming.step([(stream, 1000)])
    streaming.append([(stream, turn(SPEC, 0)[1:2])])
    with pytest.raises(ValueError, match="Stream.begin"):
        streaming.step([(stream, 1)])
    streaming.close(stream)
    streaming.close(stream)
    for act in (
        lambda: streaming.append([(stream, opening(SPEC))]),
        lambda: streaming.step([(stream, 1)]),
        lambda: streaming.fork(stream),
        lambda: streaming.rearrange(stream, []),
        lambda: streaming.insert(stream, []),
        lambda: streaming.retract(stream, 0),
        lambda: streaming.queries(stream, [1]),
        lambda: stream.begin("caption"),
    ):
        with pytest.raises(ValueError, match="closed"):
            act()
    assert before[0] == 394 and streaming.arena.free == 400


def test_a_failing_pass_gives_its_slots_back(monkeypatch: pytest.MonkeyPatch) -> None:
    streaming = made()
    stream = streaming.open()
    streaming.append([(stream, opening(SPEC))])
    stream.begin("caption")

    def fail(*_: object) -> Tensor:
        raise torch.cuda.OutOfMemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(streaming.model.text, "extend", fail)
        for act in (
            lambda: streaming.append([(stream, turn(SPEC, 0))]),
            lambda: streaming.step([(stream, 1)]),
            lambda: streaming.queries(stream, [1]),
        ):
            with pytest.raises(torch.cuda.OutOfMemoryError):
                act()
    assert streaming.arena.free == 394 and stream.length == 6


def test_logits_may_be_taken_before_the_end_and_the_end_taken_back() -> None:
    """Silence by default: its words go in with the pictures and are taken back if it speaks."""
    streaming = made()
    plain, ahead = streaming.open(), streaming.open()
    header, footer = [*opening(SPEC), *turn(SPEC, 0)[:2]], Words("footer", (3, 4), 0)
    expected = streaming.append([(plain, header)])
    both = streaming.append([(ahead, [*header, footer])], back=[2])
    torch.testing.assert_close(both, expected, atol=1e-9, rtol=1e-9)
    free = streaming.arena.free
    streaming.retract(ahead, 2)
    assert streaming.arena.free == free + 2 and ahead.position == plain.position
    again = [streaming.append([(one, [Words("caption", (8, 9), 0)])]) for one in (plain, ahead)]
    torch.testing.assert_close(*again, atol=1e-9, rtol=1e-9)
    with pytest.raises(ValueError, match="together"):
        streaming.retract(ahead, 3)
    with pytest.raises(ValueError, match="more to take back"):
        streaming.retract(ahead, 100)
    streaming.retract(ahead, 1)
    assert ahead.table[-1].ids.tolist() == [8]


def test_parts_of_words_leave_and_are_handed_back() -> None:
    streaming = made()
    stream = streaming.open()
    words = Words("memo", tuple(range(10, 20)))
    streaming.append([(stream, [*opening(SPEC), words, *turn(SPEC, 0)])])
    memo = stream.table[2]
    keys, values = streaming.arena.read(memo.slots)
    kept = [*stream.table[:2], memo.cut(0, 3), memo.cut(8, 10), *stream.table[3:]]
    (gone,) = streaming.rearrange(stream, kept, archive=True)
    assert gone.segment.ids.tolist() == [13, 14, 15, 16, 17]
    assert gone.segment.base == memo.base + 3
    assert torch.equal(gone.keys, keys[:, 3:8]) and torch.equal(gone.values, values[:, 3:8])
    places = places_of(stream.table)
    assert [s.length for s in stream.table[2:4]] == [3, 2]
    assert np.diff(places[0][:11]).tolist() == [1.0] * 10
    with pytest.raises(ValueError, match="together"):
        stream.table[-3].cut(0, 1)


def test_what_comes_back_was_never_gone() -> None:
    """Evicted and restored in the same order, a stream is again what it would have been."""
    streaming = made()
    whole, holed = streaming.open(), streaming.open()
    for stream in (whole, holed):
        streaming.append([(stream, opening(SPEC))])
        for number in range(5):
            streaming.append([(stream, turn(SPEC, number))])
    expected = ask(streaming, whole)
    gone = streaming.rearrange(holed, [s for s in holed.table if s.turn not in (1, 2)], True)
    assert len(gone) == 8 and [e.segment.turn for e in gone] == [1] * 4 + [2] * 4
    changed = ask(streaming, holed)
    assert (changed - expected).abs().max() > 1e-3
    before, fork = streaming.arena.counts.copy(), streaming.fork(holed)
    streaming.insert(fork, gone)
    # In their old order, though all kinds of a turn came back.
    assert [s.ids.tolist() for s in fork.table] == [s.ids.tolist() for s in whole.table]
    torch.testing.assert_close(ask(streaming, fork), expected, atol=1e-9, rtol=1e-9)
    streaming.close(fork)
    assert (streaming.arena.counts == before).all()
    assert torch.equal(ask(streaming, holed), changed)


def test_pictures_come_back_after_all() -> None:
    streaming = made()
    first, second = streaming.open(), streaming.open()
    pictures = turn(SPEC, 9)[1]
    assert isinstance(pictures, Pictures)
    for stream in (first, second):
        streaming.append([(stream, opening(SPEC))])
    streaming.insert(first, [pictures])
    streaming.append([(second, [pictures])])
    torch.testing.assert_close(ask(streaming, first), ask(streaming, second))


def test_restoring_into_a_full_arena_changes_nothing() -> None:
    streaming = made(90)
    stream = streaming.open()
    streaming.append([(stream, opening(SPEC))])
    for number in range(6):
        streaming.append([(stream, turn(SPEC, number))])
    gone = streaming.rearrange(stream, [s for s in stream.table if s.turn not in (2, 3)], True)
    filler = streaming.open()
    streaming.append([(filler, [Words("caption", (1,) * 30)])])
    fork, before = streaming.fork(stream), streaming.arena.counts.copy()
    with pytest.raises(ArenaFull):
        streaming.insert(fork, gone)
    assert (streaming.arena.counts == before).all() and fork.length == stream.length
    # There is room for two words and a picture, but not for the picture after them.
    length, pictures = stream.length, turn(SPEC, 9)[1]
    assert isinstance(pictures, Pictures) and gone[0].segment.length == 2
    for other in (fork, filler):
        streaming.close(other)
    filler = streaming.open()
    streaming.append([(filler, [Words("caption", (1,) * (streaming.arena.free - 13))])])
    with pytest.raises(ArenaFull):
        streaming.insert(stream, [gone[0], pictures, pictures])
    assert stream.length == length and streaming.arena.free == 13
    streaming.insert(stream, [gone[0], pictures])
    assert stream.length == length + 8


def test_queries_leave_no_trace() -> None:
    streaming = made()
    stream = streaming.open()
    streaming.append([(stream, [*opening(SPEC), *turn(SPEC, 0)])])
    free = streaming.arena.free
    queries = streaming.queries(stream, [4, 5, 6])
    assert queries.shape == (2, 3, 4, 16) and streaming.arena.free == free
    # Of the first layer they follow from the words alone.
    layer = MODEL.text.model.layers[0]
    embeds = MODEL.text.embed(torch.tensor([4, 5, 6]))
    plain = layer.self_attn.project(layer.input_layernorm(embeds))[0]  # type: ignore[operator, union-attr]
    torch.testing.assert_close(queries[0], plain)


def test_places_are_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(limit: float) -> tuple[Tensor, float]:
        monkeypatch.setattr(keeping, "REBASE", limit)
        streaming = made()
        stream, furthest = streaming.open(), 0.0
        streaming.append([(stream, opening(SPEC))])
        for number in range(25):
            streaming.append([(stream, turn(SPEC, number))])
            fork = streaming.fork(stream)
            streaming.rearrange(stream, recent(stream.table, 2))
            streaming.close(fork)
            furthest = max(furthest, stream.position)
        return ask(streaming, stream), furthest

    plain, far = run(1e9)
    counted, near = run(150.0)
    assert far > 200 and near < 175
    torch.testing.assert_close(plain, counted, atol=1e-9, rtol=1e-9)


def test_only_what_moves_is_rotated(monkeypatch: pytest.MonkeyPatch) -> None:
    streaming = made()
    stream, moved = streaming.open(), []
    move = streaming.arena.move

    def counted(slots: np.ndarray, places: np.ndarray) -> None:
        moved.append(len(slots))
        move(slots, places)

    monkeypatch.setattr(streaming.arena, "move", counted)
    streaming.append([(stream, opening(SPEC))])
    for number in range(4):
        streaming.append([(stream, turn(SPEC, number))])
    streaming.rearrange(stream, list(stream.table))
    assert moved == []
    end, newest = stream.position, places_of(stream.table[-8:])
    streaming.rearrange(stream, [s for s in stream.table if (s.turn, s.kind) != (0, "vision")])
    assert moved == [8] and stream.position == end
    assert np.array_equal(places_of(stream.table[-8:]), newest)


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_any_order_of_calls_keeps_the_books(data: st.DataObject) -> None:
    """Slots add up, tables are consistent, and a stream never notices another one."""
    streaming = made(300)
    streams: list[Stream] = []
    for _ in range(data.draw(st.integers(5, 25))):
        act = data.draw(
            st.sampled_from(["open", "fork", "close", "turn", "step", "forget", "take"])
        )
        if act == "open" or not streams:
            streams.append(streaming.open())
            continue
        stream = data.draw(st.sampled_from(streams))
        try:
            if act == "fork":
                streams.append(streaming.fork(stream))
            elif act == "close":
                streaming.close(stream)
                streams.remove(stream)
            elif act == "turn":
                streaming.append([(stream, turn(SPEC, stream.turn + 1))])
            elif act == "step":
                stream.begin("caption", stream.turn)
                streaming.step(
                    [(stream, 5), *((s, 6) for s in streams if s is not stream and _ends(s))]
                )
            elif act == "forget":
                kept = [s for s in stream.table if data.draw(st.booleans())]
                entries = streaming.rearrange(stream, kept, archive=True)
                if data.draw(st.booleans()):
                    streaming.insert(stream, entries)
            elif stream.table and stream.table[-1].kind != "vision":
                streaming.retract(stream, stream.table[-1].length)
        except ArenaFull:
            pass
        _check_books(streaming, streams)
    for stream in streams:
        streaming.close(stream)
    assert streaming.arena.free == 300 and not streaming.arena.counts.any()


def _ends(stream: Stream) -> bool:
    return bool(stream.table) and stream.table[-1].kind != "vision"


def _check_books(streaming: StreamingVL, streams: list[Stream]) -> None:
    arena = streaming.arena
    counts = np.zeros(arena.slots, int)
    for stream in streams:
        slots = np.concatenate([np.zeros(0, np.int64), *(s.slots for s in stream.table)])
        assert np.array_equal(slots, stream.slots) and len(np.unique(slots)) == len(slots)
        counts[slots] += 1
        if len(slots):
            places = places_of(stream.table)
            np.testing.assert_allclose(arena.places[:, slots], places, atol=keeping.STILL)
    assert np.array_equal(counts, arena.counts)
    assert arena.free == int((counts == 0).sum())


def test_an_arena_never_grows() -> None:
    arena = KVArena(SPEC.text, 50, "cpu", torch.float32)
    size, pointers = arena.nbytes, [p.data_ptr() for p in (arena.raw, arena.rotated, arena.value)]
    streaming = StreamingVL(MODEL, 200, recomputes=True)
    before = streaming.arena.nbytes
    stream = streaming.open()
    streaming.append([(stream, opening(SPEC))])
    for number in range(30):
        streaming.append([(stream, turn(SPEC, number))])
        streaming.rearrange(stream, recent(stream.table, 2)[-30:] or list(stream.table))
    assert streaming.arena.nbytes == before
    taken = arena.take(50)
    arena.drop(taken)
    assert arena.nbytes == size
    assert pointers == [p.data_ptr() for p in (arena.raw, arena.rotated, arena.value)]
    with pytest.raises(ValueError, match="holds nothing"):
        KVArena(SPEC.text, 0, "cpu", torch.float32)


def test_the_tower_sees_grids_of_any_streams_at_once() -> None:
    model = VLModel(TINY_VL).eval()
    streaming = StreamingVL(model, 10)
    pictures = torch.rand(3, 4, 3, 128, 96)
    features, grid = streaming.see(pictures)
    assert features.shape == (3, 12, 192) and grid == (1, 4, 3)
    one, _ = streaming.see(pictures[1:2])
    torch.testing.assert_close(features[1:2], one, atol=1e-5, rtol=1e-5)


def test_segments_of_hand_made_tables_can_be_kept() -> None:
    """A policy may move words, and change what they are."""
    streaming = made()
    stream = streaming.open()
    streaming.append([(stream, [*opening(SPEC), *turn(SPEC, 0), *turn(SPEC, 1)])])
    table: list[Segment] = list(stream.table)
    memo = replace(table[4], kind="memo")
    streaming.rearrange(stream, [table[0], table[1], memo, *table[6:]])
    assert [segment.kind for segment in stream.table[:4]] == ["system", "query", "memo", "header"]
    assert np.array_equal(places_of(stream.table)[0][:9], np.arange(6.0, 15.0))
    assert np.array_equal(places_of(stream.table)[:, 9:], places_of(table)[:, 18:])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_rows_and_keys_that_only_fill_a_step_change_nothing(count: int) -> None:
    """What a captured step has more than it needs, run without capturing."""
    streaming = made()
    streams = [streaming.open() for _ in range(count)]
    for number, stream in enumerate(streams):
        streaming.append([(stream, [*opening(SPEC), *turn(SPEC, number)[: 2 + number]])])
        stream.begin("caption")
    free = streaming.arena.free
    lines: list[Any] = []
    for stream in streams:
        slots = streaming.arena.take(1)
        streaming.arena.drop(slots)
        lines.append(np.append(stream.slots, slots + len(lines)))
    places = np.broadcast_to([s.position for s in streams], (3, count))
    arena, text = streaming.arena, MODEL.text
    exact = feed([5] * count, places, lines, count, max(map(len, lines)), arena.spare)
    padded = feed([5] * count, places, lines, 4, bucket(30), arena.spare)
    expected = decode(text, arena, exact)
    torch.testing.assert_close(decode(text, arena, padded)[:count], expected)
    said = streaming.step([(stream, 5) for stream in streams])
    torch.testing.assert_close(said, expected)
    assert arena.free == free - count


def test_sizes_of_captured_steps_grow_by_half_at_most() -> None:
    sizes = sorted({bucket(keys) for keys in range(1, 20_000)})
    assert sizes[0] == SHORTEST and sizes[-1] >= 19_999
    assert all(bucket(size) == size and bucket(size + 1) > size for size in sizes)
    assert all(new <= 1.5 * old for old, new in zip(sizes, sizes[1:], strict=False))
