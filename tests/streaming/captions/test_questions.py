"""Questions: what they lean on, which turns show their span, and answers word by word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from millrace.models.vl.segments import Kind, Words
from millrace.streaming.captions.answering import never_seen
from millrace.streaming.captions.questions import (
    FOLLOW_PAIRS,
    FOLLOW_S,
    Conversation,
    Question,
    leans_back,
    shown,
)
from millrace.streaming.captions.writing import WordByWord, Writing, first


@pytest.mark.parametrize(
    ("text", "leans"),
    [
        ("what color is it?", True),
        ("and the square?", True),
        ("how about the blue one over there then?", True),
        ("why?", True),
        ("Are they moving to the left now?", True),
        ("how many circles are there?", False),
        ("what happened 12 seconds ago?", False),
        ("which way is the star moving?", False),
    ],
)
def test_some_questions_lean_on_the_one_before(text: str, leans: bool) -> None:
    assert leans_back(text) is leans


@pytest.mark.parametrize(
    ("text", "at", "told"),
    [
        ("what happened a minute ago?", None, "before the beginning, this is second 20"),
        ("what happened 21 seconds ago?", None, ""),
        ("what was there at 1:30?", None, "second 90 is still to come, this is second 20"),
        ("what was there at 0:15?", None, ""),
        ("what is here?", None, ""),
        ("what happened in the last hour?", None, ""),
        ("what is here?", 24.0, ""),
        ("what is here?", 40.0, "second 40 is still to come"),
        ("what happened a minute ago?", 10.0, ""),
    ],
)
def test_a_time_that_was_never_seen_is_told(text: str, at: float | None, told: str) -> None:
    said = never_seen(Question(1, text, at), 20.0)
    assert (told in said) if told else said == ""


def asked(text: str, now: float) -> Question:
    return Question(1, text, None, now, words=[Words("question", (1, 2), time=now)])


def test_a_conversation_is_short_and_forgets() -> None:
    talk = Conversation()
    assert talk.before("and now?", 0.0) == []
    for n in range(4):
        talk.answered(asked("what?", float(n)), [10 + n], ended=99)
    before = talk.before("and now?", 5.0)
    assert [words.kind for words in before] == ["question", "answer"] * FOLLOW_PAIRS
    assert [words.ids for words in before[1::2]] == [(12, 99), (13, 99)]
    assert talk.before("how many circles are there?", 5.0) == []
    assert talk.before("and now?", 3.0 + FOLLOW_S + 1.0) == []


def test_no_answer_is_not_remembered() -> None:
    talk = Conversation()
    talk.answered(asked("what?", 0.0), [], ended=99)
    talk.answered(asked("what?", 0.0), [5], ended=None)
    assert [words.ids for words in talk.before("and?", 1.0)] == [(1, 2), (5,)]


@pytest.mark.parametrize(
    ("span", "turns", "found"),
    [
        ((3.0, 5.0), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], (3.0, 5.0)),
        ((3.2, 3.8), [0.0, 1.0, 2.0, 3.0, 4.0], (3.2, 3.8)),
        ((40.0, 45.0), [0.0, 30.0, 50.0], (30.0, 30.0)),  # the picture stood still from 30 on
        ((40.0, 45.0), [0.0, 30.0, 42.0], (40.0, 45.0)),
        ((1.0, 1.0), [0.0, 1.0, 2.0], (1.0, 1.0)),
        ((0.0, 2.0), [5.0, 6.0], (5.0, 5.0)),
        ((8.0, 9.0), [5.0, 6.0], (6.0, 6.0)),
        ((1.0, 2.0), [], None),
    ],
)
def test_still_seconds_are_shown_by_the_turn_before(
    span: tuple[float, float], turns: list[float], found: tuple[float, float] | None
) -> None:
    assert shown(span, turns, 1.0) == found


@given(st.lists(st.sampled_from(["a", "red", "circle,", "moves", "left."]), max_size=12))
def test_pieces_are_whole_words_and_join_to_the_text(words: list[str]) -> None:
    cutter, pieces, text = WordByWord(), [], ""
    for word in words:
        text = f"{text} {word}".strip()
        pieces.append(cutter.piece(text, done=False))
        assert all(part.strip() in text.split() for part in pieces[-1].split())
    pieces.append(cutter.piece(text, done=True))
    assert "".join(pieces) == text
    assert cutter.piece(text, done=True) == ""


def test_half_a_character_is_held_back() -> None:
    cutter = WordByWord()
    assert cutter.piece("caf\ufffd is", done=False) == ""
    assert cutter.piece("caf\u00e9 is open", done=False) == "caf\u00e9 is"


def test_captions_and_first_words_go_before_answers() -> None:
    def made(kind: Kind, heard: bool) -> Writing:
        return Writing(None, "v", kind, 9, (), lambda: None, lambda: None, heard=heard)

    old = [made("answer", True) for _ in range(3)]
    caption, new = made("caption", False), made("answer", False)
    going, waiting = first([*old, caption, new], 3)
    assert going == [old[0], caption, new] and waiting == old[1:]
    assert first([*waiting, *going], 3)[1] == [old[2], old[0]]
    assert first(old, 3) == (old, [])


def test_a_text_ends_with_a_stop_or_at_its_limit() -> None:
    writing = Writing(None, "v", "answer", 2, (), lambda: None, lambda: None)
    stop = frozenset({9})
    assert writing.give(1, stop) and writing.give(2, stop)
    assert not writing.give(3, stop)
    assert (writing.ids, writing.ended) == ([1, 2], None)
    ended = Writing(None, "v", "answer", 5, (), lambda: None, lambda: None)
    assert ended.give(1, stop) and not ended.give(9, stop)
    assert (ended.ids, ended.ended) == ([1], 9)
