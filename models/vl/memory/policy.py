"""The contracts of a memory: what stays in the cache, and what a question brings back. No torch
here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..positions import CONTIGUOUS, Layout
from ..segments import Pictures, Segment

if TYPE_CHECKING:
    from .archive import Entry


class Window(Protocol):
    """Decides at the end of a turn what the cache keeps."""

    def keep(self, table: Sequence[Segment]) -> list[Segment]:
        """What stays, in the order in which it is to stand; a segment of words may be `cut`, and
        words may move (a caption to the end of the memo). Pinned segments are always there."""
        ...


@dataclass(frozen=True, slots=True)
class Cue:
    """What is known of a question when memory is searched for it.

    Attributes:
        now: second of the stream at which it is asked.
        span: seconds of the stream that its words name, or None.
        queries: raw (unrotated) query vectors of its tokens, [layers, tokens, heads, head_dim];
            None where the policy does not ask for them (loosely typed: no torch here).
    """

    now: float
    span: tuple[float, float] | None
    queries: object = None


class Recall(Protocol):
    """Decides what a question brings back beside the cache."""

    wants_queries: bool

    def seen(self, pictures: Pictures) -> None:
        """A turn's pictures were read; called for each, in order."""
        ...

    def archived(self, entries: Sequence[Entry]) -> None:
        """Segments that left the cache, with their raw keys and values."""
        ...

    def recall(self, cue: Cue) -> Sequence[Entry | Pictures]:
        """What to put before the question, in the order of time: entries come back as they were,
        pictures are read anew. Bounded."""
        ...


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of one stream; a `recall` remembers, so that no two streams may share it.

    Attributes:
        window: what stays in the cache after a turn.
        recall: what a question brings back, or None for nothing.
        layout: where segments stand.
        focused: for a question that names a time, `recall` needs that time and nothing else, and
            the question reads that time alone (`focus.focus`).
    """

    window: Window
    recall: Recall | None = None
    layout: Layout = CONTIGUOUS
    focused: bool = False
