"""The exactness table: a stream is what transformers makes of the same tokens, and when not."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from millrace.models.vl.model import VLModel
from millrace.models.vl.positions import Growing, lay_out
from millrace.models.vl.segments import Piece, Segment, Words
from millrace.models.vl.stream import Stream, StreamingVL
from torch import Tensor
from vl_oracle import pair, small_spec, their_logits
from vl_streams import (
    PlainDecoder,
    embeds_of,
    opening,
    places_of,
    recent,
    tokens_kept,
    turn,
)

SPEC = small_spec()
SLOTS = 1000


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-4) -> None:
    """Within what transformers loses by its float32 angles and norms."""
    assert theirs.std() > 0.3, "nothing to compare"
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


def test_t0_places_may_be_shifted() -> None:
    ours, theirs = pair(SPEC)
    pieces = [*opening(SPEC), *turn(SPEC, 0), *turn(SPEC, 1)]
    streaming = StreamingVL(ours, SLOTS)
    embeds = embeds_of(streaming, pieces)
    places = torch.from_numpy(lay_out(pieces, 2.0))
    base = ours.text(embeds[None], places[:, None])
    close(ours.text.logits(base)[0], their_logits(theirs, embeds, places))
    for shift in (0.5, 100.0, 1e4, 1e6, -30.0):
        moved = ours.text(embeds[None], places[:, None] + shift)
        # Theirs loses 1e-4 at 1e4 and 1e-2 at 1e6: its angles are float32.
        assert (moved - base).abs().max() < 1e-7


@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_t1_in_parts_is_at_once(chunk: int) -> None:
    ours, theirs = pair(SPEC)
    turns: list[list[Piece]] = [opening(SPEC), *(turn(SPEC, n, caption=n) for n in range(1, 6))]
    pieces = [piece for part in turns for piece in part]
    streaming = StreamingVL(ours, SLOTS)
    stream = streaming.open()
    logits = torch.empty(0)
    for first in range(0, len(pieces), chunk):
        logits = streaming.append([(stream, pieces[first : first + chunk])])
    embeds, places = embeds_of(streaming, pieces), torch.from_numpy(lay_out(pieces, 2.0))
    np.testing.assert_array_equal(places_of(stream.table), places.numpy())
    close(logits[0], their_logits(theirs, embeds, places)[-1])


def test_t1_word_by_word_is_at_once() -> None:
    ours, theirs = pair(SPEC)
    streaming = StreamingVL(ours, SLOTS)
    stream = streaming.open()
    streaming.append([(stream, [*opening(SPEC), *turn(SPEC, 0)[:2]])])
    stream.begin("caption", 0)
    words = (3, 1, 4, 1, 5)
    steps = [streaming.step([(stream, word)]) for word in words]
    assert stream.table[-1].ids.tolist() == list(words)
    pieces = [*opening(SPEC), *turn(SPEC, 0)[:2], Words("caption", words)]
    embeds, places = embeds_of(streaming, pieces), torch.from_numpy(lay_out(pieces, 2.0))
    close(torch.cat(steps), their_logits(theirs, embeds, places)[-len(words) :])


def test_t2_what_left_is_hidden() -> None:
    ours, theirs = pair(SPEC)
    streaming = StreamingVL(ours, SLOTS, layout=Growing())
    stream = streaming.open()
    pieces = opening(SPEC)
    streaming.append([(stream, pieces)])
    visible = torch.ones(SLOTS, SLOTS, dtype=torch.bool).tril()
    order = list(range(stream.length))
    logits = torch.empty(0)
    for number in range(8):
        new = turn(SPEC, number)
        count = sum(len(w.ids) if isinstance(w, Words) else 6 for w in new)
        order += range(order[-1] + 1 if order else 0, (order[-1] + 1 if order else 0) + count)
        # Tokens are numbered as they came, whatever has left since.
        total = embeds_of(streaming, [*pieces, *new]).shape[0]
        order[-count:] = range(total - count, total)
        pieces = [*pieces, *new]
        logits = streaming.append([(stream, new)])
        kept = recent(stream.table, 2)
        left = tokens_kept(stream, kept)
        gone = sorted(set(order) - {order[token] for token in left})
        visible[total:, gone] = False
        streaming.rearrange(stream, kept)
        order = [order[token] for token in left]
    last = streaming.append([(stream, [Words("question", (1, 2))])])
    pieces = [*pieces, Words("question", (1, 2))]
    embeds, places = embeds_of(streaming, pieces), torch.from_numpy(lay_out(pieces, 2.0))
    size = len(embeds)
    assert not visible[size - 1, :size].all()
    their = their_logits(theirs, embeds, places, visible[:size, :size])
    close(last[0], their[-1])
    close(logits[0], their[-3])


def run_and_forget(
    streaming: StreamingVL, plain: PlainDecoder | None, turns: int
) -> tuple[Stream, list[Piece], Tensor, Tensor]:
    """A stream whose old pictures leave each turn, beside a plain decoder that does the same.

    Returns:
        The stream, the pieces it holds, the last logits of both.
    """
    stream, held = streaming.open(), opening(SPEC)
    logits, plain_logits = streaming.append([(stream, held)]), torch.empty(0)
    if plain:
        plain.forward(embeds_of(streaming, held), torch.from_numpy(lay_out(held, 2.0)))
    for number in range(turns):
        kept = recent(stream.table, 2)
        alive = {id(segment) for segment in kept}
        held = [p for p, s in zip(held, stream.table, strict=True) if id(s) in alive]
        if plain:
            plain.keep(tokens_kept(stream, kept))
        streaming.rearrange(stream, kept)
        new = turn(SPEC, number)
        held = [*held, *new]
        logits = streaming.append([(stream, new)])
        if plain:
            places = torch.from_numpy(lay_out(held, 2.0))
            plain_logits = plain.forward(embeds_of(streaming, new), places)
    return stream, held, logits[0], plain_logits


def test_t3_with_one_layer_a_stream_is_its_kept_tokens() -> None:
    spec = small_spec(layers=1)
    ours, theirs = pair(spec)
    streaming = StreamingVL(ours, SLOTS)
    stream, held, logits, _ = run_and_forget(streaming, None, 9)
    assert stream.length < 2 * 13 + 9 * 6 + 10
    embeds, places = embeds_of(streaming, held), torch.from_numpy(lay_out(held, 2.0))
    close(logits, their_logits(theirs, embeds, places)[-1])


def test_t4_with_more_layers_it_remembers_what_left() -> None:
    ours, theirs = pair(SPEC)
    streaming = StreamingVL(ours, SLOTS)
    _, held, logits, _ = run_and_forget(streaming, None, 9)
    embeds, places = embeds_of(streaming, held), torch.from_numpy(lay_out(held, 2.0))
    assert (logits - their_logits(theirs, embeds, places)[-1]).abs().max() > 0.05


def test_t5_a_plain_decoder_with_unrotated_keys_says_the_same() -> None:
    ours, theirs = pair(SPEC)
    plain = PlainDecoder(theirs, SPEC.text)
    streaming = StreamingVL(ours, SLOTS)
    stream, _, logits, plain_logits = run_and_forget(streaming, plain, 16)
    assert stream.position > 140 and len(plain.keys[0]) == stream.length
    close(logits, plain_logits[-1], 2e-6)


def test_t6_a_fork_leaves_its_parent_as_it_is() -> None:
    ours, _ = pair(SPEC)
    streaming = StreamingVL(ours, SLOTS)

    def run(asking: bool) -> tuple[list[Tensor], Stream]:
        stream = streaming.open()
        streaming.append([(stream, opening(SPEC))])
        said, fork = [], None
        for number in range(8):
            said.append(streaming.append([(stream, turn(SPEC, number))]))
            if asking and number == 3:
                fork = streaming.fork(stream)
                streaming.append([(fork, [Words("question", (50, 51, 52))])])
                fork.begin("answer")
            if fork:
                # The parent evicts and moves while the fork goes on answering from what it saw.
                answers.append(streaming.step([(fork, 60 + number)]))
            streaming.rearrange(stream, recent(stream.table, 2))
        if fork:
            streaming.close(fork)
        return said, stream

    answers: list[Tensor] = []
    alone, first = run(asking=False)
    asked, second = run(asking=True)
    for left, right in zip(alone, asked, strict=True):
        assert torch.equal(left, right)
    assert streaming.arena.free == SLOTS - first.length - second.length
    # The fork answers as one that nobody moved anything under.
    stream = streaming.open()
    pieces = [piece for number in range(4) for piece in turn(SPEC, number)]
    streaming.append([(stream, opening(SPEC))])
    for number in range(4):
        streaming.append([(stream, turn(SPEC, number))])
        if number < 3:
            streaming.rearrange(stream, recent(stream.table, 2))
    streaming.append([(stream, [Words("question", (50, 51, 52))])])
    stream.begin("answer")
    still = [streaming.step([(stream, 60 + number)]) for number in range(3, 8)]
    assert pieces
    for left, right in zip(answers, still, strict=True):
        torch.testing.assert_close(left, right, atol=1e-9, rtol=1e-9)


def test_t7_reading_anew_is_transformers_over_what_is_kept() -> None:
    ours, theirs = pair(SPEC)
    streaming = StreamingVL(ours, SLOTS, recomputes=True)
    stream, held, before, _ = run_and_forget(streaming, None, 9)
    fork = streaming.fork(stream)
    streaming.recompute(stream)
    asked = [*held, Words("question", (4,))]
    embeds, places = embeds_of(streaming, asked), torch.from_numpy(lay_out(asked, 2.0))
    close(
        streaming.append([(stream, [Words("question", (4,))])])[0],
        their_logits(theirs, embeds, places)[-1],
    )
    other = streaming.append([(fork, [Words("question", (4,))])])[0]
    assert (other - their_logits(theirs, embeds, places)[-1]).abs().max() > 0.05
    assert before.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_t7_together_is_alone(dtype: torch.dtype) -> None:
    ours, _ = pair(SPEC, dtype=dtype)
    tolerance = 1e-9 if dtype == torch.float64 else 2e-4

    def run(streaming: StreamingVL, seeds: list[int]) -> list[list[Tensor]]:
        streams = [streaming.open() for _ in seeds]
        said: list[list[Tensor]] = [[] for _ in seeds]
        streaming.append([(stream, opening(SPEC)) for stream in streams])
        for number in range(6):
            work = [
                (stream, turn(SPEC, number, seed, caption=1 + (seed + number) % 4))
                for stream, seed in zip(streams, seeds, strict=True)
                if (number + seed) % 3  # Each stream sits some turns out.
            ]
            if not work:
                continue
            out = streaming.append(work)
            due = [stream for stream, _ in work]
            for stream, logits in zip(due, out, strict=True):
                said[streams.index(stream)].append(logits)
                stream.begin("caption", number)
            for word in range(3):
                steps = streaming.step([(stream, 7 * word + number) for stream in due])
                for stream, logits in zip(due, steps, strict=True):
                    said[streams.index(stream)].append(logits)
            for stream in due:
                streaming.rearrange(stream, recent(stream.table, 1 + stream.number % 3))
        return said

    together = run(StreamingVL(ours, SLOTS), [0, 1, 2, 3])
    alone = StreamingVL(ours, SLOTS)
    for seed in range(4):
        # Numbers of streams count from 0 here too, and decide what each one keeps.
        assert alone._opened == seed
        for left, right in zip(together[seed], run(alone, [seed])[0], strict=True):
            torch.testing.assert_close(left, right, atol=tolerance, rtol=tolerance)


def test_t7_a_replay_is_the_same_to_the_bit() -> None:
    ours, _ = pair(SPEC, dtype=torch.float32)
    first, second = StreamingVL(ours, SLOTS), StreamingVL(ours, SLOTS)
    for streaming in (first, second):
        run_and_forget(streaming, None, 7)
        run_and_forget(streaming, None, 5)
    for left, right in zip(
        (first.arena.raw, first.arena.rotated, first.arena.value),
        (second.arena.raw, second.arena.rotated, second.arena.value),
        strict=True,
    ):
        assert torch.equal(left, right)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_t7_a_graph_is_the_plain_step(dtype: torch.dtype) -> None:
    ours = deepcopy(pair(SPEC, dtype=dtype)[0]).cuda()
    with_graphs, plain = StreamingVL(ours, SLOTS), StreamingVL(ours, SLOTS)
    plain.steps.captures = False
    assert with_graphs.steps.captures
    said: list[list[Tensor]] = []
    for streaming in (with_graphs, plain):
        streams = [streaming.open() for _ in range(3)]
        said.append([])
        for number, stream in enumerate(streams):
            streaming.append([(stream, opening(SPEC))])
            for index in range(4 * number + 1):
                streaming.append([(stream, turn(SPEC, index))])
            stream.begin("caption")
        for word in range(12):
            active = streams[: 1 + word % 3]
            said[-1].append(streaming.step([(stream, word) for stream in active]).cpu())
    tolerance = 1e-4 if dtype == torch.float32 else 0.15
    for left, right in zip(*said, strict=True):
        torch.testing.assert_close(left, right, atol=tolerance, rtol=tolerance)


def test_models_are_not_changed_by_running() -> None:
    ours, _ = pair(SPEC, dtype=torch.float32)
    assert isinstance(ours, VLModel)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    run_and_forget(StreamingVL(ours, SLOTS), None, 3)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_kept_segments_are_checked() -> None:
    ours, _ = pair(SPEC, dtype=torch.float32)
    streaming = StreamingVL(ours, SLOTS)
    stream, other = streaming.open(), streaming.open()
    for one in (stream, other):
        streaming.append([(one, opening(SPEC))])
    foreign: list[Segment] = [*stream.table, other.table[0]]
    for kept in (foreign, [stream.table[0], stream.table[0]]):
        with pytest.raises(ValueError, match="segments to keep"):
            streaming.rearrange(stream, kept)
    assert stream.length == 6
