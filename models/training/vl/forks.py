"""What is asked of a stream at its turns, with the answers that its memory allows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...vl import tiny_words as words
from ...vl.segments import Words
from ...vl.spans import find_span
from ...vl.tiny_dialect import MOST_STAMPS, TinyDialect
from .asking import HAPPENED, LAST, SHAPES, Asked, about, choose, foreign, unique
from .truth import Turn
from .waiting import condition

Rng = np.random.Generator
DIALECT = TinyDialect()
MOST_TOLD = 2
"""Captions that an answer joins, at most."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a fork can see of its stream.

    Attributes:
        words: of turns, bool [turns]: their stamps and captions are there.
        pictures: likewise.
    """

    words: np.ndarray
    pictures: np.ndarray


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


def asked_turns(span: tuple[float, float]) -> list[int]:
    """Turns whose stamps a question about `span` names."""
    low, high = int(np.ceil(span[0] - 0.5)), int(np.floor(span[1] + 0.5))
    return list(range(max(0, low), max(low, high) + 1))


def happened(turns_named: list[int], captions: list[str], memory: Memory) -> list[int] | None:
    """The turns that answer "what happened" then, lively or not; None where memory has holes there,
    or where too much happened.

    Raises:
        LookupError: none of these turns is remembered.
    """
    there = [turn for turn in turns_named if turn < len(captions)]
    visible = [turn for turn in there if memory.words[turn]]
    if not visible:
        raise LookupError(f"turns {turns_named} are not remembered")
    told = [turn for turn in visible if captions[turn]]
    hidden = [turn for turn in there if not memory.words[turn] and captions[turn]]
    return None if hidden or len(told) > MOST_TOLD else turns_named


def encode_answer(answer: str) -> tuple[int, ...]:
    if answer in words.SPOKEN:
        return (words.IDS[answer], words.END)
    return (*words.encode(answer), words.END)


def encode_told(named: list[int], captions: list[str]) -> tuple[int, ...]:
    """The seconds that were asked about, one by one: each one's stamp, and after it what followed
    it then, or the mark of nothing. Only captions have words, so that nothing else is read. To say
    a stamp and go on as it went on then is the easiest way to find a caption again."""
    ids: list[int] = []
    told = False
    for turn in named:
        text = captions[turn] if turn < len(captions) else ""
        ids += words.encode(", then") if text and told else ()
        ids += (words.stamp(turn), *(words.encode(text) or (words.NOTHING,)))
        told = told or bool(text)
    return (*ids, *(() if told else words.encode("nothing happened")), words.END)


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


def present(rng: Rng, turns: list[Turn], turn: int, memory: Memory) -> Fork | None:
    """About what is so now."""
    asked = about(rng, turns[turn].state)
    now = turn + 0.5 + float(rng.uniform(0, 0.5))
    if asked is None:
        return None
    fork = build(turn, asked, memory, now, None)
    return chained(rng, fork, turns, now) if rng.random() < 0.12 else fork


def _when(rng: Rng, turn: int, back_to: int) -> tuple[str, float, tuple[float, float]]:
    """Words for about that turn, when they are said, and the span that they name."""
    now = turn + 0.5 + float(rng.uniform(0, 0.5))
    back = max(1, round(now - back_to))
    phrase = f"{back} seconds ago"
    form = rng.random()
    if form < 0.2:
        phrase = f"at {back_to // 60}:{back_to % 60:02d}"
    elif form < 0.3 and back < 5:
        phrase = "just now"
    elif form < 0.4 and back <= 6:
        phrase = f"in the last {int(rng.integers(back + 1, 8))} seconds"
    elif form < 0.5 and back_to <= 1:
        phrase = "at the beginning"
    span, _ = find_span(phrase, now)
    assert span is not None
    return phrase, now, span


def past(
    rng: Rng, turns: list[Turn], captions: list[str], turn: int, memory: Memory
) -> Fork | None:
    """About what happened some time ago."""
    if rng.random() < 0.1:
        told = [m for m in range(1, turn + 1) if memory.words[m] and captions[m]][-1:]
        asked = Asked(choose(rng, LAST), _joined(told, captions), "last")
        answer = encode_told(told, captions) if told else ()
        return build(turn, asked, memory, turn + 0.9, None, answer)
    lively = [m for m in range(turn + 1) if captions[m] and memory.words[m]]
    if lively and rng.random() < 0.62:
        named = lively[int(rng.integers(len(lively)))]
        named = max(0, named + int(rng.integers(-1, 2)))
    else:
        named = int(rng.integers(0, turn + 1))
    phrase, now, span = _when(rng, turn, named)
    text, named_turns = f"{choose(rng, HAPPENED)} {phrase}", asked_turns(span)
    if len(named_turns) > MOST_STAMPS:
        return None
    try:
        found = happened(named_turns, captions, memory)
    except LookupError:
        lost = (words.stamp(named_turns[0]), words.FORGOT, words.END)
        asked = Asked(text, "<forgot>", "happened forgotten")
        return build(turn, asked, memory, now, span, lost)
    if found is None:
        return None
    told = [m for m in found if m < len(captions) and captions[m]]
    asked = Asked(text, _joined(told, captions), "happened" if told else "happened nothing")
    return build(turn, asked, memory, now, span, encode_told(found, captions))


def recital(rng: Rng, captions: list[str], turn: int, memory: Memory) -> Fork:
    """Some turns word by word as they stand in the stream, from a stamp on: nothing teaches finding
    and copying faster (Olsson et al. 2022, arXiv 2209.11895, on induction)."""
    there = np.flatnonzero(memory.words[: turn + 1])
    first = int(there[int(rng.integers(len(there)))])
    ids: list[int] = []
    for number in range(first, min(turn + 1, first + int(rng.integers(2, 6)))):
        if not memory.words[number]:
            break
        said = captions[number]
        spoken = (*words.encode(said), words.END) if said else (words.SILENT,)
        ids += (words.stamp(number), words.stamp(number), *spoken)
    learnt = (False, *[True] * (len(ids) - 1))
    return Fork(turn, tuple(ids), learnt, "recital", memory)


def _joined(told: list[int], captions: list[str]) -> str:
    return ", then ".join(captions[turn] for turn in told) or "nothing happened"


def before(rng: Rng, turns: list[Turn], turn: int, memory: Memory) -> Fork | None:
    """About what was so some time ago."""
    named = int(rng.integers(max(0, turn - 17), turn)) if turn > 0 else 0
    phrase, now, span = _when(rng, turn, named)
    at = [m for m in asked_turns(span) if m <= turn]
    seed = int(rng.integers(1 << 40))
    found = [about(np.random.default_rng(seed), turns[m].state) for m in at]
    if not found or found[0] is None or any(asked != found[0] for asked in found):
        return None
    seen = [m for m in at if memory.pictures[m]]
    answer = found[0].answer if seen else "<forgot>"
    text = f"{found[0].text.rstrip('?')} {phrase}"
    asked = Asked(text, answer, "past " + found[0].kind if seen else "forgotten")
    fork = build(turn, asked, memory, now, span)
    if seen and turn - max(seen) > 3 and rng.random() < 0.5:
        return _recalled(fork, max(seen), seen)
    return fork


def _recalled(fork: Fork, turn: int, seen: list[int]) -> Fork:
    """The same, but the pictures of that turn are brought back instead of being there."""
    words_there, pictures = fork.memory.words.copy(), fork.memory.pictures.copy()
    words_there[seen], pictures[seen] = False, False
    memory = Memory(words_there, pictures)
    return Fork(
        fork.turn, fork.ids, fork.said, fork.kind, memory, fork.lag, turn, fork.text, fork.answer
    )


def alert(rng: Rng, turns: list[Turn], turn: int, memory: Memory) -> Fork | None:
    """Whether a condition holds at this turn; the two answers are about equally frequent."""
    wanted = bool(rng.random() < 0.5)
    for _ in range(5):
        waited = condition(rng, turns, turn if wanted else None)
        if waited is None:
            continue
        holds = waited.holds(turns, turn)
        if holds is None or holds != wanted:
            continue
        question: list[Words] = DIALECT.alert(waited.text, float(turn))
        ids = [i for part in question for i in part.ids]
        answer = DIALECT.yes if holds else DIALECT.no
        said = (*(False for _ in ids), True)
        text = "yes" if holds else "no"
        kind = f"alert {waited.kind}"
        return Fork(turn, (*ids, answer), said, kind, memory, 0.0, -1, waited.text, text)
    return None


def strange(rng: Rng, turn: int, memory: Memory) -> Fork:
    return build(turn, foreign(rng), memory, float(turn), None)
