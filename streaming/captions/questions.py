"""A question's life: it waits for the end of a turn, gets a fork of the stream with what memory
brings back, is read by the model, and answered token by token. No torch here."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...models.vl.segments import Words
from .writing import WordByWord, Writing

FOLLOW_S = 60.0
"""Seconds for which a question and its answer are known to the next one."""
FOLLOW_PAIRS = 2
"""Questions and answers that the next one knows, at most."""
SHORT = 3
"""A question of no more words than this leans on the one before."""

_LEANS = re.compile(
    r"^(?:and|but|so|then|what about|how about|which one|are you sure|why)\b"
    r"|\b(?:it|its|they|them|their|theirs|that one|this one|those|these|he|she|him|his|her|hers"
    r"|the same|the other|the others|again)\b",
    re.IGNORECASE,
)


@dataclass(slots=True, eq=False)
class Question:
    """One question of a viewer.

    Attributes:
        number: the asker's.
        at: second that it is about, where the asker named one.
        now: second of the stream at which it is put to the model.
        span: seconds of the stream that it is about; None for the present.
        fork: the stream that it is answered in, once there is one.
    """

    number: int
    text: str
    at: float | None
    now: float = 0.0
    span: tuple[float, float] | None = None
    fork: Any = None
    words: list[Words] = field(default_factory=list)
    writing: Writing | None = None
    told: WordByWord = field(default_factory=WordByWord)


@dataclass(slots=True)
class Exchange:
    """A question that was answered, in the model's words."""

    time: float
    words: tuple[Words, ...]


class Conversation:
    """What was asked and answered lately, for questions that lean on it. Bounded by number and
    time."""

    def __init__(self) -> None:
        self._past: deque[Exchange] = deque(maxlen=FOLLOW_PAIRS)

    def before(self, text: str, now: float) -> list[Words]:
        """Words to put before a question: none unless it leans on what was said."""
        while self._past and self._past[0].time < now - FOLLOW_S:
            self._past.popleft()
        if not leans_back(text):
            return []
        return [words for exchange in self._past for words in exchange.words]

    def answered(self, question: Question, ids: Sequence[int], ended: int | None) -> None:
        """Remember a question with its answer.

        Args:
            ended: the token that the model stopped with, if it did.
        """
        if not ids:
            return
        said = (*ids, ended) if ended is not None else tuple(ids)
        answer = Words("answer", said, time=question.now)
        self._past.append(Exchange(question.now, (*question.words, answer)))


def leans_back(text: str) -> bool:
    """Whether a question means something only after another one."""
    words = text.split()
    return len(words) <= SHORT or _LEANS.search(text.strip()) is not None


def shown(
    span: tuple[float, float], turns: Sequence[float], period: float
) -> tuple[float, float] | None:
    """The part of the past that shows a span: itself, if a turn of it was read. Turns in which the
    picture stood still were not: then the last one before the span shows what it would. None where
    there is no turn at all.

    Args:
        turns: seconds at which the turns that were read begin, ascending.
        period: of a turn.
    """
    if not turns:
        return None
    after = bisect_left(turns, span[0] - period / 2)
    if after < len(turns) and turns[after] <= span[1]:
        return span
    nearest = turns[max(0, after - 1)]
    return nearest, nearest
