"""Held-out streams through the real streaming path: one arena, a memory policy, forks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...vl import tiny_words as words
from ...vl.dialect import ending
from ...vl.memory.asking import prepare
from ...vl.memory.policies import Memory, policy_named
from ...vl.memory.sizes import TINY_SIZES
from ...vl.model import VLModel
from ...vl.segments import Pictures, Piece
from ...vl.stream import Stream as Reading
from ...vl.stream import StreamingVL
from ...vl.tiny_dialect import TinyDialect
from .sight import watch
from .truth import Turn, timeline
from .world import Stream

DIALECT = TinyDialect()
MOST_SAID = 48
SPEAK = 1.0
"""Log-odds at which the model speaks."""
AT_ONCE = 16
"""Looks that the tower sees in one batch."""


@dataclass(slots=True, eq=False)
class Show:
    """A stream with its truth and, computed once for all policies, its looks as features."""

    stream: Stream
    turns: list[Turn]
    features: Tensor
    grid: tuple[int, int, int]


@dataclass(slots=True, eq=False)
class Seat:
    """One show as one policy sees it."""

    show: Show
    reading: Reading
    memory: Memory
    said: list[str] = field(default_factory=list)
    owed: list[Piece] = field(default_factory=list)


def load_show(model: VLModel, stream: Stream) -> Show:
    turns = timeline(stream)
    parts: list[Tensor] = []
    grid = (1, 1, 1)
    with torch.no_grad():
        for first in range(0, len(turns), AT_ONCE):
            looks = watch(stream, first, min(first + AT_ONCE, len(turns)))
            found, grid = model.vision(torch.from_numpy(looks).movedim(-1, 2))
            parts.append(found)
    return Show(stream, turns, torch.cat(parts), grid)


class Player:
    """Plays several shows at once under one policy, for a viewer with or without a wish."""

    def __init__(
        self,
        model: VLModel,
        policy: str,
        shows: Sequence[Show],
        speak: float = SPEAK,
        wish: str = "",
    ) -> None:
        self.speak = speak
        first = policy_named(policy, TINY_SIZES)
        self.model = StreamingVL(model, 4096 * len(shows), first.layout)
        self.seats = [
            Seat(show, self.model.open(), policy_named(policy, TINY_SIZES)) for show in shows
        ]
        for seat in self.seats:
            seat.owed = list(DIALECT.opening(wish))

    def turn(self, number: int) -> None:
        """All seats see one turn and say what they have to."""
        seats = [seat for seat in self.seats if number < len(seat.show.turns)]
        work = []
        for seat in seats:
            look = Pictures(seat.show.features[number], seat.show.grid, number, float(number))
            pieces = [*seat.owed, *DIALECT.turn(number, float(number), [look])]
            work.append((seat.reading, pieces))
            if seat.memory.recall is not None:
                seat.memory.recall.seen(look)
        logits = self.model.append(work)
        first = [self._opening_word(row) for row in logits]
        spoken = [seat for seat, token in zip(seats, first, strict=True) if token != words.SILENT]
        for seat in spoken:
            seat.reading.begin("caption", number, float(number))
        rows = logits[[i for i, token in enumerate(first) if token != words.SILENT]]
        texts = self._say([seat.reading for seat in spoken], rows, words.SILENT)
        for seat, token in zip(seats, first, strict=True):
            silent = token == words.SILENT
            said = "" if silent else texts[spoken.index(seat)]
            seat.said.append(said)
            seat.owed = list(ending(DIALECT, number, float(number), silent))
        self._forget(seats)

    def _opening_word(self, row: Tensor) -> int:
        rest = row.clone()
        rest[words.SILENT] = -torch.inf
        odds = float(rest.logsumexp(0) - row[words.SILENT])
        return int(rest.argmax()) if odds > self.speak else words.SILENT

    def _say(self, readings: list[Reading], logits: Tensor, barred: int = -1) -> list[str]:
        """Greedy words of each until it ends."""
        said: list[list[int]] = [[] for _ in readings]
        going = list(range(len(readings)))
        rows = {index: logits[index] for index in going}
        for step in range(MOST_SAID):
            work = []
            for index in list(going):
                row = rows[index].clone()
                if step == 0 and barred >= 0:
                    row[barred] = -torch.inf
                token = int(row.argmax())
                if token in DIALECT.stop:
                    going.remove(index)
                    continue
                said[index].append(token)
                work.append((readings[index], token))
            if not work:
                break
            for index, row in zip(list(going), self.model.step(work), strict=True):
                rows[index] = row
        return [DIALECT.decode(ids) for ids in said]

    def _forget(self, seats: list[Seat]) -> None:
        for seat in seats:
            # What ends the turn belongs to it: read it before the window is asked.
            if seat.owed:
                self.model.append([(seat.reading, seat.owed)])
                seat.owed = []
            recall = seat.memory.recall
            kept = seat.memory.window.keep(seat.reading.table)
            gone = self.model.rearrange(seat.reading, kept, archive=recall is not None)
            if recall is not None:
                recall.archived(gone)

    def ask(
        self, asked: Sequence[tuple[Seat, str, float, tuple[float, float] | None]]
    ) -> list[str]:
        """Answers to questions (text, when, about which seconds), on forks."""
        forks, work = [], []
        for seat, text, now, span in asked:
            question = DIALECT.question(text, now, span)
            fork = self.model.fork(seat.reading)
            forks.append(fork)
            owed = prepare(self.model, fork, seat.memory, question, now, span, ())
            work.append((fork, [*owed, *question]))
        logits = self.model.append(work)
        for fork in forks:
            fork.begin("answer")
        texts = self._say(forks, logits)
        for fork in forks:
            self.model.close(fork)
        return texts

    def odds(self, asked: Sequence[tuple[Seat, str, float]]) -> list[float]:
        """log(p(yes) / p(no)) of conditions."""
        forks = [self.model.fork(seat.reading) for seat, _, _ in asked]
        work = [
            (fork, DIALECT.alert(text, now))
            for fork, (_, text, now) in zip(forks, asked, strict=True)
        ]
        logits = self.model.append(work)
        for fork in forks:
            self.model.close(fork)
        return (logits[:, DIALECT.yes] - logits[:, DIALECT.no]).tolist()
