"""What a played stream is worth: answers by kind and lag, events told in time, alerts, repeats."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from .meaning import Meaning, meanings
from .telling import caption
from .truth import Turn

LAGS = ((1, 5), (6, 15), (16, 40), (41, 90), (91, 120), (121, 600), (601, 1800))
NEAR = 1
"""Turns by which an event may be told early or late."""
REPEAT = 10
"""Turns within which the same caption is a repeat, unless it happened again."""


@dataclass(slots=True)
class Score:
    """Right ones of all."""

    right: int = 0
    all: int = 0

    def add(self, right: bool) -> None:
        self.right += right
        self.all += 1

    @property
    def share(self) -> float | None:
        return round(self.right / self.all, 3) if self.all else None


def total(scores: dict[str, Score]) -> Score:
    """Of all kinds together."""
    return Score(sum(s.right for s in scores.values()), sum(s.all for s in scores.values()))


@dataclass(slots=True)
class Matches:
    """Events that were told (`found`), missed, and told without having happened."""

    found: int = 0
    missed: int = 0
    false: int = 0

    @property
    def f1(self) -> float | None:
        told = 2 * self.found + self.missed + self.false
        return round(2 * self.found / told, 3) if told else None


def match(true: list[int], said: list[int]) -> tuple[int, int, int]:
    """Found, missed and false of times (turns, ascending), each used once."""
    left, found = list(said), 0
    for time in true:
        near = [t for t in left if abs(t - time) <= NEAR]
        if near:
            left.remove(min(near, key=lambda t: abs(t - time)))
            found += 1
    return found, len(true) - found, len(left)


def quiet(turns: list[Turn]) -> list[bool]:
    """Whether nothing happens at a turn, nor in the two before and after it, and nothing moves."""
    lively = [
        bool(turn.events)
        or turn.fresh
        or turn.state.camera != "still"
        or any(thing.way != "still" for thing in turn.state.things)
        for turn in turns
    ]
    return [not any(lively[max(0, n - 2) : n + 3]) for n in range(len(turns))]


@dataclass(slots=True)
class Sheet:
    """All counts of one policy and length."""

    now: dict[str, Score] = field(default_factory=lambda: defaultdict(Score))
    happened: dict[str, Score] = field(default_factory=lambda: defaultdict(Score))
    before: dict[str, Score] = field(default_factory=lambda: defaultdict(Score))
    captions: Matches = field(default_factory=Matches)
    alerts: Matches = field(default_factory=Matches)
    said: int = 0
    repeated: int = 0
    quiet_turns: int = 0
    quiet_captions: int = 0
    quiet_alert_turns: int = 0
    quiet_alerts: int = 0
    tokens: int = 0

    def captions_of(self, turns: list[Turn], said: list[str], wish: str = "") -> None:
        """Compare the captions of a stream with what happened in it and was wished to be told."""
        true: dict[Meaning, list[int]] = defaultdict(list)
        told: dict[Meaning, list[int]] = defaultdict(list)
        truths = [caption(turn, number == 0, wish=wish) for number, turn in enumerate(turns)]
        for events, texts in ((true, truths), (told, said)):
            for number, text in enumerate(texts):
                for meaning in meanings(text):
                    events[("scene",) if meaning[0] == "scene" else meaning].append(number)
        for meaning in {*true, *told}:
            found, missed, false = match(true.get(meaning, []), told.get(meaning, []))
            self.captions.found += found
            self.captions.missed += missed
            self.captions.false += false
        self._repeats(said, truths)
        still = quiet(turns)
        self.quiet_turns += sum(still)
        self.quiet_captions += sum(
            1 for calm, text in zip(still, said, strict=True) if calm and text
        )

    def _repeats(self, said: list[str], truths: list[str]) -> None:
        for number, text in enumerate(said):
            if not text:
                continue
            self.said += 1
            own = meanings(text)
            earlier = [meanings(s) for s in said[max(0, number - REPEAT) : number] if s]
            truly = [meanings(t) for t in truths[max(0, number - NEAR) : number + NEAR + 1]]
            self.repeated += own in earlier and own not in truly

    def alert(self, turns: list[Turn], holds: list[bool | None], fired: list[int]) -> None:
        """Compare when an alert fired with when its condition came true."""
        true = [
            number
            for number, value in enumerate(holds)
            if value and (number == 0 or _false_before(holds, number))
        ]
        found, missed, _ = match(true, fired)
        false = [
            number
            for number in fired
            if not any(abs(number - t) <= NEAR for t in true) and holds[number] is False
        ]
        self.alerts.found += found
        self.alerts.missed += missed
        self.alerts.false += len(false)
        still = quiet(turns)
        self.quiet_alert_turns += sum(still)
        self.quiet_alerts += sum(still[number] for number in false)

    def report(self) -> dict[str, object]:
        minutes = self.quiet_turns / 60, self.quiet_alert_turns / 60
        return {
            "now": {kind: score.share for kind, score in sorted(self.now.items())},
            "happened": {lag: score.share for lag, score in sorted(self.happened.items())},
            "happened all": total(self.happened).share,
            "state then": {lag: score.share for lag, score in sorted(self.before.items())},
            "state then all": total(self.before).share,
            "caption f1": self.captions.f1,
            "alert f1": self.alerts.f1,
            "false alerts a quiet minute": _rate(self.quiet_alerts, minutes[1]),
            "captions a quiet minute": _rate(self.quiet_captions, minutes[0]),
            "repeated captions": _rate(self.repeated, self.said),
            "captions": self.said,
            "questions": sum(total(s).all for s in (self.now, self.happened, self.before)),
            "most tokens kept": self.tokens,
        }


def _false_before(holds: list[bool | None], number: int) -> bool:
    """Whether the last turn of which one can tell was false."""
    for value in reversed(holds[:number]):
        if value is not None:
            return not value
    return True


def _rate(count: int, of: float) -> float | None:
    return round(count / of, 3) if of else None


def lag_name(lag: float) -> str:
    """The bucket of a lag in seconds."""
    for low, high in LAGS:
        if lag < high + 0.5:
            return f"{low:04d}-{high:04d} s"
    return "longer"
