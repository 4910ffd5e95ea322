"""A model of captions with knobs: it reads the brightness of pictures, and says it."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from millrace.models.vl.arena import ArenaFull
from millrace.models.vl.memory.policy import Memory
from millrace.models.vl.memory.windows import LastPictures
from millrace.models.vl.segments import Kind, Pictures, Piece, Segment, Words
from millrace.streaming.captions.alerts import AlertRule
from millrace.streaming.captions.host import (
    AlertFired,
    AnswerPart,
    CaptionEvent,
    CaptionInfo,
    Said,
    Telling,
)
from millrace.streaming.captions.looks import LookSpec
from millrace.streaming.captions.model import CaptionModel
from millrace.streaming.captions.speaking import GateRule, SpeakRule
from millrace.streaming.frames import PTS_RATE, Frame, i420_shape

WORDS = [
    *("<silent>", "<end>", "<header>", "<open>", "<ask>", "<answer>", "<when>", "yes", "no"),
    *("<begin>", "<wish>", "<unknown>", "the", "picture", "is", "now", "level", "it", "was"),
    *(str(n) for n in range(64)),
]
IDS = {word: number for number, word in enumerate(WORDS)}
LOOK = LookSpec(factor=16, min_pixels=32 * 32, max_pixels=32 * 32, frames=2, period=1.0)


class FakeDialect:
    """Words and their ids; a level is a number 0..63."""

    silence: tuple[int, ...] = (IDS["<silent>"],)
    stop: frozenset[int] = frozenset({IDS["<end>"]})
    yes, no = IDS["yes"], IDS["no"]

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(IDS.get(word, IDS["<unknown>"]) for word in text.casefold().split())

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(WORDS[id] for id in ids)

    def opening(self, instruction: str) -> list[Words]:
        system = Words("system", (IDS["<begin>"],), pinned=True)
        wish = (IDS["<wish>"], *self.encode(instruction))
        return [system, Words("query", wish, pinned=True)] if instruction else [system]

    def turn(self, number: int, second: float, pictures: Sequence[Piece]) -> list[Piece]:
        head = Words("header", (IDS["<header>"],), number, second)
        return [head, *pictures, Words("header", (IDS["<open>"],), number, second)]

    def footer(self, number: int, second: float, silent: bool) -> list[Words]:
        return [] if silent else [Words("footer", (IDS["<end>"],), number, second)]

    def question(self, text: str, now: float, span: tuple[float, float] | None) -> list[Words]:
        when = self.encode(str(int(span[0]) % 64)) if span else ()
        ids = (IDS["<ask>"], *self.encode(text), *when, IDS["<answer>"])
        return [Words("question", ids, time=now)]

    def alert(self, condition: str, now: float) -> list[Words]:
        return [Words("question", (IDS["<when>"], *self.encode(condition)), time=now)]


@dataclass(eq=False)
class FakeStream:
    table: list[Segment] = field(default_factory=list)
    shared: int = 0
    closed: bool = False

    @property
    def length(self) -> int:
        return sum(segment.length for segment in self.table)

    def begin(self, kind: Kind, turn: int = -1, time: float = 0.0) -> None:
        self.table.append(_segment(Words(kind, (), turn, time), np.zeros(0, np.int64)))

    def ids(self) -> list[int]:
        """All its tokens; -1 - level for a picture."""
        return [int(id) for segment in self.table for id in segment.ids]


def _segment(piece: Piece, slots: np.ndarray) -> Segment:
    if isinstance(piece, Words):
        ids = np.array(piece.ids, np.int64)
    else:
        assert isinstance(piece.features, torch.Tensor)
        ids = -1 - piece.features[:, 0].round().long().numpy()
    offsets = np.zeros((3, len(ids)))
    return Segment(
        piece.kind, piece.turn, piece.time, piece.pinned, slots, ids, offsets, 0.0, float(len(ids))
    )


class FakeReader:
    """Says what the newest picture's level is whenever it changed, in `talk` words; answers
    questions with the level now or at the second named; an alert's condition is a least level.

    Args:
        slots: tokens that all streams may hold together.
        talk: the caption's words before the level.
        on_pass: called before each pass with its name and its rows; a clock's cost goes here.
    """

    def __init__(
        self,
        slots: int = 100_000,
        talk: Sequence[str] = ("the", "picture", "is", "now", "level"),
        on_pass: Callable[[str, int], None] = lambda name, rows: None,
        always: bool = False,
    ) -> None:
        self.slots = slots
        self.talk = talk
        self.on_pass = on_pass
        self.always = always
        self.passes: list[tuple[str, int]] = []
        self.streams: list[FakeStream] = []
        self._slot = itertools.count()

    def open(self) -> FakeStream:
        stream = FakeStream()
        self.streams.append(stream)
        return stream

    def fork(self, stream: FakeStream) -> FakeStream:
        fork = FakeStream(list(stream.table), stream.length)
        self.streams.append(fork)
        return fork

    def close(self, stream: FakeStream) -> None:
        if not stream.closed:
            stream.closed = True
            self.streams.remove(stream)

    def see(self, pictures: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int, int]]:
        self._count("see", len(pictures))
        level = pictures[:, -1].mean((1, 2, 3)) * 63
        return level[:, None, None].expand(-1, 4, 1), (1, 2, 2)

    def append(self, work: Sequence[tuple[FakeStream, Sequence[Piece]]]) -> torch.Tensor:
        self._count("append", len(work))
        made = [(stream, [self._made(piece) for piece in pieces]) for stream, pieces in work]
        self._require(sum(segment.length for _, segments in made for segment in segments))
        for stream, segments in made:
            stream.table += segments
        return torch.stack([self._logits(stream) for stream, _ in work])

    def step(self, work: Sequence[tuple[FakeStream, int]]) -> torch.Tensor:
        self._count("step", len(work))
        self._require(len(work))
        for stream, token in work:
            last = stream.table[-1]
            words = Words(last.kind, (*map(int, last.ids), token), last.turn, last.time)
            slots = np.append(last.slots, next(self._slot))
            stream.table[-1] = _segment(words, slots)
        return torch.stack([self._logits(stream) for stream, _ in work])

    def rearrange(
        self, stream: FakeStream, kept: Sequence[Segment], archive: bool = False
    ) -> list[Any]:
        stream.table = list(kept)
        return []

    def insert(self, stream: FakeStream, entries: Sequence[Any]) -> None:
        for entry in entries:
            if isinstance(entry, Pictures):
                stream.table.append(self._made(entry))

    def queries(self, stream: FakeStream, ids: Sequence[int]) -> torch.Tensor:
        return torch.zeros(1, len(ids), 1, 1)

    def held(self) -> int:
        return sum(stream.length - stream.shared for stream in self.streams)

    def _count(self, name: str, rows: int) -> None:
        self.passes.append((name, rows))
        self.on_pass(name, rows)

    def _require(self, tokens: int) -> None:
        if self.held() + tokens > self.slots:
            raise ArenaFull(f"{tokens} more than {self.slots}")

    def _made(self, piece: Piece) -> Segment:
        count = len(piece.ids) if isinstance(piece, Words) else 4
        return _segment(piece, np.array([next(self._slot) for _ in range(count)], np.int64))

    def _logits(self, stream: FakeStream) -> torch.Tensor:
        out = torch.zeros(len(WORDS))
        ids = stream.ids()
        last = ids[-1]
        levels = [-1 - id for id in ids if id < 0][::4]
        level = levels[-1] if levels else 0
        kind = stream.table[-1].kind
        if WORDS[last] == "<open>":
            changed = self.always or len(levels) < 2 or levels[-2] != level
            wanted = self.talk[0] if changed else "<silent>"
        elif kind == "caption":
            said = stream.table[-1].length
            whole = [*self.talk, str(level), "<end>"]
            wanted = whole[said] if said < len(whole) else "<end>"
        elif kind == "answer" or WORDS[last] == "<answer>":
            said = stream.table[-1].length if kind == "answer" else 0
            wanted = ["it", "is", str(level), "<end>"][min(said, 3)]
        elif IDS["<when>"] in ids:
            wanted = "yes" if WORDS[last].isdigit() and level >= int(WORDS[last]) else "no"
        else:
            wanted = "<end>"
        out[IDS[wanted]] = 10.0
        return out


class KeepAll:
    """A window that lets nothing go."""

    def keep(self, table: Sequence[Segment]) -> list[Segment]:
        return list(table)


def fake_memory(name: str) -> Memory:
    if name == "last4":
        return Memory(LastPictures(4))
    if name != "default":
        raise ValueError(f"no memory policy is called {name!r}; there are default, last4")
    return Memory(KeepAll())


def fake_model(reader: FakeReader | None = None, **changes: Any) -> CaptionModel:
    info = CaptionInfo(
        name="fake",
        title="Fake",
        limits=("it tells levels",),
        examples=("level",),
        alerts=("30",),
        device="cpu",
        dtype="float32",
        period=1.0,
        memory=600.0,
        look=LOOK,
        policies=("default", "last4"),
    )
    knobs: dict[str, Any] = {
        "memory": fake_memory,
        "gate": GateRule(threshold=0.0),
        "speak": SpeakRule(),
        "alert": AlertRule(refractory=0.0),
    }
    return CaptionModel(reader or FakeReader(), FakeDialect(), info, **(knobs | changes))


def grey(index: int, luma: int, fps: float = 4.0, side: int = 32, start: float = 0.0) -> Frame:
    """A grey picture at `index / fps` s."""
    planes = np.full(i420_shape(side, side), 128, np.uint8)
    planes[:side] = luma
    pts = round(index * PTS_RATE / fps)
    return Frame(planes, side, side, pts, start + index / fps, index)


def luma_of(level: int) -> int:
    """The Y that the fake reads as this level."""
    return round(16 + 219 * level / 63)


def levels(plan: Sequence[int], fps: float = 4.0, start: float = 0.0) -> list[Frame]:
    """Frames of a film that shows each level for one second."""
    each = int(fps)
    return [
        grey(second * each + n, luma_of(level), fps, start=start)
        for second, level in enumerate(plan)
        for n in range(each)
    ]


class Ear:
    """Hears everything, sorted; can be waited for."""

    def __init__(self) -> None:
        self.all: list[Telling] = []
        self._more = threading.Condition()

    def __call__(self, telling: Telling) -> None:
        with self._more:
            self.all.append(telling)
            self._more.notify_all()

    def wait(self, what: Callable[[Ear], object], timeout: float = 240.0) -> None:
        """Until `what` of this is true."""
        with self._more:
            assert self._more.wait_for(lambda: what(self), timeout), self.all

    def texts(self, kind: str = "caption") -> list[str]:
        return [t.cue.text for t in self.all if isinstance(t, Said) and t.cue.kind == kind]

    def parts(self, number: int | None = None) -> list[AnswerPart]:
        found = [t for t in self.all if isinstance(t, AnswerPart)]
        return [part for part in found if number is None or part.question == number]

    def answer(self, number: int | None = None) -> str:
        return "".join(part.text for part in self.parts(number))

    def fired(self) -> list[AlertFired]:
        return [t for t in self.all if isinstance(t, AlertFired)]

    def events(self) -> list[str]:
        return [t.kind for t in self.all if isinstance(t, CaptionEvent)]


DEADLY = 63
"""A level at which `build_fragile`'s model ends its process."""


class Fragile(FakeReader):
    def see(self, pictures: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int, int]]:
        features, grid = super().see(pictures)
        if int(features.max().round()) == DEADLY:
            os._exit(3)
        return features, grid


def build_fragile(options: object) -> CaptionModel:
    """What `vlm="caption_fakes:build_fragile"` runs."""
    return fake_model(Fragile())


def build(options: object) -> CaptionModel:
    """What `vlm="caption_fakes:build"` runs."""
    return fake_model()
