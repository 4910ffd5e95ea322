"""One training sequence: a stream with its captions, then many forks, packed under one mask.

Fork i sees of the stream what its memory still holds, and of the forks itself alone; its positions
go on from the end of the newest turn that it sees. So sixty questions cost one pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...vl import tiny_words as words
from .forks import (
    DIALECT,
    Fork,
    alert,
    before,
    last,
    past,
    present,
    recalled,
    recital,
    strange,
    when,
)
from .gist import labels
from .plot import Plot, focused, plot, tell_of, unsaid, window
from .recording import Recording
from .remembered import Memory, Told, spoken
from .telling import WISHES, pick
from .writer import FIRST, NEXT, PICTURE, SAID, Writer

Rng = np.random.Generator
SILENCE = (4.0, 4.0)
SPEECH = (8.0, 5.0)
"""Weights in the loss of saying nothing, and of a caption's first word and its others: most turns
are silent, and all of them together are few beside the questions."""
ALERT = (4.0, 1.0)
"""An alert is one word."""
FOCUSED = 0.75
"""Share of the questions about a time that are asked on a memory of that time alone, as the
memories that recall by time have it."""
MANY = 3
"""Things at once, of which a quarter of the questions about the present are asked where they are:
they are counted wrong most."""
MIX = {
    "present": 0.46,
    "past": 0.15,
    "before": 0.1,
    "last": 0.01,
    "strange": 0.02,
    "recital": 0.02,
    "alert": 0.24,
}
"""Shares of the forks."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """Attributes:
    features: float16 [n, dim], of the pictures' tokens.
    ids: int64 [L]; 0 where a picture's token stands.
    source: int64 [L], index into the features, or -1.
    positions: float32 [3, L].
    stream_mask: bool [S, S], what the stream's own tokens see; they come first.
    fork_mask: bool [L - S, S], what the forks' tokens see of the stream.
    target: int64 [L], what is said next, or `IGNORED`.
    weight: float32 [L].
    owner: int64 [L], fork of each token, -1 for the stream.
    closing: int64 [turns with pictures], where the stamps stand that close them.
    """

    features: NDArray[np.float16]
    ids: NDArray[np.int64]
    source: NDArray[np.int64]
    positions: NDArray[np.float32]
    stream_mask: NDArray[np.bool_]
    fork_mask: NDArray[np.bool_]
    target: NDArray[np.int64]
    weight: NDArray[np.float32]
    owner: NDArray[np.int64]
    closing: NDArray[np.int64]
    forks: list[Fork]
    told: Told


def _about_when(rng: Rng, plan: Plot, told: Told, turn: int, lively: bool) -> int:
    """A second to ask about: mostly one whose pictures can be there, often one that was lively."""
    first = plan.first if rng.random() < 0.85 else 0
    among = [n for n in range(min(first, turn), turn + 1) if told.true[n] or not lively]
    if not among or rng.random() < 0.03:
        return int(rng.integers(0, told.seconds[turn] + 1))
    named = told.seconds[among[int(rng.integers(len(among)))]]
    return max(0, named + int(rng.integers(-1, 2))) if lively else named


def _of_past(rng: Rng, plan: Plot, told: Told, turn: int, form: str) -> Fork | None:
    lively = form == "past" and rng.random() < 0.65
    time = when(rng, told.seconds[turn], _about_when(rng, plan, told, turn, lively))
    narrow = rng.random() < FOCUSED
    memory = focused(rng, plan, time.span, turn) if narrow else window(rng, plan, turn)
    if form == "past":
        return past(rng, told, turn, time, memory)
    fork = before(rng, told, turn, time, memory)
    return recalled(fork, told) if fork and not narrow and rng.random() < 0.3 else fork


def _fork(rng: Rng, plan: Plot, told: Told) -> Fork | None:
    """One question, mostly at a turn where something goes on."""
    form = str(rng.choice(list(MIX), p=list(MIX.values())))
    turn = int(rng.integers(plan.first, plan.turns))
    if form in ("past", "before"):
        return _of_past(rng, plan, told, turn, form)
    turn = _livelier(rng, plan, told, turn, form)
    memory = window(rng, plan, turn)
    if form == "present":
        return present(rng, told, turn, unsaid(rng, memory, turn))
    if form == "alert":
        return alert(rng, told.turns, turn, unsaid(rng, memory, turn, 0.3))
    if form == "last":
        return last(rng, told, turn, memory)
    if form == "recital":
        return recital(rng, told, turn, memory)
    return strange(rng, told, turn, memory)


def _livelier(rng: Rng, plan: Plot, told: Told, turn: int, form: str) -> int:
    """Another turn, often, at which something moves or happens, or many things are."""
    share = rng.random()
    if share > 0.75 or (form != "present" and share > 0.5):
        return turn
    numbers = range(plan.first, plan.turns)
    if share > 0.5:
        many = [n for n in numbers if len(told.turns[n].state.things) >= MANY]
        return many[int(rng.integers(len(many)))] if many else turn
    if form == "alert":
        found = [n for n in numbers if told.turns[n].events or told.turns[n].fresh]
    else:
        found = [
            n
            for n in numbers
            if any(t.way not in ("", "still") for t in told.turns[n].state.things)
            or told.turns[n].state.camera not in ("", "still")
        ]
    return found[int(rng.integers(len(found)))] if found else turn


def _shifted(fork: Fork, start: int) -> tuple[int, ...]:
    """The fork's tokens with stamps as they are in a stream that began `start` seconds earlier."""
    low = words.FIRST_STAMP
    return tuple(
        words.stamp(token - low + start) if words.is_stamp(token) else token for token in fork.ids
    )


def write_lesson(
    rng: Rng, recording: Recording, plan: Plot, count: int, vary: bool = True
) -> Lesson:
    """Pack a piece of a recording and `count` forks."""
    told = tell_of(rng if vary else None, recording.turns, plan)
    writer = Writer(recording.grid)
    tokens = recording.grid[0] * recording.grid[1]
    writer.words((words.BEGIN,), -1, -1)
    if plan.wish:
        writer.words(DIALECT.opening(pick(rng, WISHES[plan.wish]))[1].ids, -1, -1)
    ends, closing = [writer.base], []
    for turn, second in enumerate(told.seconds):
        mark = (words.stamp(second + plan.start),)
        writer.words(mark, turn, -1)
        if turn >= plan.first:
            writer.picture((turn - plan.first) * tokens, turn, -1)
            closing.append(len(writer.ids))
        writer.words(mark, turn, -1)
        _write_said(writer, told, turn, turn >= plan.first)
        ends.append(writer.base)
    forks: list[Fork] = []
    while len(forks) < count:
        fork = _fork(rng, plan, told)
        if fork is not None:
            writer.base = ends[fork.memory.last + 1]
            _write_fork(writer, fork, len(forks), plan, told)
            forks.append(fork)
    features = recording.features[list(plan.seconds[plan.first :])]
    features = features.reshape(-1, features.shape[-1])
    return _finish(writer, features, plan, told, forks, np.array(closing))


def _write_said(writer: Writer, told: Told, turn: int, seen: bool) -> None:
    """What the stream says: learnt where it is true and can be seen."""
    said = told.said[turn]
    if seen and said == told.true[turn]:
        writer.learnt(spoken(said), turn, -1, SAID, SPEECH if said else SILENCE)
    else:
        writer.words(spoken(said), turn, -1, SAID)


def _write_fork(writer: Writer, fork: Fork, number: int, plan: Plot, told: Told) -> None:
    if fork.recalled >= 0:
        mark = (words.stamp(told.seconds[fork.recalled] + plan.start),)
        tokens = writer.grid[0] * writer.grid[1]
        writer.words(mark, fork.turn, number)
        writer.picture((fork.recalled - plan.first) * tokens, fork.turn, number)
        writer.words((*mark, words.SILENT), fork.turn, number)
    ids = _shifted(fork, plan.start)
    weights = ALERT if fork.kind.startswith("alert") else (FIRST, NEXT)
    run: list[int] = []
    state = False
    for token, said in (*zip(ids, fork.said, strict=True), (0, not fork.said[-1])):
        if said != state and run:
            if state:
                writer.learnt(tuple(run), fork.turn, number, weights=weights)
            else:
                writer.words(tuple(run), fork.turn, number)
            run = []
        state = said
        run.append(token)


def _finish(
    writer: Writer,
    features: NDArray[np.float16],
    plan: Plot,
    told: Told,
    forks: list[Fork],
    closing: NDArray[np.int64],
) -> Lesson:
    owner = np.array(writer.owner)
    masks = _visibility(writer, owner, plan, [fork.memory for fork in forks])
    return Lesson(
        features,
        np.array(writer.ids),
        np.array(writer.source),
        np.concatenate(writer.places, 1).astype(np.float32),
        *masks,
        np.array(writer.target),
        np.array(writer.weight, dtype=np.float32),
        owner,
        closing,
        forks,
        told,
    )


def _visibility(
    writer: Writer, owner: NDArray[np.int64], plan: Plot, memories: list[Memory]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which token of the stream (column) a token of the stream, or of a fork, sees (line)."""
    length = int((owner < 0).sum())
    turn, sort = np.array(writer.turn)[:length], np.array(writer.sort)[:length]
    back = turn[:, None] - turn[None]
    kept = np.where(sort[None] == PICTURE, back < plan.vision, back < plan.text)
    stream = np.tri(length, dtype=bool) & (kept | (turn[None] < 0))
    always, of_turn = turn < 0, np.maximum(turn, 0)
    lines = []
    for memory in memories:
        framed, shown = memory.words[of_turn], memory.pictures[of_turn]
        seen = np.where(sort == PICTURE, shown, framed & memory.said[of_turn])
        lines.append(np.where((sort == PICTURE) | (sort == SAID), seen, framed) | always)
    return stream, np.stack(lines)[owner[length:]]


def draw_lesson(rng: Rng, recording: Recording, count: int) -> Lesson:
    """A random lesson on a piece of a recording. With a wish it is about what is told and what is
    not: there are few questions beside."""
    plan = plot(rng, recording.turns)
    return write_lesson(rng, recording, plan, max(1, count // 8) if plan.wish else count)


def tensors(lesson: Lesson) -> dict[str, Tensor]:
    """What a training step reads of a lesson."""
    seen = lesson.told.turns[len(lesson.told.turns) - len(lesson.closing) :]
    return {
        "features": torch.from_numpy(lesson.features).float(),
        "ids": torch.from_numpy(lesson.ids),
        "source": torch.from_numpy(lesson.source),
        "positions": torch.from_numpy(lesson.positions),
        "stream": torch.from_numpy(lesson.stream_mask),
        "forks": torch.from_numpy(lesson.fork_mask),
        "target": torch.from_numpy(lesson.target),
        "weight": torch.from_numpy(lesson.weight),
        "owner": torch.from_numpy(lesson.owner),
        "closing": torch.from_numpy(lesson.closing),
        "shown": torch.from_numpy(np.stack([labels(turn.state) for turn in seen])),
    }
