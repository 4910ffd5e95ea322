"""What of a stream a question can see, and what is to be said of it then."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...vl import tiny_words as words
from .truth import Turn

Marks = NDArray[np.bool_]
MOST_TOLD = 2
"""Captions that an answer joins, at most."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a fork can see of its stream, by turns.

    Attributes:
        words: bool [turns], their stamps are there.
        pictures, said: likewise, their pictures and their captions.
    """

    words: Marks
    pictures: Marks
    said: Marks

    @property
    def last(self) -> int:
        """The newest turn that is there, -1 for none."""
        there = np.flatnonzero(self.words | self.pictures)
        return int(there[-1]) if len(there) else -1


@dataclass(frozen=True, slots=True)
class Told:
    """The turns of a lesson.

    Attributes:
        turns: what is so and happens.
        seconds: at which they are, ascending.
        true: what is to be said of each.
        said: what the stream says.
    """

    turns: list[Turn]
    seconds: list[int]
    true: list[str]
    said: list[str]

    def at(self, second: int, until: int) -> int:
        """The turn of a second, no later than turn `until`; -1 where none was read."""
        index = bisect_left(self.seconds, second)
        there = index <= until and index < len(self.seconds) and self.seconds[index] == second
        return index if there else -1


def asked_turns(span: tuple[float, float]) -> list[int]:
    """Seconds whose stamps a question about `span` names."""
    low, high = int(np.ceil(span[0] - 0.5)), int(np.floor(span[1] + 0.5))
    return list(range(max(0, low), max(low, high) + 1))


def happened(seconds: list[int], told: Told, until: int, memory: Memory) -> list[str] | None:
    """What memory has to say of each second: what is true where the pictures are there, else what
    was said. None where it has holes there, or where too much happened."""
    found = []
    for second in seconds:
        index = told.at(second, until)
        if index < 0:
            found.append("")
        elif memory.pictures[index]:
            found.append(told.true[index])
        elif memory.words[index] and memory.said[index]:
            found.append(told.said[index])
        elif told.true[index] or told.said[index]:
            return None
        else:
            found.append("")
    return found if sum(map(bool, found)) <= MOST_TOLD else None


def encode_answer(answer: str) -> tuple[int, ...]:
    if answer in words.SPOKEN:
        return (words.IDS[answer], words.END)
    return (*words.encode(answer), words.END)


def encode_told(seconds: list[int], texts: list[str]) -> tuple[int, ...]:
    """The seconds that were asked about, one by one: each one's stamp, and after it what happened
    then, or the mark of nothing. To say a stamp and go on as it went on then is the easiest way to
    find a caption again; only captions have words, so that nothing else is read."""
    ids: list[int] = []
    for place, (second, text) in enumerate(zip(seconds, texts, strict=True)):
        ids += words.encode(", then") if text and any(texts[:place]) else ()
        ids += (words.stamp(second), *(words.encode(text) or (words.NOTHING,)))
    return (*ids, *(() if any(texts) else words.encode("nothing happened")), words.END)


def spoken(text: str) -> tuple[int, ...]:
    """Tokens that end a turn."""
    return (*words.encode(text), words.END) if text else (words.SILENT,)


def joined(texts: list[str]) -> str:
    return ", then ".join(text for text in texts if text) or "nothing happened"
