"""Tables of the shipped language model: every memory policy, over a minute, five and thirty.

All streams and half of their photographs are ones that training has not seen, and all goes through
the streaming path that viewers get.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from .... import assets
from ...vl.memory.sizes import POLICIES
from ...vl.model import VLModel
from ...vl.spans import find_span
from ...vl.specs import TINY_VL
from ...vl.tiny_vl import load_tiny_vl
from . import wishing
from .asking import about
from .meaning import same
from .measures import Sheet, lag_name
from .phrases import HAPPENED, choose
from .player import SPEAK, Player, Seat, Show, load_show
from .remembered import asked_turns
from .report import Results, joined, report
from .story import Taste, tell
from .telling import caption
from .waiting import Condition, condition

FIRE, REARM = 1.0, 0.0
"""Log-odds at which an alert fires, and at which it is armed again."""
REPORT = "tiny_vl_report"
WISHED = 60
"""Length of the streams that are told with a standing wish as well."""


@dataclass(frozen=True, slots=True)
class Run:
    """Streams of one length: how many, how many alerts each, how often questions are asked (0 for
    never), and the seed of the first."""

    seconds: int
    streams: int
    alerts: int
    every: int
    seed: int = 500_000_000


RUNS = (Run(60, 16, 8, 2), Run(300, 12, 3, 6), Run(1800, 2, 2, 12))
Question = tuple[Seat, str, float, tuple[float, float] | None]


@dataclass(slots=True)
class Watch:
    """A standing alert of a seat, and its log-odds at each turn."""

    seat: Seat
    waited: Condition
    odds: list[float] = field(default_factory=list)

    def score(self, sheet: Sheet, fire: float, rearm: float) -> None:
        """Onto a sheet, with these thresholds."""
        turns = self.seat.show.turns
        holds = [self.waited.holds(turns, n) for n in range(len(turns))]
        sheet.alert(turns, holds, fired(self.odds, fire, rearm))


def fired(odds: Sequence[float], fire: float, rearm: float) -> list[int]:
    """Turns at which an alert fires: on the rising edge, and again after it was false."""
    found, armed = [], True
    for number, value in enumerate(odds):
        if value <= rearm:
            armed = True
        elif value >= fire and armed:
            armed = False
            found.append(number)
    return found


def _past_lag(rng: np.random.Generator, number: int) -> int:
    """Seconds back, as often near as far."""
    return int(round(np.exp(rng.uniform(0, np.log(max(2, number))))))


class Examiner:
    """Plays the streams of one length under one policy and fills a sheet."""

    def __init__(
        self, model: VLModel, policy: str, shows: Sequence[Show], run: Run, speak: float = SPEAK
    ) -> None:
        self.player, self.run = Player(model, policy, shows, speak), run
        self.sheet = Sheet()
        self.rng = np.random.default_rng(run.seconds)
        self.truths = [[caption(t, n == 0) for n, t in enumerate(show.turns)] for show in shows]
        self.watches: list[Watch] = []
        for seat in self.player.seats:
            found: list[Condition] = []
            while len(found) < run.alerts:
                waited = condition(self.rng, seat.show.turns)
                if waited is not None and waited.kind != "any":
                    found.append(waited)
            self.watches += [Watch(seat, waited) for waited in found]

    def play(self, progress: bool) -> dict[str, object]:
        count = max(len(seat.show.turns) for seat in self.player.seats)
        for number in tqdm(range(count), disable=not progress, leave=False):
            self.player.turn(number)
            self._listen(number)
            if self.run.every and number % self.run.every == 0:
                self._ask_now(number)
                self._ask_past(number)
        for seat in self.player.seats:
            self.sheet.captions_of(seat.show.turns, seat.said)
        for watch in self.watches:
            watch.score(self.sheet, FIRE, REARM)
        return self.sheet.report()

    def _listen(self, number: int) -> None:
        watches = [w for w in self.watches if number < len(w.seat.show.turns)]
        odds = self.player.odds([(w.seat, w.waited.text, float(number)) for w in watches])
        for watch, value in zip(watches, odds, strict=True):
            watch.odds.append(value)
        for seat in self.player.seats:
            self.sheet.tokens = max(self.sheet.tokens, seat.reading.length)

    def _ask_now(self, number: int) -> None:
        questions: list[Question] = []
        wanted: list[tuple[str, str]] = []
        for seat in self.player.seats:
            for _ in range(2):
                asked = about(self.rng, seat.show.turns[number].state)
                if asked is not None:
                    questions.append((seat, asked.text, number + 0.9, None))
                    wanted.append((asked.kind, asked.answer))
        if not questions:
            return
        for (kind, answer), said in zip(wanted, self.player.ask(questions), strict=True):
            self.sheet.now[kind].add(same(said, answer))

    def _ask_past(self, number: int) -> None:
        questions: list[Question] = []
        wanted: list[tuple[bool, float, str]] = []
        for index, seat in enumerate(self.player.seats):
            for form in range(2):
                lag = _past_lag(self.rng, number)
                now = number + 0.9
                found = self._about_past(index, number, lag, form == 0)
                if found is not None:
                    text, answer = found
                    text = f"{text} {lag} seconds ago"
                    questions.append((seat, text, now, find_span(text, now)[0]))
                    wanted.append((form == 0, lag, answer))
        if not questions:
            return
        for (event, back, answer), said in zip(wanted, self.player.ask(questions), strict=True):
            kind = self.sheet.happened if event else self.sheet.before
            kind[lag_name(back)].add(same(said, answer))

    def _about_past(self, index: int, number: int, lag: int, event: bool) -> tuple[str, str] | None:
        """A question about `lag` seconds ago and its true answer; None where there is no one."""
        span = find_span(f"{lag} seconds ago", number + 0.9)[0]
        assert span is not None
        at = [n for n in asked_turns(span) if n <= number]
        turns = self.player.seats[index].show.turns
        if event:
            told = [self.truths[index][n] for n in at if self.truths[index][n]]
            if len(told) > 2 or (not told and self.rng.random() < 0.6):
                return None
            answer = ", then ".join(told) or "nothing happened"
            return choose(self.rng, HAPPENED), answer
        seed = int(self.rng.integers(1 << 40))
        asked = [about(np.random.default_rng(seed), turns[n].state) for n in at]
        first = asked[0]
        if first is None or any(other != first for other in asked):
            return None
        return first.text.rstrip("?"), first.answer


def shows_of(model: VLModel, run: Run) -> list[Show]:
    """The held-out streams of one length; half of them on held-out photographs."""
    found = []
    for index in range(run.streams):
        seed = run.seed + run.seconds * 1000 + index
        size = ((128, 128), (96, 160), (96, 128))[index % 3]
        stream = tell(seed, run.seconds + 0.6, size, Taste(quiet=0.2, heldout=index % 2 == 0))
        found.append(load_show(model, stream))
    return found


def evaluate(
    model: VLModel, runs: Sequence[Run], policies: Sequence[str], progress: bool = True
) -> Results:
    """{"60 s": {policy: measures}}."""
    out: Results = {}
    for run in runs:
        shows = shows_of(model, run)
        found = {p: Examiner(model, p, shows, run).play(progress) for p in policies}
        if run.seconds == WISHED and "default" in found:
            found["default"][wishing.SHARE] = wishing.granted(model, shows)
        out[f"{run.seconds} s"] = {p: {"streams": run.streams, **m} for p, m in found.items()}
    return out


def load(path: str) -> VLModel:
    """The shipped model, or the averaged weights of a training run."""
    if not path:
        return load_tiny_vl()
    model = VLModel(TINY_VL)
    model.load_state_dict(torch.load(path, weights_only=True)["average"])
    return model.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="", help="last.pt of a run; else what is shipped")
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--seconds", default="60,300,1800")
    parser.add_argument("--add", action="store_true", help="to what the report has of others")
    parser.add_argument("--out", type=Path, default=assets.FOLDER)
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = {int(part) for part in options.seconds.split(",")}
    runs = [run for run in RUNS if run.seconds in wanted]
    results = evaluate(load(options.checkpoint), runs, options.policies.split(","))
    options.out.mkdir(parents=True, exist_ok=True)
    target = options.out / f"{REPORT}.json"
    if options.add and target.exists():
        results = joined(json.loads(target.read_text()), results)
    target.write_text(json.dumps(results, indent=1) + "\n")
    (options.out / f"{REPORT}.md").write_text(report(results))
    print(report(results))


if __name__ == "__main__":
    main()
