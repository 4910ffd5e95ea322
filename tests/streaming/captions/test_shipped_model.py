"""What is shipped, the way a viewer gets it: weights, rules and engine together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from millrace.models.training.vl.story import tell
from millrace.models.training.vl.truth import timeline
from millrace.streaming.captions.host import CaptionOptions
from millrace.streaming.captions.model import CaptionModel
from millrace.streaming.captions.offline import FileCaptions
from millrace.streaming.captions.registry import build
from millrace.streaming.captions.trial import HELD_OUT, frames


@pytest.fixture(scope="module")
def model() -> Iterator[CaptionModel]:
    yield build(CaptionOptions("tiny", "cpu", max_sessions=1))


def test_it_says_what_it_is(model: CaptionModel) -> None:
    info = model.info
    assert info.name == "tiny" and info.limits and info.examples and info.alerts
    assert info.period == 1.0 and info.look.max_pixels == 128 * 128
    assert "last4" in info.policies and "group" not in info.policies


def test_it_tells_colours_of_streams_that_it_never_saw(model: CaptionModel) -> None:
    answers: list[tuple[str, str]] = []
    for seed in range(3):
        stream = tell(HELD_OUT + 77_000 + seed, 12.0, (128, 128))
        turns = timeline(stream)
        with FileCaptions(model) as file:
            for index, frame in enumerate(frames(stream)):
                file.see(frame)
                if not index % 2 or not 6 <= index < 2 * len(turns):
                    continue
                things = turns[index // 2].state.things
                shapes = [thing.shape for thing in things]
                for thing in things:
                    if shapes.count(thing.shape) == 1 and thing.shape != "something":
                        parts = file.ask(f"What color is the {thing.shape}?")
                        answers.append((thing.colour, "".join(part.text for part in parts)))
    assert len(answers) >= 5
    assert sum(colour in answer for colour, answer in answers) >= 0.7 * len(answers), answers


def test_it_is_the_same_each_time(model: CaptionModel) -> None:
    stream = tell(HELD_OUT + 78_001, 10.0, (96, 160))

    def told() -> list[object]:
        with FileCaptions(model) as file:
            out: list[object] = [t for frame in frames(stream) for t in file.see(frame)]
            return [*out, *file.ask("what do you see?")]

    assert told() == told()
