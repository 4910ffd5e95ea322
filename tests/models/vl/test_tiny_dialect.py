"""How the embedded model is spoken to, and which seconds a question names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from millrace.models.vl import tiny_words as words
from millrace.models.vl.segments import Words
from millrace.models.vl.spans import find_span, named_second, parse_span
from millrace.models.vl.tiny_dialect import MOST_STAMPS, MOST_WORDS, TinyDialect, stamps

DIALECT = TinyDialect()


@pytest.mark.parametrize(
    ("text", "now", "span"),
    [
        ("what happened 12 seconds ago?", 100.0, (87.0, 89.0)),
        ("what happened twelve seconds ago", 100.0, (87.0, 89.0)),
        ("what was there 5s ago", 100.0, (94.0, 96.0)),
        ("What happened a minute ago?", 100.0, (38.0, 42.0)),
        ("half a minute ago, what color was it", 100.0, (69.0, 71.0)),
        ("what happened a minute and a half ago", 100.0, (8.0, 12.0)),
        ("what happened 2 minutes and 10 seconds ago", 200.0, (68.0, 72.0)),
        ("what was there at 1:05?", 100.0, (64.0, 66.0)),
        ("what was there at 1:00:05?", 4000.0, (3603.0, 3607.0)),
        ("what happened in the last 10 seconds", 100.0, (90.0, 100.0)),
        ("what happened in the last minute", 100.0, (40.0, 100.0)),
        ("how did it look at the beginning", 100.0, (0.0, 2.0)),
        ("what just happened", 100.0, (97.0, 100.0)),
        ("what happened 90 seconds ago", 30.0, (0.0, 0.0)),
        ("what happened earlier", 100.0, None),
        ("what color is the circle", 100.0, None),
        ("is it 5 o'clock", 100.0, None),
    ],
)
def test_words_for_the_past_name_seconds(
    text: str, now: float, span: tuple[float, float] | None
) -> None:
    assert parse_span(text, now) == span


def test_a_named_second_may_lie_outside_of_the_stream() -> None:
    assert named_second("What happened a minute  ago?", 20) == -40
    assert named_second("at 1:02:03", 20) == 3723
    assert named_second("what happened in the last minute", 20) is None


def test_words_that_name_seconds_are_taken_out() -> None:
    assert (
        find_span("What color was the star 12 seconds ago?", 50)[1] == "what color was the star ?"
    )


@given(st.text(max_size=60), st.floats(0, 1e6))
def test_a_span_lies_between_the_beginning_and_now(text: str, now: float) -> None:
    span = parse_span(text, now)
    assert span is None or 0 <= span[0] <= span[1] <= now


@given(st.floats(0, 1e5), st.floats(0, 1e4))
def test_stamps_of_a_span_are_few_and_begin_and_end_it(start: float, length: float) -> None:
    found = stamps((start, start + length))
    assert 1 <= len(found) <= MOST_STAMPS
    assert found[0] == words.stamp(max(0, -(-(start - 0.5) // 1)))


def test_a_question_holds_its_stamps_and_ends_where_the_answer_begins() -> None:
    (question,) = DIALECT.question("what happened 12 seconds ago", 100.0, (87.0, 89.0))
    assert question.ids[0] == words.ASK
    assert question.ids[-1] == words.ANSWER
    assert [words.stamp(s) for s in (87, 88, 89)] == list(question.ids[-4:-1])
    assert "seconds" not in words.decode(question.ids)


def test_an_endless_question_is_cut() -> None:
    (question,) = DIALECT.question("circle " * 5000, 0.0, None)
    assert len(question.ids) == MOST_WORDS + 2


def test_a_turn_has_its_stamp_on_both_sides() -> None:
    look = Words("vision", (1, 2, 3))
    header, seen, opening = DIALECT.turn(7, 131.0, [look])
    assert seen is look
    assert isinstance(header, Words)
    assert isinstance(opening, Words)
    assert header.ids == opening.ids == (words.stamp(3),)
    assert DIALECT.footer(7, 131.0, silent=True) == []
    assert DIALECT.footer(7, 131.0, silent=False)[0].ids == (words.END,)


def test_a_wish_is_pinned() -> None:
    assert len(DIALECT.opening("")) == 1
    wish = DIALECT.opening("only the camera")[1]
    assert wish.pinned
    assert wish.kind == "query"
