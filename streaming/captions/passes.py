"""The two passes of a tick through the model, for all streams at once.

Where the arena is too full for all, each one goes alone, and those for whom there is no room are
told; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...models.vl.arena import ArenaFull
from ...models.vl.dialect import Dialect
from ...models.vl.sampling import Sampling, choose
from ...models.vl.segments import Piece
from .choosing import without
from .model import Reader, TextRule
from .writing import Writing


@dataclass(slots=True, eq=False)
class Job:
    """Something to be read into a stream.

    Attributes:
        then: given the logits [vocab] of what follows, on the host.
        failed: called instead where there is no room; the stream is as it was.
    """

    stream: Any
    pieces: Sequence[Piece]
    then: Callable[[Tensor], None]
    failed: Callable[[], None]


class Passes:
    """Reads and writes for all streams of one model."""

    def __init__(self, reader: Reader, dialect: Dialect, text: TextRule) -> None:
        self._reader = reader
        self._stop = dialect.stop
        free = dialect.stop | set(dialect.silence)
        self._sampling = {
            "caption": Sampling(
                penalty=text.penalty, recent=text.recent, ngram=text.ngram, free=free
            ),
            "answer": Sampling(penalty=1.0),
        }

    def read(self, jobs: Sequence[Job]) -> None:
        """Append all jobs' pieces in one pass, and go on with each."""
        if not jobs:
            return
        try:
            rows = self._reader.append([(job.stream, job.pieces) for job in jobs])
        except ArenaFull:
            if len(jobs) > 1:
                for job in jobs:
                    self.read([job])
            else:
                jobs[0].failed()
            return
        for job, row in zip(jobs, rows.float().cpu(), strict=True):
            job.then(row)

    def grow(self, writings: Sequence[Writing]) -> list[Writing]:
        """Give all texts their next token in one pass. Returns those that go on."""
        if not writings:
            return []
        try:
            rows = self._reader.step([(writing.stream, writing.ids[-1]) for writing in writings])
        except ArenaFull:
            if len(writings) > 1:
                return [going for writing in writings for going in self.grow([writing])]
            writings[0].short = True
            writings[0].finished()
            return []
        pairs = zip(writings, rows.float().cpu(), strict=True)
        return [writing for writing, row in pairs if self.give(writing, row)]

    def give(self, writing: Writing, row: Tensor, forbidden: frozenset[int] = frozenset()) -> bool:
        """Choose a text's next token. Returns whether it goes on."""
        row = without(row, forbidden) if forbidden else row
        token = choose(row, [*writing.recent, *writing.ids], self._sampling[writing.kind])
        if not writing.give(token, self._stop):
            writing.finished()
            return False
        writing.said()
        return True
