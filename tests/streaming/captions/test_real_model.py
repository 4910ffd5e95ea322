"""The engine with the embedded network, random weights: everything but sense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from caption_fakes import Ear
from millrace.models.vl.memory.sizes import TINY_SIZES, SinkSizes, WindowSizes
from millrace.models.vl.model import VLModel
from millrace.models.vl.specs import TINY_VL
from millrace.models.vl.stream import StreamingVL
from millrace.streaming.captions.engine import CaptionEngine
from millrace.streaming.captions.host import AnswerPart, CaptionConfig, CaptionOptions, Said
from millrace.streaming.captions.looks import LookSpec
from millrace.streaming.captions.messages import OpenCaptions
from millrace.streaming.captions.model import CaptionModel, TextRule
from millrace.streaming.captions.offline import FileCaptions, caption_file
from millrace.streaming.captions.registry import OFFERED, build, look_of, memories, tiny_around
from millrace.streaming.captions.sampler import Sampler
from millrace.streaming.clock import ManualClock
from millrace.streaming.frames import PTS_RATE, Frame, i420_shape

FPS = 2.0
SIZES = replace(
    TINY_SIZES,
    window=WindowSizes(vision_turns=3, text_turns=5, memo_first=8, memo_last=8),
    sinks=SinkSizes(first=4, last=100),
)
"""So small that everything leaves the window within seconds."""


def model() -> CaptionModel:
    """Random weights, spread so that words differ from turn to turn."""
    made = build(CaptionOptions("tiny-random", device="cpu", max_sessions=3))
    reader = made.reader
    assert isinstance(reader, StreamingVL)
    with torch.no_grad():
        for name, weight in reader.model.named_parameters():
            if weight.dim() > 1:
                generator = torch.Generator().manual_seed(len(name))
                weight.copy_(0.15 * torch.randn(weight.shape, generator=generator))
    memory = memories(SIZES, "cpu")
    return replace(made, memory=memory, text=TextRule(caption_tokens=4, answer_tokens=6))


def film(seconds: int, seed: int) -> list[Frame]:
    """Blocks of colour that change all the time."""
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(int(seconds * FPS)):
        blocks = rng.integers(30, 220, i420_shape(16, 16), np.uint8)
        planes = np.repeat(np.repeat(blocks, 8, 0), 8, 1)
        frames.append(Frame(planes, 128, 128, round(index * PTS_RATE / FPS), index / FPS, index))
    return frames


def words(told: Sequence[object]) -> list[tuple[float, str]]:
    return [(t.cue.start, t.cue.text) for t in told if isinstance(t, Said)]


def test_it_speaks_the_same_each_time_and_about_what_it_sees() -> None:
    first, again, other = (list(caption_file(model(), film(5, seed))) for seed in (1, 1, 2))
    assert words(first) == words(again) != []
    assert words(first) != words(other)


@pytest.mark.parametrize("policy", OFFERED)
def test_questions_leave_the_captions_as_they_are(policy: str) -> None:
    config, frames = CaptionConfig(memory=policy), film(10, 3)
    plain = list(caption_file(model(), frames, config))
    asked: list[object] = []
    with FileCaptions(model(), config) as file:
        file.watch("something moves")
        for number, frame in enumerate(frames):
            asked += file.see(frame)
            if number % 7 == 6:
                parts = list(file.ask("what happened 5 seconds ago?"))
                assert parts[-1].done and all(isinstance(part, AnswerPart) for part in parts)
        asked += file.end()
    captions = [t for t in asked if isinstance(t, Said) and t.cue.kind == "caption"]
    assert words(list(captions)) == words(list(plain))


def test_viewers_together_are_told_what_each_is_told_alone() -> None:
    films = {f"v{seed}": film(5, seed) for seed in (1, 2, 3)}

    def told(ids: list[str]) -> dict[str, list[str]]:
        made, ears = model(), {id: Ear() for id in ids}
        engine = CaptionEngine(made, ManualClock(), late=float("inf"))
        samplers = {id: Sampler(made.info.look) for id in ids}
        for id in ids:
            engine.request(OpenCaptions(id, CaptionConfig()), ears[id])
        for index in range(10):
            for id in ids:
                frame = films[id][index]
                for look in samplers[id].take(frame, frame.captured_at):
                    engine.look(id, look)
            while engine.tick():
                pass
        return {id: ear.texts() for id, ear in ears.items()}

    together = told(list(films))
    assert all(together.values())
    assert together == {id: told([id])[id] for id in films}


def test_a_long_film_takes_no_more_memory_than_a_short_one() -> None:
    made = model()
    reader = made.reader
    assert isinstance(reader, StreamingVL)
    size, lengths = reader.arena.nbytes, []
    with FileCaptions(made, CaptionConfig(memory="streamingllm")) as file:
        for frame in film(20, 5):
            file.see(frame)
            lengths.append(reader.arena.slots - reader.arena.free)
    assert reader.arena.nbytes == size
    assert max(lengths) <= 104 + 1 + 64
    assert reader.arena.free == reader.arena.slots  # all given back


def test_pictures_are_taken_as_the_tower_wants_them() -> None:
    vision = replace(TINY_VL.vision, frames=4, carried=2, per_second=0.5)
    assert look_of(vision) == LookSpec(frames=2, carried=2, period=2.0)
    assert look_of(replace(vision, frames=2, carried=0)) == LookSpec(frames=2, period=2.0)


def test_a_model_whose_looks_overlap_reads_each_picture_twice() -> None:
    spec = replace(TINY_VL, vision=replace(TINY_VL.vision, frames=4, carried=2))
    network = VLModel(spec).eval().requires_grad_(False)
    options = CaptionOptions("tiny-random", device="cpu", max_sessions=1)
    made = tiny_around(network, options, "cpu", "float32")
    assert (made.info.look.frames, made.info.look.carried) == (2, 2)
    shown: list[torch.Tensor] = []

    def see(pictures: torch.Tensor) -> object:
        shown.append(pictures)
        return StreamingVL.see(made.reader, pictures)  # type: ignore[arg-type]

    made.reader.see = see  # type: ignore[method-assign, assignment]
    with FileCaptions(made) as file:
        for frame in film(3, 7):
            file.see(frame)
    first, second, third = (pictures[0] for pictures in shown)
    assert first.shape == (4, 3, 128, 128)
    assert torch.equal(first[0], first[2]) and torch.equal(first[1], first[2])
    assert torch.equal(second[:2], first[2:]) and torch.equal(third[:2], second[2:])
