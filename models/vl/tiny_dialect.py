"""How the embedded language model is spoken to. No torch here.

A turn is `<second>` pictures `<second>`, then a caption and `<end>`, or `<silent>`. The stamp
stands on both sides: pictures after it know their second, and the words of a caption follow it, so
that a question that names the second finds them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from . import tiny_words as words
from .segments import Piece, Words
from .spans import find_span

MOST_WORDS = 24
"""Of a question; what is longer is cut."""
MOST_STAMPS = 8


def stamps(span: tuple[float, float]) -> tuple[int, ...]:
    """Stamp tokens of the seconds of a span, at most `MOST_STAMPS`, evenly spread, in order."""
    first, last = math.ceil(span[0] - 0.5), math.floor(span[1] + 0.5)
    seconds = range(max(0, first), max(first, last) + 1)
    if len(seconds) > MOST_STAMPS:
        step = (len(seconds) - 1) / (MOST_STAMPS - 1)
        return tuple(words.stamp(seconds[round(i * step)]) for i in range(MOST_STAMPS))
    return tuple(words.stamp(second) for second in seconds)


class TinyDialect:
    """The `Dialect` of the embedded model."""

    silence: tuple[int, ...] = (words.SILENT,)
    stop: frozenset[int] = frozenset((words.END, words.SILENT))
    yes: int = words.IDS["yes"]
    no: int = words.IDS["no"]

    def encode(self, text: str) -> tuple[int, ...]:
        return words.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return words.decode(ids)

    def opening(self, instruction: str) -> list[Words]:
        """A mark of the beginning, and the wish where there is one."""
        found = [Words("system", (words.BEGIN,), pinned=True)]
        wish = words.encode_folded(instruction)[:MOST_WORDS]
        if wish:
            found.append(Words("query", (words.WISH, *wish, words.END), pinned=True))
        return found

    def turn(self, number: int, second: float, pictures: Sequence[Piece]) -> list[Piece]:
        mark = Words("header", (words.stamp(second),), number, second)
        return [mark, *pictures, mark]

    def footer(self, number: int, second: float, silent: bool) -> list[Words]:
        """`<end>` after a caption; `<silent>` ends a turn by itself."""
        return [] if silent else [Words("footer", (words.END,), number, second)]

    def question(self, text: str, now: float, span: tuple[float, float] | None) -> list[Words]:
        asked = words.encode_folded(find_span(text, now)[1])[:MOST_WORDS]
        named = (words.IN, *stamps(span)) if span is not None else ()
        ids = (words.ASK, *asked, *named, words.ANSWER)
        return [Words("question", ids, time=now)]

    def alert(self, condition: str, now: float) -> list[Words]:
        asked = words.encode_folded(condition)[:MOST_WORDS]
        return [Words("question", (words.WHEN, *asked, words.ANSWER), time=now)]
