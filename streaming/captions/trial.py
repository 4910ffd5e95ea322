"""What the whole engine is worth on held-out streams: gate, hysteresis, repetition and alerts.

    python -m millrace.streaming.captions.trial

The tables of the report (`models.training.vl.evaluate`) judge the model alone. Here its streams go
the way of a viewer's: as I420, through the engine, with its rules for when to speak.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch

from ...models.training.vl.asking import about
from ...models.training.vl.evaluate import load
from ...models.training.vl.meaning import same
from ...models.training.vl.measures import Sheet, lag_name
from ...models.training.vl.phrases import HAPPENED, choose
from ...models.training.vl.remembered import MOST_TOLD, asked_turns
from ...models.training.vl.story import Taste, tell
from ...models.training.vl.telling import caption
from ...models.training.vl.truth import Turn, timeline
from ...models.training.vl.waiting import Condition, condition
from ...models.training.vl.world import Stream, picture
from ...models.vl.spans import find_span
from ..frames import PTS_RATE, Frame
from .alerts import AlertRule
from .host import AlertFired, CaptionConfig, CaptionOptions, Said, Telling
from .model import CaptionModel
from .offline import FileCaptions
from .registry import tiny_around
from .speaking import GateRule, SpeakRule

HELD_OUT = 600_000_000
"""Streams from this seed on are of neither the training nor its report."""
FPS = 2.0
SIZES = ((128, 128), (96, 160), (96, 128))
"""Height and width."""
Rule = TypeVar("Rule", GateRule, SpeakRule, AlertRule)
RULES: dict[str, type[GateRule] | type[SpeakRule] | type[AlertRule]] = {
    "gate": GateRule,
    "speak": SpeakRule,
    "alert": AlertRule,
}
LIMITED = 219.0, 16.0
"""Range and foot of luma."""


def frames(stream: Stream) -> Iterator[Frame]:
    """The stream as a camera gives it, two pictures a second."""
    for index in range(int(stream.seconds * FPS)):
        time = index / FPS
        image = picture(stream, time)
        height, width = image.shape[:2]
        planes = i420(image)
        yield Frame(planes, width, height, round(time * PTS_RATE), time, index)


def i420(image: np.ndarray) -> np.ndarray:
    """RGB [H, W, 3] in 0..1 -> uint8 [H * 3/2, W], BT.601 limited range, chroma averaged."""
    red, green, blue = np.moveaxis(image.astype(np.float64), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = (blue - luma) / 1.772, (red - luma) / 1.402
    height, width = luma.shape
    small = [c.reshape(height // 2, 2, width // 2, 2).mean((1, 3)) for c in chroma]
    rows = [luma * LIMITED[0] + LIMITED[1]]
    rows += [(c * 224 + 128).reshape(height // 4, width) for c in small]
    return np.clip(np.rint(np.concatenate(rows)), 0, 255).astype(np.uint8)


def conditions(turns: list[Turn], count: int, seed: int) -> list[Condition]:
    """What viewers wait for in this stream."""
    rng, found = np.random.default_rng(seed), list[Condition]()
    while len(found) < count:
        waited = condition(rng, turns)
        if waited is not None and waited.kind != "any":
            found.append(waited)
    return found


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of each stream.

    Attributes:
        alerts: conditions to wait for.
        every: turns from one pair of questions to the next, 0 for none.
        policy: name of the memory policy.
    """

    alerts: int = 4
    every: int = 4
    policy: str = "default"


def play(model: CaptionModel, stream: Stream, plan: Plan, sheet: Sheet) -> None:
    """One stream through the engine, onto the sheet."""
    turns = timeline(stream)
    rng = np.random.default_rng(stream.seed)
    told: list[Telling] = []
    with FileCaptions(model, CaptionConfig(memory=plan.policy)) as file:
        waited = {file.watch(c.text): c for c in conditions(turns, plan.alerts, stream.seed)}
        for index, frame in enumerate(frames(stream)):
            told += file.see(frame)
            number = index // 2
            if index % 2 and plan.every and number % plan.every == plan.every - 1:
                ask(file, rng, turns, number, sheet)
        told += file.end()
    said = [""] * len(turns)
    fired: dict[int, list[int]] = {}
    for telling in told:
        match telling:
            case Said(cue) if cue.kind == "caption" and cue.start < len(turns):
                said[int(cue.start)] = cue.text
            case AlertFired(alert, _, time) if time < len(turns):
                fired.setdefault(alert, []).append(int(time))
    sheet.captions_of(turns, said)
    for number, wait in waited.items():
        holds = [wait.holds(turns, n) for n in range(len(turns))]
        sheet.alert(turns, holds, fired.get(number, []))


def ask(
    file: FileCaptions, rng: np.random.Generator, turns: list[Turn], number: int, sheet: Sheet
) -> None:
    """What is so at this turn, and what happened some seconds ago."""
    asked = about(rng, turns[number].state)
    if asked is not None:
        sheet.now[asked.kind].add(same(_answer(file, asked.text), asked.answer))
    lag = int(rng.integers(1, number + 1))
    text = f"{choose(rng, HAPPENED)} {lag} seconds ago"
    span = find_span(text, file.second)[0]
    assert span is not None
    truths = [caption(turns[n], n == 0) for n in asked_turns(span) if n <= number]
    events = [words for words in truths if words]
    if len(events) <= MOST_TOLD:
        answer = ", then ".join(events) or "nothing happened"
        sheet.happened[lag_name(lag)].add(same(_answer(file, text), answer))


def _answer(file: FileCaptions, text: str) -> str:
    return "".join(part.text for part in file.ask(text))


def run(model: CaptionModel, seconds: int, streams: int, plan: Plan) -> Sheet:
    sheet = Sheet()
    for index in range(streams):
        taste = Taste(quiet=0.2, heldout=index % 2 == 0)
        seed = HELD_OUT + seconds * 1000 + index
        play(model, tell(seed, seconds + 0.6, SIZES[index % 3], taste), plan, sheet)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="", help="of a training run; else what is shipped")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--streams", type=int, default=12)
    for field in fields(Plan):
        kind = str if field.name == "policy" else int
        parser.add_argument(f"--{field.name}", type=kind, default=field.default)
    for name, rule in RULES.items():
        for field in fields(rule):
            parser.add_argument(f"--{name}-{field.name}", type=float, help=f"of {rule.__name__}")
    asked = vars(parser.parse_args())
    torch.set_num_threads(1)
    model = tiny_around(load(asked["checkpoint"]), CaptionOptions(max_sessions=1), "cpu", "float32")
    model = replace(
        model,
        gate=_changed("gate", model.gate, asked),
        speak=_changed("speak", model.speak, asked),
        alert=_changed("alert", model.alert, asked),
    )
    plan = Plan(asked["alerts"], asked["every"], asked["policy"])
    sheet = run(model, asked["seconds"], asked["streams"], plan)
    rules = [str(rule) for rule in (model.gate, model.speak, model.alert)]
    print(json.dumps({"rules": rules, **sheet.report()}, indent=1))


def _changed(name: str, rule: Rule, asked: Mapping[str, Any]) -> Rule:
    """A rule with what was asked for."""
    values = {field.name: asked[f"{name}_{field.name}"] for field in fields(rule)}
    return replace(rule, **{key: value for key, value in values.items() if value is not None})


if __name__ == "__main__":
    main()
