"""What the engine of the captions is given: a model that reads streams, and how to use it.

No torch when this file is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ...models.vl.dialect import Dialect
from ...models.vl.memory.policy import Memory
from ...models.vl.segments import Piece, Segment
from ...models.vl.spans import parse_span
from .alerts import AlertRule
from .host import CaptionInfo
from .speaking import GateRule, SpeakRule

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.vl.memory.archive import Entry
    from ...models.vl.segments import Pictures


class Reader(Protocol):
    """The part of `models.vl.stream.StreamingVL` that the engine uses; see there. Streams are
    of the reader that opened them: `models.vl.stream.Stream`, or what a test puts in its place."""

    def open(self) -> Any: ...

    def fork(self, stream: Any) -> Any: ...

    def close(self, stream: Any) -> None: ...

    def see(self, pictures: Tensor) -> tuple[Tensor, tuple[int, int, int]]: ...

    def append(self, work: Sequence[tuple[Any, Sequence[Piece]]]) -> Tensor: ...

    def step(self, work: Sequence[tuple[Any, int]]) -> Tensor: ...

    def rearrange(
        self, stream: Any, kept: Sequence[Segment], archive: bool = False
    ) -> list[Entry]: ...

    def insert(self, stream: Any, entries: Sequence[Entry | Pictures]) -> None: ...

    def queries(self, stream: Any, ids: Sequence[int]) -> Tensor: ...


SpanReader = Callable[[str, float], "tuple[float, float] | None"]
"""Seconds of the stream that a question's words name ("12 seconds ago"), at a second of it."""


MemoryFactory = Callable[[str], Memory]
"""From a policy's name to what one viewer's memory is decided by."""


@dataclass(frozen=True, slots=True)
class TextRule:
    """How long the model may speak, and what it may not repeat.

    Attributes:
        caption_tokens, answer_tokens: at most.
        penalty, recent, ngram: of captions, see `models.vl.sampling.Sampling`. Answers may repeat
            what they like.
    """

    caption_tokens: int = 24
    answer_tokens: int = 96
    penalty: float = 1.0
    recent: int = 96
    ngram: int = 0


@dataclass(frozen=True, slots=True)
class CaptionModel:
    """A model ready to run, with its own habits.

    Attributes:
        span: what time a question names.
        device: where pictures go.
    """

    reader: Reader
    dialect: Dialect
    info: CaptionInfo
    memory: MemoryFactory
    span: SpanReader = parse_span
    device: str = "cpu"
    gate: GateRule = field(default_factory=GateRule)
    speak: SpeakRule = field(default_factory=SpeakRule)
    alert: AlertRule = field(default_factory=AlertRule)
    text: TextRule = field(default_factory=TextRule)
