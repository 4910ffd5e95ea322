"""How a model is spoken to: the words around pictures, captions and questions. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .segments import Piece, Words


class Dialect(Protocol):
    """One model's way of writing turns. A turn is a header, pictures, an opening; then the model
    speaks or says `silence`; then a footer."""

    silence: tuple[int, ...]
    """What the model says when there is nothing to say; also ends a caption where it must."""
    stop: frozenset[int]
    """Any of these ends a caption or an answer; none of them is shown."""
    yes: int
    no: int
    """First tokens of the answers to an alert."""

    def encode(self, text: str) -> tuple[int, ...]: ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text as the viewer reads it, also of an answer that is still growing."""
        ...

    def opening(self, instruction: str) -> list[Words]:
        """What stands before all turns: the system's words, and the viewer's standing wish pinned
        where there is one."""
        ...

    def turn(self, number: int, second: float, pictures: Sequence[Piece]) -> list[Piece]:
        """Everything of a turn before the model speaks."""
        ...

    def footer(self, number: int, second: float, silent: bool) -> list[Words]:
        """What ends a turn after the caption (`silent`: after the words of `silence`); see
        `ending`, which is what to call."""
        ...

    def question(self, text: str, now: float, span: tuple[float, float] | None) -> list[Words]:
        """A question, up to where the answer begins.

        Args:
            now: second of the stream at which it is asked.
            span: seconds of the stream that it is about, where its words name some.
        """
        ...

    def alert(self, condition: str, now: float) -> list[Words]:
        """ "Tell me when ...": up to where the model says `yes` or `no`."""
        ...


def ending(dialect: Dialect, number: int, second: float, silent: bool) -> list[Words]:
    """What ends a turn, whoever runs it: the footer, and before it, where the model did not speak,
    its silence. That is a part of the footer and no caption: nothing was said that a memory could
    keep when the turn leaves."""
    said = [Words("footer", dialect.silence, number, second)] if silent else []
    return [*said, *dialect.footer(number, second, silent)]
