"""The questions of one viewer that are being answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..streaming.captions.host import AnswerPart
from .caption_desk import CaptionDesk

Send = Callable[..., None]
"""(kind, **fields): one message to the page."""
Hearer = Callable[[AnswerPart], None]


@dataclass(eq=False)
class Asked:
    """A question that is being answered.

    Attributes:
        at: when it was asked.
        id: the asker's own name for it.
        hear: who else wants the answer, besides the page.
        spoke: the first word came.
    """

    at: float
    id: int | None
    hear: Hearer | None
    spoke: bool = False


class Answers:
    """Passes answers on to whoever asked, and counts them. The host bounds how many are open."""

    def __init__(self, desk: CaptionDesk, send: Send) -> None:
        self._desk = desk
        self._send = send
        self._open: dict[int, Asked] = {}

    def expect(self, number: int, id: int | None, hear: Hearer | None) -> None:
        """A question was put, and the host calls it `number`."""
        self._open[number] = Asked(self._desk.clock.now(), id, hear)

    def take(self, part: AnswerPart) -> None:
        """A piece of an answer came."""
        asked = self._open.get(part.question)
        if asked is None:
            return
        if part.text and not asked.spoke:
            asked.spoke = True
            self._desk.tally.first_word.observe(self._desk.clock.now() - asked.at)
        if part.done:
            del self._open[part.question]
            self._desk.tally.question("failed" if part.error else "answered")
        self.send(asked.id, part)
        if asked.hear is not None:
            asked.hear(part)

    def drop(self, why: str) -> None:
        """No more answers come: tell all who wait."""
        for number in tuple(self._open):
            self.take(AnswerPart(number, "", done=True, error=why))

    def send(self, id: int | None, part: AnswerPart) -> None:
        """One message to the page."""
        self._send(
            "answer",
            id=id,
            question=part.question,
            text=part.text,
            done=part.done,
            span=part.span,
            looks=part.looks,
            error=part.error,
        )
