"""Lessons: packed forks see what they may, and their answers follow from the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from millrace.models.training.vl.asking import about
from millrace.models.training.vl.forks import (
    Memory,
    alert,
    asked_turns,
    before,
    happened,
    past,
    present,
)
from millrace.models.training.vl.labels import UNKNOWN
from millrace.models.training.vl.lesson import Plot, draw_lesson, tensors, write_lesson
from millrace.models.training.vl.meaning import meanings, same
from millrace.models.training.vl.packed import Seen, packed_hidden
from millrace.models.training.vl.story import tell
from millrace.models.training.vl.telling import caption
from millrace.models.training.vl.truth import Turn, timeline
from millrace.models.training.vl.waiting import Condition, condition
from millrace.models.vl import tiny_words as words
from millrace.models.vl.decoder import Decoder
from millrace.models.vl.positions import lay_out
from millrace.models.vl.segments import Pictures, Piece, Words
from millrace.models.vl.specs import TINY_VL


def _all(turns: list[Turn]) -> Memory:
    there = np.ones(len(turns), bool)
    return Memory(there, there)


def _nothing(turns: list[Turn]) -> Memory:
    there = np.zeros(len(turns), bool)
    return Memory(there, there)


@pytest.mark.parametrize("seed", range(4))
def test_packed_forks_equal_the_whole_sequence_under_its_mask(seed: int) -> None:
    torch.manual_seed(0)
    text = Decoder(TINY_VL.text)
    lesson = draw_lesson(seed, (96, 96), 32, 12, False, short=seed % 2 == 0)
    data = tensors(lesson)
    embeds = torch.randn(len(lesson.ids), TINY_VL.text.dim)
    length = len(data["stream"])
    owner = data["owner"][length:]
    seen = Seen(data["stream"], data["forks"], owner, torch.float32)
    packed = packed_hidden(text, embeds, data["positions"], seen)
    count = len(lesson.ids)
    mask = torch.zeros(count, count, dtype=torch.bool)
    mask[:length, :length], mask[length:, :length] = data["stream"], data["forks"]
    own = owner[:, None] == owner[None]
    mask[length:, length:] = own & torch.ones_like(own).tril()
    whole = text(embeds[None], data["positions"][:, None], mask)[0]
    torch.testing.assert_close(packed, whole, atol=2e-5, rtol=1e-4)


def test_tokens_stand_where_the_streaming_path_puts_them() -> None:
    stream = tell(4, 5.6, (96, 128))
    rng = np.random.default_rng(1)
    plan = Plot(5, 5, 16, 100, 0)
    lesson = write_lesson(rng, stream, plan, (3, 4), 3, vary=False)
    pieces: list[Piece] = [Words("system", (words.BEGIN,))]
    captions = lesson.captions
    for number, said in enumerate(captions):
        mark = Words("header", (words.stamp(number),))
        spoken = (*words.encode(said), words.END) if said else (words.SILENT,)
        pieces += [mark, Pictures(None, (1, 3, 4), number, float(number)), mark]
        pieces.append(Words("caption", spoken))
    length = int((lesson.owner < 0).sum())
    if words.WISH not in lesson.ids[:length]:
        wanted = lay_out(pieces, TINY_VL.text.tokens_per_second)
        np.testing.assert_allclose(lesson.positions[:, :length], wanted)


def test_what_is_learnt_are_the_next_tokens() -> None:
    lesson = draw_lesson(11, (96, 96), 32, 20, False)
    at = np.flatnonzero(lesson.weight > 0)
    assert (lesson.target[at] == lesson.ids[at + 1]).all()
    assert (lesson.owner[at] == lesson.owner[at + 1]).all()


def test_a_fork_never_sees_turns_to_come() -> None:
    lesson = draw_lesson(12, (96, 96), 32, 30, False)
    length = lesson.stream_mask.shape[0]
    for number, fork in enumerate(lesson.forks):
        row = lesson.fork_mask[np.flatnonzero(lesson.owner[length:] == number)[0]]
        stamps = [
            index
            for index in np.flatnonzero(row)
            if lesson.source[index] < 0 and words.is_stamp(lesson.ids[index])
        ]
        assert len(stamps) <= 2 * (fork.turn + 1)


@pytest.mark.parametrize("seed", range(12))
def test_answers_about_the_past_are_the_captions_of_then(seed: int) -> None:
    turns = timeline(tell(seed, 25.0))
    captions = [caption(turn, n == 0) for n, turn in enumerate(turns)]
    rng = np.random.default_rng(seed)
    for _ in range(20):
        fork = past(rng, turns, captions, len(turns) - 1, _all(turns))
        if fork is None:
            continue
        stamps = [token for token in fork.ids[fork.said.index(True) :] if words.is_stamp(token)]
        seconds = [token - words.FIRST_STAMP for token in stamps]
        told = [captions[n] for n in seconds if n < len(captions) and captions[n]]
        assert ", then ".join(told) == (fork.answer if told else "")
        assert words.decode(fork.ids[fork.said.index(True) :]) == fork.answer
        said = [text for text in fork.answer.split(", then ") if text != "nothing happened"]
        assert all(text in captions for text in said)


def test_what_is_not_remembered_is_not_answered() -> None:
    turns = timeline(tell(3, 25.0))
    captions = [caption(turn, n == 0) for n, turn in enumerate(turns)]
    with pytest.raises(LookupError):
        happened([4, 5], captions, _nothing(turns))
    rng = np.random.default_rng(0)
    forks = [before(rng, turns, 20, _nothing(turns)) for _ in range(40)]
    assert {fork.answer for fork in forks if fork} == {"<forgot>"}


def test_a_span_names_the_turns_whose_stamps_it_writes() -> None:
    assert asked_turns((7.0, 9.0)) == [7, 8, 9]
    assert asked_turns((0.0, 0.0)) == [0]


@pytest.mark.parametrize("seed", range(12))
def test_alerts_are_told_yes_and_no_as_the_truth_has_it(seed: int) -> None:
    turns = timeline(tell(seed, 25.0))
    rng = np.random.default_rng(seed)
    answers = [
        fork.answer for n in range(len(turns)) if (fork := alert(rng, turns, n, _all(turns)))
    ]
    assert answers.count("yes") > 2
    assert answers.count("no") > 2


def test_a_condition_holds_while_its_state_does() -> None:
    turns = timeline(tell(8, 25.0))
    waited = Condition("there is a red circle", "there", "", "circle", "red")
    for number, turn in enumerate(turns):
        there = any(t.name == "red circle" for t in turn.state.things)
        if there:
            assert waited.holds(turns, number) is True
        elif not turn.state.doubtful:
            assert waited.holds(turns, number) is False


def test_the_turn_beside_an_event_is_in_doubt() -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        turns = timeline(tell(seed, 25.0))
        for number in range(2, len(turns) - 1):
            waited = condition(rng, turns, number)
            if waited is not None and waited.event and waited.holds(turns, number):
                assert waited.holds(turns, number + 1) is not False


def test_questions_about_the_present_follow_from_the_state() -> None:
    rng = np.random.default_rng(2)
    for seed in range(10):
        turns = timeline(tell(seed, 12.0))
        for turn in turns:
            asked = about(rng, turn.state)
            if asked is None:
                continue
            if asked.kind == "color":
                assert asked.answer in {thing.colour for thing in turn.state.things}
            if asked.kind == "shape":
                shapes = {f"a {thing.shape}" for thing in turn.state.things}
                assert asked.answer in shapes
        assert present(rng, turns, 0, _all(turns)) is None or True


def test_two_ways_to_say_it_mean_the_same() -> None:
    assert same("a red circle comes into view", "a red circle appears")
    assert same("the star stops", "the star stops") and not same("yes", "no")
    assert not same("a red circle appears", "a blue circle appears")
    assert len(meanings("a red circle appears and the camera pans left")) == 2
    assert meanings("a red circle and a blue star on a photo") == {
        ("scene", "a red circle and a blue star", "a photo")
    }
    assert meanings("nothing happened") == frozenset()


@pytest.mark.parametrize("seed", range(10))
def test_every_caption_has_a_meaning(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for number, turn in enumerate(timeline(tell(seed, 40.0))):
        text = caption(turn, number == 0, rng)
        plain = caption(turn, number == 0)
        assert all(meaning[0] != "?" for meaning in meanings(text))
        if not turn.fresh:
            assert meanings(text) == meanings(plain)
    assert UNKNOWN == -100
