"""One training sequence: a stream with its captions, then many forks, packed under one mask.

Fork i sees of the stream what lies before its turn's end and what its memory still holds, and of
the forks itself alone; its positions go on from its turn's end. So sixty questions cost one pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...vl import tiny_words as words
from ...vl.positions import picture_offsets
from .backgrounds import COLOURS
from .forks import DIALECT, Fork, Memory, alert, before, past, present, recital, strange
from .labels import BETWEEN
from .shapes import SHAPES
from .story import SIZE_WEIGHTS, SIZES, Taste, tell
from .telling import WISHES, caption, event_words, pick
from .truth import Turn, timeline
from .world import WAYS, Array, Event, Stream, picture

Rng = np.random.Generator
VISION_TURNS = 16
WORD_TURNS = 100
SILENCE = 0.7
"""Weight of saying nothing in the loss: most turns are silent."""
IGNORED = -100
RECITED = 0.6
"""Share of recitals among the forks of a lesson without pictures."""


@dataclass(frozen=True, slots=True)
class Plot:
    """How long a stream is and what of it is kept.

    Attributes:
        turns: all turns; `seen`: the newest, whose pictures are there.
        vision, text: turns that the window keeps.
        start: second of the first turn (stamps begin anywhere).
    """

    turns: int
    seen: int
    vision: int
    text: int
    start: int


@dataclass(frozen=True, slots=True)
class Lesson:
    """Attributes:
    pictures: [seen, 2, H, W, 3].
    ids: int64 [L]; 0 where a picture's token stands.
    source: int64 [L], index into the flattened features, or -1.
    positions: float32 [3, L].
    stream_mask: bool [S, S], what the stream's own tokens see; they come first.
    fork_mask: bool [L - S, S], what the forks' tokens see of the stream.
    target: int64 [L], what is said next, or `IGNORED`.
    weight: float32 [L].
    owner: int64 [L], fork of each token, -1 for the stream.
    """

    pictures: Array
    ids: NDArray[np.int64]
    source: NDArray[np.int64]
    positions: NDArray[np.float32]
    stream_mask: NDArray[np.bool_]
    fork_mask: NDArray[np.bool_]
    target: NDArray[np.int64]
    weight: NDArray[np.float32]
    owner: NDArray[np.int64]
    forks: list[Fork]
    stream: Stream
    turns: list[Turn]
    captions: list[str]


class _Writer:
    """Appends tokens and keeps where they stand."""

    def __init__(self, grid: tuple[int, int]) -> None:
        self.grid = grid
        self.ids: list[int] = []
        self.source: list[int] = []
        self.places: list[NDArray[np.float64]] = []
        self.target: list[int] = []
        self.weight: list[float] = []
        self.owner: list[int] = []
        self.turn: list[int] = []
        self.base = 0.0

    def words(
        self, ids: tuple[int, ...], turn: int, owner: int, learnt: bool = False, weight: float = 1.0
    ) -> None:
        """Words; where they are learnt, the token before them predicts the first."""
        count = len(ids)
        if learnt:
            for index, token in enumerate(ids):
                self.target[-1], self.weight[-1] = token, weight if index == 0 else 1.0
                self._one(token, turn, owner)
        else:
            for token in ids:
                self._one(token, turn, owner)
        self.places.append(np.broadcast_to(self.base + np.arange(count, dtype=float), (3, count)))
        self.base += count

    def _one(self, token: int, turn: int, owner: int, source: int = -1) -> None:
        self.ids.append(token)
        self.source.append(source)
        self.target.append(IGNORED)
        self.weight.append(0.0)
        self.owner.append(owner)
        self.turn.append(turn)

    def picture(self, first: int, turn: int, owner: int) -> None:
        """A look's tokens; `first` is the index of its first feature."""
        height, width = self.grid
        for index in range(height * width):
            self._one(0, turn, owner, first + index)
        self.places.append(self.base + picture_offsets((1, height, width), 2.0))
        self.base += max(height, width)


def plot(rng: Rng, short: bool) -> Plot:
    """Sizes of a random lesson; `short` ones are for the beginning."""
    if short:
        turns = int(rng.integers(4, 10))
        return Plot(turns, turns, VISION_TURNS, WORD_TURNS, int(rng.integers(0, 1000)))
    form, long = rng.random(), bool(rng.random() < 0.3)
    vision, text = VISION_TURNS, WORD_TURNS
    if form > 0.8:
        vision = text = int(rng.integers(2, 7))
    elif form > 0.6:
        vision = int(rng.integers(2, 17))
    start = int(rng.integers(0, 1000)) if rng.random() < 0.8 else 0
    if long:
        turns = int(rng.integers(45, 115))
        return Plot(turns, 14, max(vision, 8), WORD_TURNS, start)
    turns = int(rng.integers(16, 27))
    return Plot(turns, turns, vision, text, start)


def _memories(rng: Rng, plan: Plot, turn: int) -> Memory:
    """What the window holds after a turn, sometimes with holes, sometimes little."""
    index = np.arange(plan.turns)
    there = index <= turn
    text = there & (turn - index < plan.text)
    pictures = there & (turn - index < plan.vision) & (index >= plan.turns - plan.seen)
    form = rng.random()
    if form < 0.15:
        pictures &= (rng.random(plan.turns) > 0.4) | (index == turn)
    elif form < 0.25:
        text &= (rng.random(plan.turns) > 0.25) | (index == turn)
        pictures &= text
    elif form < 0.35:
        pictures &= turn - index < 4
    return Memory(text, pictures)


def _fork(rng: Rng, plan: Plot, turns: list[Turn], captions: list[str]) -> Fork | None:
    """One question, mostly at a turn where something goes on."""
    first = plan.turns - plan.seen
    if not plan.seen:
        turn = int(rng.integers(plan.turns // 2, plan.turns))
        memory = _memories(rng, plan, turn)
        if rng.random() < RECITED:
            return recital(rng, captions, turn, memory)
        return past(rng, turns, captions, turn, memory)
    turn = int(rng.integers(first, plan.turns))
    if rng.random() < 0.4:
        moving = [
            n
            for n in range(first, plan.turns)
            if any(t.way not in ("", "still") for t in turns[n].state.things)
            or turns[n].state.camera not in ("", "still")
        ]
        turn = moving[int(rng.integers(len(moving)))] if moving else turn
    memory = _memories(rng, plan, turn)
    form = rng.random()
    if form < 0.47:
        return present(rng, turns, turn, memory)
    if form < 0.70:
        return past(rng, turns, captions, turn, memory)
    if form < 0.78:
        return before(rng, turns, turn, memory)
    if form < 0.80:
        return strange(rng, turn, memory)
    lively = [n for n in range(first, plan.turns) if turns[n].events]
    if lively and rng.random() < 0.6:
        turn = lively[int(rng.integers(len(lively)))]
    return alert(rng, turns, turn, _memories(rng, plan, turn))


def _shifted(fork: Fork, start: int) -> tuple[int, ...]:
    """The fork's tokens with stamps as they are in a stream that began `start` seconds earlier."""
    low = words.FIRST_STAMP
    return tuple(
        words.stamp(token - low + start) if words.is_stamp(token) else token for token in fork.ids
    )


def write_lesson(
    rng: Rng, stream: Stream, plan: Plot, grid: tuple[int, int], count: int, vary: bool = True
) -> Lesson:
    """Pack a stream and `count` forks."""
    turns = timeline(stream)[: plan.turns]
    wish = list(WISHES)[int(rng.integers(len(WISHES)))] if rng.random() < 0.08 else ""
    captions = [
        caption(turn, number == 0, rng if vary else None, wish) for number, turn in enumerate(turns)
    ]
    writer = _Writer(grid)
    writer.words((words.BEGIN,), -1, -1)
    if wish:
        writer.words(DIALECT.opening(pick(rng, WISHES[wish]))[1].ids, -1, -1)
    if plan.turns > 60 and rng.random() < 0.5:
        writer.words(_memo(rng), -1, -1)
    first, tokens = plan.turns - plan.seen, grid[0] * grid[1]
    ends: list[float] = []
    for number, said in enumerate(captions):
        mark = (words.stamp(number + plan.start),)
        writer.words(mark, number, -1)
        seen = number >= first
        if seen:
            writer.picture((number - first) * tokens, number, -1)
        writer.words(mark, number, -1)
        spoken = (*words.encode(said), words.END) if said else (words.SILENT,)
        writer.words(spoken, number, -1, seen, 1.5 if said else SILENCE)
        ends.append(writer.base)
    forks: list[Fork] = []
    while len(forks) < count:
        fork = _fork(rng, plan, turns, captions)
        if fork is None:
            continue
        _write_fork(writer, fork, len(forks), plan, ends, tokens)
        forks.append(fork)
    return _finish(writer, stream, plan, turns, captions, forks)


def _memo(rng: Rng) -> tuple[int, ...]:
    """Words of captions long past, whose stamps are gone; cut anywhere."""
    said: list[int] = []
    wanted = int(rng.integers(8, 129))
    while len(said) < wanted:
        shape, colour = SHAPES[int(rng.integers(6))], list(COLOURS)[int(rng.integers(8))]
        kind = ("appear", "vanish", "move", "stop")[int(rng.integers(4))]
        event = Event(kind, 0.0, shape, colour, list(WAYS)[int(rng.integers(4))])
        said += words.encode(event_words(event, rng))
    return tuple(said[-wanted:])


def _write_fork(
    writer: _Writer, fork: Fork, number: int, plan: Plot, ends: list[float], tokens: int
) -> None:
    writer.base = ends[fork.turn]
    first = plan.turns - plan.seen
    if fork.recalled >= 0:
        mark = (words.stamp(fork.recalled + plan.start),)
        writer.words(mark, fork.turn, number)
        writer.picture((fork.recalled - first) * tokens, fork.turn, number)
        writer.words((*mark, words.SILENT), fork.turn, number)
    ids = _shifted(fork, plan.start)
    run: list[int] = []
    state = False
    for token, said in (*zip(ids, fork.said, strict=True), (0, not fork.said[-1])):
        if said != state and run:
            writer.words(tuple(run), fork.turn, number, state, 2.0 if state else 1.0)
            run = []
        state = said
        run.append(token)


def _finish(
    writer: _Writer,
    stream: Stream,
    plan: Plot,
    turns: list[Turn],
    captions: list[str],
    forks: list[Fork],
) -> Lesson:
    owner, turn = np.array(writer.owner), np.array(writer.turn)
    source = np.array(writer.source)
    masks = _visibility(owner, turn, source >= 0, plan, forks)
    first = plan.turns - plan.seen
    pictures = np.zeros((plan.seen, 2, *stream.size, 3), np.float32)
    for index in range(plan.seen):
        pictures[index, 0] = picture(stream, float(first + index))
        pictures[index, 1] = picture(stream, first + index + BETWEEN)
    return Lesson(
        pictures,
        np.array(writer.ids),
        source,
        np.concatenate(writer.places, 1).astype(np.float32),
        *masks,
        np.array(writer.target),
        np.array(writer.weight, dtype=np.float32),
        owner,
        forks,
        stream,
        turns,
        captions,
    )


def _visibility(
    owner: NDArray[np.int64],
    turn: NDArray[np.int64],
    vision: NDArray[np.bool_],
    plan: Plot,
    forks: list[Fork],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which token of the stream (column) a token of the stream, or of a fork, sees (line)."""
    length = int((owner < 0).sum())
    back = turn[:length, None] - turn[None, :length]
    kept = np.where(vision[None, :length], back < plan.vision, back < plan.text)
    stream = np.tri(length, dtype=bool) & (kept | (turn[None, :length] < 0))
    always, of_turn = turn[:length] < 0, np.maximum(turn[:length], 0)
    lines = [
        np.where(vision[:length], f.memory.pictures[of_turn], f.memory.words[of_turn]) | always
        for f in forks
    ]
    return stream, np.stack(lines)[owner[length:]]


def draw_lesson(
    seed: int, size: tuple[int, int], factor: int, count: int, heldout: bool, short: bool = False
) -> Lesson:
    """A random lesson on pictures of `size`."""
    rng = np.random.default_rng([seed, 99])
    plan = plot(rng, short)
    taste = Taste(quiet=0.1, heldout=heldout)
    stream = tell(int(rng.integers(1 << 40)), plan.turns + 0.6, size, taste)
    return write_lesson(rng, stream, plan, (size[0] // factor, size[1] // factor), count)


def draw_words(seed: int, count: int, longest: int) -> Lesson:
    """A lesson without pictures: captions, and questions about what happened. A fifth of the cost,
    and all of it for finding seconds again."""
    rng = np.random.default_rng([seed, 97])
    turns = int(rng.integers(5, longest))
    plan = Plot(turns, 0, VISION_TURNS, WORD_TURNS, int(rng.integers(0, 1000)))
    stream = tell(int(rng.integers(1 << 40)), plan.turns + 0.6, (64, 64), Taste(easy=True))
    return write_lesson(rng, stream, plan, (2, 2), count)


def draw_size(seed: int) -> tuple[int, int]:
    rng = np.random.default_rng([seed, 98])
    return SIZES[int(rng.choice(len(SIZES), p=SIZE_WEIGHTS))]


def tensors(lesson: Lesson) -> dict[str, Tensor]:
    """What a training step reads of a lesson."""
    return {
        "pictures": torch.from_numpy(lesson.pictures).movedim(-1, 2),
        "ids": torch.from_numpy(lesson.ids),
        "source": torch.from_numpy(lesson.source),
        "positions": torch.from_numpy(lesson.positions),
        "stream": torch.from_numpy(lesson.stream_mask),
        "forks": torch.from_numpy(lesson.fork_mask),
        "target": torch.from_numpy(lesson.target),
        "weight": torch.from_numpy(lesson.weight),
        "owner": torch.from_numpy(lesson.owner),
    }
