"""Words that a model is saying: grown token by token, told word by word. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...models.vl.segments import Kind

UNFINISHED = "\ufffd"
"""What a decoder writes for a character of which bytes are still missing."""


@dataclass(slots=True, eq=False)
class Writing:
    """One text in the making.

    Attributes:
        stream: the model's stream that it goes into; opened for words of its kind.
        owner: the session that it is for.
        kind: "caption" or "answer".
        limit: tokens at most.
        recent: tokens of earlier captions, which it should not repeat.
        said: called when a token was added.
        finished: called once, when the model stopped, the limit was reached, or there was no room
            (then `short` is True).
        ids: its tokens so far. All but the last are in the stream.
    """

    stream: Any
    owner: str
    kind: Kind
    limit: int
    recent: Sequence[int]
    said: Callable[[], None]
    finished: Callable[[], None]
    ids: list[int] = field(default_factory=list)
    ended: int | None = None
    """The token that the model stopped with."""
    short: bool = False
    heard: bool = False
    """Its first word was told."""

    @property
    def urgent(self) -> bool:
        """Captions are, and answers whose first word is waited for."""
        return self.kind == "caption" or not self.heard

    def give(self, token: int, stop: frozenset[int]) -> bool:
        """The model's next token. Returns whether it goes on."""
        if token in stop or len(self.ids) >= self.limit:
            self.ended = token if token in stop else None
            return False
        self.ids.append(token)
        return True


def first(writings: Sequence[Writing], most: int) -> tuple[list[Writing], list[Writing]]:
    """Whose turn it is, and who waits: of more than `most` the urgent ones go, then those that
    stand first. Put those who waited before the others, and all have their turn."""
    order = sorted(range(len(writings)), key=lambda n: (not writings[n].urgent, n))
    chosen = set(order[:most])
    going = [writing for n, writing in enumerate(writings) if n in chosen]
    return going, [writing for n, writing in enumerate(writings) if n not in chosen]


@dataclass(slots=True)
class WordByWord:
    """Cuts a growing text into pieces of whole words; joined they are the text."""

    told: int = 0

    def piece(self, text: str, done: bool) -> str:
        """What may be told now that was not told before.

        Args:
            text: all of it so far; what was told of it before stays as it was.
            done: nothing more will come.
        """
        end = len(text) if done else text.rfind(" ")
        if end <= self.told or (not done and UNFINISHED in text[self.told : end]):
            return ""
        piece, self.told = text[self.told : end], end
        return piece
