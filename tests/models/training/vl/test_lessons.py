"""Lessons: packed forks see what they may, and their answers follow from the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from millrace.models.training.vl.asking import NUMBERS, about
from millrace.models.training.vl.forks import alert, before, lost, past, present, twice, when
from millrace.models.training.vl.labels import UNKNOWN
from millrace.models.training.vl.lesson import draw_lesson, tensors, write_lesson
from millrace.models.training.vl.meaning import meanings, same
from millrace.models.training.vl.packed import Seen, packed_hidden
from millrace.models.training.vl.plot import Plot, focused, lively, tell_of
from millrace.models.training.vl.recording import Recording
from millrace.models.training.vl.remembered import Memory, Told, asked_turns, happened, spoken
from millrace.models.training.vl.story import Taste, tell
from millrace.models.training.vl.telling import caption
from millrace.models.training.vl.truth import timeline
from millrace.models.training.vl.waiting import Condition, condition
from millrace.models.vl import tiny_words as words
from millrace.models.vl.decoder import Decoder
from millrace.models.vl.memory.focus import focus
from millrace.models.vl.positions import lay_out
from millrace.models.vl.segments import Pictures, Piece, Words
from millrace.models.vl.specs import TINY_VL


def _recording(seed: int, seconds: int = 25, size: tuple[int, int] = (96, 96)) -> Recording:
    """Of a stream, with features that are noise."""
    turns = timeline(tell(seed, seconds + 0.6, size))
    grid = size[0] // 32, size[1] // 32
    shape = len(turns), grid[0] * grid[1], TINY_VL.text.dim
    noise = np.random.default_rng(seed).standard_normal(shape)
    return Recording(turns, noise.astype(np.float16), grid)


def _told(seed: int, seconds: int = 25) -> Told:
    turns = timeline(tell(seed, seconds + 0.6))
    return tell_of(None, turns, Plot(tuple(range(len(turns))), len(turns)))


def _memory(told: Told, there: bool) -> Memory:
    marks = np.full(len(told.turns), there)
    return Memory(marks, marks, marks)


@pytest.mark.parametrize("seed", range(4))
def test_packed_forks_equal_the_whole_sequence_under_its_mask(seed: int) -> None:
    torch.manual_seed(0)
    text = Decoder(TINY_VL.text)
    lesson = draw_lesson(np.random.default_rng(seed), _recording(seed), 12)
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
    rng = np.random.default_rng(1)
    plan = Plot(tuple(range(5)), 5)
    lesson = write_lesson(rng, _recording(4, 5, (96, 128)), plan, 3, vary=False)
    pieces: list[Piece] = [Words("system", (words.BEGIN,))]
    for number, said in enumerate(lesson.told.said):
        mark = Words("header", (words.stamp(number),))
        pieces += [mark, Pictures(None, (1, 3, 4), number, float(number)), mark]
        pieces.append(Words("caption", spoken(said)))
    length = int((lesson.owner < 0).sum())
    wanted = lay_out(pieces, TINY_VL.text.tokens_per_second)
    np.testing.assert_allclose(lesson.positions[:, :length], wanted)


def test_what_is_learnt_are_the_next_tokens() -> None:
    lesson = draw_lesson(np.random.default_rng(11), _recording(11), 20)
    at = np.flatnonzero(lesson.weight > 0)
    assert (lesson.target[at] == lesson.ids[at + 1]).all()
    assert (lesson.owner[at] == lesson.owner[at + 1]).all()


def test_a_fork_never_sees_turns_to_come() -> None:
    lesson = draw_lesson(np.random.default_rng(12), _recording(12), 30)
    length = lesson.stream_mask.shape[0]
    for number, fork in enumerate(lesson.forks):
        row = lesson.fork_mask[np.flatnonzero(lesson.owner[length:] == number)[0]]
        stamps = [
            index
            for index in np.flatnonzero(row)
            if lesson.source[index] < 0 and words.is_stamp(lesson.ids[index])
        ]
        assert len(stamps) <= 2 * (fork.turn + 1)


@pytest.mark.parametrize("seed", range(6))
def test_a_question_about_a_time_sees_what_the_live_path_leaves(seed: int) -> None:
    told = _told(seed)
    plan = Plot(tuple(n for n in range(len(told.turns)) if n % 3), len(told.turns) // 2)
    told = tell_of(None, told.turns, plan)
    table = [Words("system", (1,), pinned=True)]
    table += [Words("header", (1,), n, float(s)) for n, s in enumerate(plan.seconds)]
    rng = np.random.default_rng(seed)
    for _ in range(20):
        time = when(rng, plan.seconds[-1], int(rng.integers(0, plan.seconds[-1])))
        memory = focused(rng, plan, time.span, plan.turns - 1)
        left = {part.turn for part in focus(table, time.span) if part.turn >= 0}
        assert set(np.flatnonzero(memory.words)) == left


@pytest.mark.parametrize("seed", range(12))
def test_answers_about_the_past_are_the_captions_of_then(seed: int) -> None:
    told, rng = _told(seed), np.random.default_rng(seed)
    last = len(told.turns) - 1
    for _ in range(20):
        time = when(rng, last, int(rng.integers(0, last)))
        fork = past(rng, told, last, time, _memory(told, True))
        if fork is None:
            continue
        stamps = [token for token in fork.ids[fork.said.index(True) :] if words.is_stamp(token)]
        seconds = [token - words.FIRST_STAMP for token in stamps]
        texts = [told.true[n] for n in seconds if n <= last and told.true[n]]
        assert ", then ".join(texts) == (fork.answer if texts else "")
        assert words.decode(fork.ids[fork.said.index(True) :]) == fork.answer


def test_what_is_not_remembered_is_not_answered() -> None:
    told, rng = _told(3), np.random.default_rng(0)
    nothing = _memory(told, False)
    forks = [past(rng, told, 20, when(rng, 20, 5), nothing) for _ in range(20)]
    forks += [before(rng, told, 20, when(rng, 20, 5), nothing) for _ in range(40)]
    assert {fork.answer for fork in forks if fork} == {"<forgot>"}


def test_pictures_are_believed_more_than_words() -> None:
    told = _told(3)
    turn = next(n for n, text in enumerate(told.true) if text and n > 2)
    said = list(told.true)
    said[turn] = "the camera stops"
    told = Told(told.turns, told.seconds, told.true, said)
    marks = np.full(len(said), True)
    assert happened([turn], told, 99, Memory(marks, marks, marks)) == [told.true[turn]]
    assert happened([turn], told, 99, Memory(marks, ~marks, marks)) == ["the camera stops"]
    assert happened([turn], told, 99, Memory(~marks, ~marks, ~marks)) is None


def test_a_span_names_the_turns_whose_stamps_it_writes() -> None:
    assert asked_turns((7.0, 9.0)) == [7, 8, 9]
    assert asked_turns((0.0, 0.0)) == [0]


def test_still_turns_are_left_out_as_the_live_path_does() -> None:
    turns = timeline(tell(2, 60.6, taste=Taste(quiet=0.9)))
    read = lively(turns, list(range(len(turns))))
    assert len(read) < len(turns)
    assert np.diff(read).max() <= 5
    assert all(n in read for n, turn in enumerate(turns) if turn.events)


@pytest.mark.parametrize("seed", range(12))
def test_alerts_are_told_yes_and_no_as_the_truth_has_it(seed: int) -> None:
    told, rng = _told(seed), np.random.default_rng(seed)
    there = _memory(told, True)
    answers = [
        fork.answer
        for n in (*range(len(told.turns)), *range(len(told.turns)))
        if (fork := alert(rng, told.turns, n, there))
    ]
    assert answers.count("yes") > 1
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


def test_what_is_lost_was_there_and_is_not_now() -> None:
    rng = np.random.default_rng(0)
    lists = [_told(seed, 40) for seed in range(6)]
    asks = [(told, n, lost(rng, told, n)) for told in lists for n in range(len(told.turns))]
    assert len({asked.kind for _, _, asked in asks if asked}) == 3
    for told, turn, asked in asks:
        if asked is None:
            continue
        now = told.turns[turn].state.things
        shapes = {thing.shape for thing in now}
        if asked.kind == "absent":
            assert asked.answer.removeprefix("i see no ") not in shapes
        else:
            assert asked.answer in ("no", "none")
        named = {t.shape for t in now if f"{t.shape}s" in asked.text or f" {t.shape}" in asked.text}
        assert not named, (asked, now)
        assert not any(f" {t.colour} things" in asked.text for t in now if t.colour)


def test_what_is_there_twice_is_counted() -> None:
    rng = np.random.default_rng(3)
    found = []
    for seed in range(12):
        for turn in timeline(tell(seed, 20.0, taste=Taste(crowded=True))):
            asked = twice(rng, turn.state)
            names = [t.shape for t in turn.state.things if t.colour] + [
                t.colour for t in turn.state.things if t.colour
            ]
            if asked is None:
                continue
            name = next(
                n
                for n in names
                if f"{n}s" in asked.text or f"{n}es" in asked.text or f" {n} things" in asked.text
            )
            assert asked.answer == NUMBERS[names.count(name)]
            found.append(asked.answer)
            assert len(set(names)) < len(names) and not turn.state.doubtful
    assert found.count("two") > len(found) / 2 > 10 and "one" in found


def test_one_is_hardly_rarer_beside_two_in_lessons_than_when_asked() -> None:
    # Where it was not, the decoder took one thing of a colour for two of it.
    rng = np.random.default_rng(5)
    learnt: list[bool] = []
    asked: list[bool] = []
    for seed in range(20):
        told = _told(seed)
        many = [n for n, turn in enumerate(told.turns) if len(turn.state.things) > 2]
        for turn in many[::3]:
            forks = [present(rng, told, turn, _memory(told, True)) for _ in range(40)]
            questions = [about(rng, told.turns[turn].state) for _ in range(40)]
            for found, into in ((forks, learnt), (questions, asked)):
                counts = [q.answer for q in found if q and q.kind == "count"]
                into += [answer == "one" for answer in counts if answer in ("one", "two")]
    assert min(len(learnt), len(asked)) > 100
    assert np.mean(learnt) > 0.6 * np.mean(asked), (np.mean(learnt), np.mean(asked))


def test_two_ways_to_say_it_mean_the_same() -> None:
    assert same("a red circle comes into view", "a red circle appears")
    assert same("the star stops", "the star stops") and not same("yes", "no")
    assert not same("a red circle appears", "a blue circle appears")
    assert len(meanings("a red circle appears and the camera pans left")) == 2
    assert meanings("a red circle and a blue star on a photo") == {
        ("scene", "a blue star", "a red circle", "a photo")
    }
    assert same(
        "a red circle, a blue star and something on a photo",
        "something, a blue star and a red circle on a photo",
    )
    assert not same("a red circle and a red circle on a photo", "a red circle on a photo")
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
