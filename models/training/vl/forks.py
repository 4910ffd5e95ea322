"""What is asked of a stream at its turns, with the answers that its memory allows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...vl import tiny_words as words
from ...vl.segments import Words
from ...vl.spans import find_span
from ...vl.tiny_dialect import MOST_STAMPS, TinyDialect
from .asking import NUMBERS, Asked, about, described, foreign, plural_of, unique
from .phrases import COLOR, COUNT_SOME, EXIST, HAPPENED, LAST, WHERE, choose
from .remembered import (
    Memory,
    Told,
    asked_turns,
    encode_answer,
    encode_told,
    happened,
    joined,
    spoken,
)
from .shapes import SHAPES, SOMETHING
from .truth import State, Turn
from .waiting import condition, near_miss

Rng = np.random.Generator
DIALECT = TinyDialect()
EASY = 0.8
"""Share of the questions that are left out where there is one thing at most: what belongs to what
is learnt where there are several."""
USUAL = {("exist", "yes"): 0.3, ("count", "one"): 0.2}
"""Shares of the questions with the most usual answers that are left out where there are several.
Were they large, an answer would be taken for as rare as it was in the lessons: of three things of
different colours one in four was said to be there twice."""
LOST, WHOLE, TWICE = 0.05, 0.08, 0.06
"""Shares of the questions about the present that ask for what was there before and is not now, for
all that is there (no other answer makes so much of the picture be read), and for how many there are
of what is there twice."""
KEPT = {
    ("there", True): 0.6,
    ("vanish", False): 0.35,
    ("recolour", False): 0.35,
    ("stop", False): 0.12,
    ("motion", False): 0.35,
    ("appear", False): 0.5,
    ("number", False): 0.5,
    ("camera", False): 0.7,
}
"""Shares of the alerts of a kind that are kept, so that yes and no are about as frequent of each:
else the kind alone would tell much of the answer."""


@dataclass(frozen=True, slots=True)
class Fork:
    """Something asked after turn `turn`.

    Attributes:
        ids: all tokens: questions and answers.
        said: which of them are answers, bool; the model learns these.
        kind: what it is about.
        lag: seconds back that it asks about; 0 for the present.
        recalled: a turn that memory brings back before the question, or -1.
        text, answer: the (last) question and answer in words.
    """

    turn: int
    ids: tuple[int, ...]
    said: tuple[bool, ...]
    kind: str
    memory: Memory
    lag: float = 0.0
    recalled: int = -1
    text: str = ""
    answer: str = ""


def build(
    turn: int,
    asked: Asked,
    memory: Memory,
    now: float,
    span: tuple[float, float] | None,
    answer: tuple[int, ...] = (),
) -> Fork:
    """The tokens of one question and its answer, given in words or as tokens."""
    question = [i for part in DIALECT.question(asked.text, now, span) for i in part.ids]
    answer = answer or encode_answer(asked.answer)
    said = (False,) * len(question) + (True,) * len(answer)
    ids = (*question, *answer)
    lag = now - (span[0] + span[1]) / 2 if span else 0.0
    fork = Fork(turn, ids, said, asked.kind, memory, lag, -1, asked.text, asked.answer)
    return fork


def chained(rng: Rng, fork: Fork, turns: list[Turn], now: float) -> Fork:
    """A second question after the first, perhaps one that leans on it ("and the square?")."""
    state = turns[fork.turn].state
    second: Asked | None = None
    if fork.kind == "color" and rng.random() < 0.7:
        shape = choose(rng, SHAPES)
        if thing := unique(state, lambda t: t.shape == shape):
            second = Asked(f"and the {shape}?", thing.colour, "color")
    second = second or about(rng, state)
    if second is None:
        return fork
    more = build(fork.turn, second, fork.memory, now, None)
    return Fork(
        fork.turn,
        (*fork.ids, *more.ids),
        (*fork.said, *more.said),
        second.kind,
        fork.memory,
        0.0,
        -1,
        second.text,
        second.answer,
    )


def present(rng: Rng, told: Told, turn: int, memory: Memory) -> Fork | None:
    """About what is so now."""
    state = told.turns[turn].state
    form = rng.random()
    if form < LOST:
        asked = lost(rng, told, turn)
    elif form < LOST + WHOLE:
        asked = described(rng, state)
    else:
        asked = twice(rng, state) if form < LOST + WHOLE + TWICE else None
        asked = asked or about(rng, state)
    now = told.seconds[turn] + 0.5 + float(rng.uniform(0, 0.5))
    if asked is None or rng.random() < _left_out(asked, state):
        return None
    fork = build(turn, asked, memory, now, None)
    return chained(rng, fork, told.turns, now) if rng.random() < 0.1 else fork


def _left_out(asked: Asked, state: State) -> float:
    """How often a question is left out: of one thing its colour is the only colour."""
    named = asked.kind in ("color", "shape", "exist", "count", "absent", "motion")
    if named and len(state.things) < 2:
        return EASY
    return USUAL.get((asked.kind, asked.answer), 0.0)


def lost(rng: Rng, told: Told, turn: int) -> Asked | None:
    """About something of the last turns that is not there any more: what memory still shows is not
    what is so now."""
    state = told.turns[turn].state
    shapes, colours = {t.shape for t in state.things}, {t.colour for t in state.things}
    earlier = [t for n in range(max(0, turn - 30), turn) for t in told.turns[n].state.things]
    gone = [t for t in earlier if t.shape != SOMETHING and t.shape not in shapes]
    if not gone or state.doubtful:
        return None
    thing = gone[int(rng.integers(len(gone)))]
    form = rng.random()
    if form < 0.35:
        text = choose(rng, (*COLOR, *WHERE)).format(s=thing.shape, x=thing.shape)
        return Asked(text, f"i see no {thing.shape}", "absent")
    if form < 0.6:
        name = choose(rng, (thing.shape, thing.name))
        return Asked(choose(rng, EXIST).format(a=f"a {name}"), "no", "exist")
    plural = plural_of(thing.shape)
    if thing.colour not in colours and rng.random() < 0.5:
        plural = f"{thing.colour} things"
    return Asked(choose(rng, COUNT_SOME).format(p=plural), "none", "count")


def twice(rng: Rng, state: State) -> Asked | None:
    """How many there are of a colour or shape that is there more than once, or beside one that is;
    None where there is no such one, or a count is in doubt."""
    things = [thing for thing in state.things if thing.shape != SOMETHING]
    names = [t.shape for t in things] + [t.colour for t in things]
    if state.doubtful or len(set(names)) == len(names):
        return None
    several = [name for name in names if (names.count(name) > 1) == (rng.random() < 0.75)]
    if not several:
        return None
    name = several[int(rng.integers(len(several)))]
    plural = plural_of(name) if name in SHAPES else f"{name} things"
    return Asked(choose(rng, COUNT_SOME).format(p=plural), NUMBERS[names.count(name)], "count")


@dataclass(frozen=True, slots=True)
class When:
    """Words for some time ago, when they are said, and the seconds that they name."""

    phrase: str
    now: float
    span: tuple[float, float]


def when(rng: Rng, second: int, named: int) -> When:
    """At turn `second`, of about second `named`."""
    now = second + 0.5 + float(rng.uniform(0, 0.5))
    back = max(1, round(now - named))
    phrase = f"{back} seconds ago"
    form = rng.random()
    if form < 0.15:
        phrase = f"at {named // 60}:{named % 60:02d}"
    elif form < 0.22 and back < 5:
        phrase = "just now"
    elif form < 0.3 and back <= 6:
        phrase = f"in the last {int(rng.integers(back + 1, 8))} seconds"
    elif form < 0.4 and named <= 1:
        phrase = "at the beginning"
    span, _ = find_span(phrase, now)
    assert span is not None
    return When(phrase, now, span)


def past(rng: Rng, told: Told, turn: int, time: When, memory: Memory) -> Fork | None:
    """About what happened some time ago."""
    text, seconds = f"{choose(rng, HAPPENED)} {time.phrase}", asked_turns(time.span)
    if len(seconds) > MOST_STAMPS:
        return None
    if memory.last < 0:
        lost = (words.stamp(seconds[0]), words.FORGOT, words.END)
        asked = Asked(text, "<forgot>", "happened forgotten")
        return build(turn, asked, memory, time.now, time.span, lost)
    found = happened(seconds, told, turn, memory)
    if found is None:
        return None
    kind = "happened" if any(found) else "happened nothing"
    asked = Asked(text, joined(found), kind)
    return build(turn, asked, memory, time.now, time.span, encode_told(seconds, found))


def last(rng: Rng, told: Told, turn: int, memory: Memory) -> Fork:
    """About the last thing that happened, as far as it was said."""
    lively = [n for n in range(1, turn + 1) if memory.words[n] and memory.said[n] and told.said[n]]
    index = lively[-1] if lively else -1
    texts = [told.said[index]] if lively else []
    asked = Asked(choose(rng, LAST), joined(texts), "last")
    answer = encode_told([told.seconds[index]], texts) if lively else ()
    return build(turn, asked, memory, told.seconds[turn] + 0.9, None, answer)


def recital(rng: Rng, told: Told, turn: int, memory: Memory) -> Fork | None:
    """Some turns word by word as they stand in the stream, from a stamp on: nothing teaches finding
    and copying faster (Olsson et al. 2022, arXiv 2209.11895, on induction)."""
    there = np.flatnonzero((memory.words & memory.said)[: turn + 1])
    if not len(there):
        return None
    begin = int(there[int(rng.integers(len(there)))])
    ids: list[int] = []
    for number in range(begin, min(turn + 1, begin + int(rng.integers(2, 5)))):
        if not (memory.words[number] and memory.said[number]):
            break
        mark = words.stamp(told.seconds[number])
        ids += (mark, mark, *spoken(told.said[number]))
    learnt = (False, *[True] * (len(ids) - 1))
    return Fork(turn, tuple(ids), learnt, "recital", memory)


def before(rng: Rng, told: Told, turn: int, time: When, memory: Memory) -> Fork | None:
    """About what was so some time ago: where no turn of then was read, the last one before it
    shows what it was like."""
    seconds = asked_turns(time.span)
    at = [n for second in seconds if (n := told.at(second, turn)) >= 0]
    earlier = [n for n in range(turn + 1) if told.seconds[n] < seconds[0]]
    at = at or earlier[-1:]
    seed = int(rng.integers(1 << 40))
    found = [about(np.random.default_rng(seed), told.turns[n].state) for n in at]
    if found and (found[0] is None or any(asked != found[0] for asked in found)):
        return None
    first = found[0] if found else about(rng, told.turns[turn].state)
    if first is None:
        return None
    seen = [n for n in at if memory.pictures[n]]
    answer = first.answer if seen else "<forgot>"
    text = f"{first.text.rstrip('?')} {time.phrase}"
    asked = Asked(text, answer, "past " + first.kind if seen else "forgotten")
    return build(turn, asked, memory, time.now, time.span)


def recalled(fork: Fork, told: Told) -> Fork:
    """The same, but pictures of a turn of then are brought back after all that is there, instead of
    being there."""
    second = told.seconds[fork.turn] + 0.7 - fork.lag
    seen = np.flatnonzero(fork.memory.pictures)
    seen = seen[np.abs(np.array(told.seconds)[seen] - second) <= 1.5]
    if not len(seen) or not fork.lag or fork.kind == "forgotten" or fork.turn in seen:
        return fork
    there, said = fork.memory.words.copy(), fork.memory.said.copy()
    pictures = fork.memory.pictures.copy()
    for marks in (there, said, pictures):
        marks[seen] = False
    memory = Memory(there, pictures, said)
    return replace(fork, memory=memory, recalled=int(seen[len(seen) // 2]))


def alert(rng: Rng, turns: list[Turn], turn: int, memory: Memory) -> Fork | None:
    """Whether a condition holds at this turn; both answers are frequent, and half of the noes are
    near to a yes."""
    wanted = bool(rng.random() < 0.42)
    for _ in range(6):
        if wanted:
            waited = condition(rng, turns, turn)
        elif rng.random() < 0.5:
            waited = near_miss(rng, turns, turn)
        else:
            waited = condition(rng, turns)
        if waited is None:
            continue
        holds = waited.holds(turns, turn)
        if holds is None or holds != wanted:
            continue
        if rng.random() > KEPT.get((waited.kind, holds), 1.0):
            continue
        question: list[Words] = DIALECT.alert(waited.text, float(turn))
        ids = [i for part in question for i in part.ids]
        answer = DIALECT.yes if holds else DIALECT.no
        said = (*(False for _ in ids), True)
        text = "yes" if holds else "no"
        kind = f"alert {waited.kind}"
        return Fork(turn, (*ids, answer), said, kind, memory, 0.0, -1, waited.text, text)
    return None


def strange(rng: Rng, told: Told, turn: int, memory: Memory) -> Fork:
    """About what it cannot tell."""
    return build(turn, foreign(rng), memory, float(told.seconds[turn]), None)
