"""How a fork is made ready for a question: the one way, for viewers and for training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..segments import Pictures, Segment, Words
from .focus import focus
from .policy import Cue, Memory

if TYPE_CHECKING:
    from torch import Tensor

    from .archive import Entry


class Asked(Protocol):
    """The part of `models.vl.stream.StreamingVL` that is used here; see there."""

    def queries(self, stream: Any, ids: Sequence[int]) -> Tensor: ...

    def rearrange(self, stream: Any, kept: Sequence[Segment]) -> list[Entry]: ...

    def insert(self, stream: Any, entries: Sequence[Entry | Pictures]) -> None: ...


def prepare(
    model: Asked,
    fork: Any,
    memory: Memory,
    question: Sequence[Words],
    now: float,
    span: tuple[float, float] | None,
    owed: Sequence[Words] = (),
) -> list[Words]:
    """Give a fork what a question is to be asked on: what the memory brings back stands in it in
    the order of time, and where the memory is `focused` and a span is named, all else is gone
    (`focus.focus`). Without a span nothing is ever taken away. The stream that was forked is left
    as it is, to the bit.

    Append what is returned, then the question, and let the model speak.

    Args:
        model: that the fork is of.
        fork: of the stream that is asked about, between two turns; nobody else uses it.
        memory: of that stream.
        question: its words, `Dialect.question`.
        now: second of the stream at which it is asked.
        span: seconds of the stream that it names.
        owed: words that end the last turn, if they have not been read yet.

    Returns:
        What of `owed` is to be read before the question.

    Raises:
        ArenaFull: there is no room for what comes back; the fork is of no use, close it.
    """
    found = list(_found(model, fork, memory, question, now, span))
    if memory.focused and span is not None:
        # Before anything is brought back, so that no room is taken for what would leave again.
        told = [_segment(entry) for entry in found]
        read = {id(part) for part in focus([*told, *fork.table, *owed], span)}
        model.rearrange(fork, [segment for segment in fork.table if id(segment) in read])
        found = [entry for entry, part in zip(found, told, strict=True) if id(part) in read]
        owed = [words for words in owed if id(words) in read]
    if found:
        model.insert(fork, found)
    return list(owed)


def _found(
    model: Asked,
    fork: Any,
    memory: Memory,
    question: Sequence[Words],
    now: float,
    span: tuple[float, float] | None,
) -> Sequence[Entry | Pictures]:
    """What the memory has on a question."""
    if memory.recall is None:
        return []
    queries = None
    by_time = memory.focused and span is not None
    if memory.recall.wants_queries and not by_time:
        queries = model.queries(fork, [token for words in question for token in words.ids])
    return memory.recall.recall(Cue(now, span, queries))


def _segment(entry: Entry | Pictures) -> Segment | Pictures:
    return entry if isinstance(entry, Pictures) else entry.segment
