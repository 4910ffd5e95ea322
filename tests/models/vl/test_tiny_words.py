"""Words of the embedded language model: what is folded, what is told apart, what is unknown."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from millrace.models.training.vl import asking, telling, waiting
from millrace.models.vl import tiny_words as words
from millrace.models.vl.specs import TINY_VL


def test_the_vocabulary_fits_the_model() -> None:
    assert len(words.TOKENS) == len(set(words.TOKENS)) <= TINY_VL.text.vocab


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What colour is the ball?", "what color is the circle"),
        ("which direction is the box going", "which way is the square moving"),
        ("are there any violet hearts", "is there a purple heart"),
        ("a red disc shows up", "a red circle appears"),
        ("the red circle leaves the picture", "the red circle disappears"),
        ("do you see a star?", "is there a star"),
        ("is it DARK", "is it dim"),
    ],
)
def test_other_words_for_the_same_are_the_same(one: str, other: str) -> None:
    assert words.encode_folded(one) == words.encode_folded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("is the star moving", "is the star still"),
        ("a red circle appears", "the red circle disappears"),
        ("it gets darker", "it gets brighter"),
        ("how many circles", "how many squares"),
    ],
)
def test_what_differs_stays_apart(one: str, other: str) -> None:
    assert words.encode_folded(one) != words.encode_folded(other)


def test_unknown_words_are_marked() -> None:
    assert words.encode_folded("where is the giraffe")[-1] == words.UNKNOWN


def _templates() -> list[str]:
    found: list[str] = []
    for module in (asking, waiting):
        for name, value in vars(module).items():
            if name.isupper() and isinstance(value, tuple) and name != "FOREIGN":
                found += [text for text in value if isinstance(text, str)]
    found += [text for ways in telling.WISHES.values() for text in ways]
    fills = {"s": "circle", "p": "circles", "x": "the circle", "c": "red", "w": "left"}
    fills |= {"n": "two", "a": "a red circle"}
    return [re.sub(r"\{(\w)\}", lambda m: fills[m[1]], text) for text in found]


def test_every_way_to_ask_is_in_known_words() -> None:
    strange = [text for text in _templates() if words.UNKNOWN in words.encode_folded(text)]
    assert not strange


def test_every_caption_is_read_back_as_written() -> None:
    for ways in telling.CAPTIONS.values():
        for text in ways:
            caption = text.format(x="red circle", way="left")
            assert words.decode(words.encode(caption)) == caption


@given(st.integers(0, 10_000))
def test_stamps_come_round(second: int) -> None:
    assert words.stamp(second) == words.stamp(second + words.STAMPS)
    assert words.stamp(second) != words.stamp(second + 1)


@given(st.text(max_size=80))
def test_any_text_has_tokens_of_the_vocabulary(text: str) -> None:
    assert all(0 <= i < len(words.TOKENS) for i in words.encode_folded(text))


def test_sentences_of_one_token_are_spoken_in_full() -> None:
    assert "colors" in words.decode((words.LIMITS, words.END))
    assert words.decode((words.FORGOT, words.END)) == words.SPOKEN["<forgot>"]
