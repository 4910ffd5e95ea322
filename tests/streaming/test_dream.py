"""Video from words: streams of a small scene model with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import make_frame
from millrace.models.scene import PLACES, WEIGHTS, save_scene
from millrace.streaming import offline
from millrace.streaming.config import ConfigError
from millrace.streaming.dream import build
from millrace.streaming.dream_info import HOLD, NEW_CHUNKS, PICTURES, drawn_size
from millrace.streaming.dream_pipeline import Dreaming
from millrace.streaming.dream_streams import covering
from millrace.streaming.host import Event
from millrace.streaming.pipeline import PipelineContext, Portable, StreamConfig, Work
from millrace.streaming.registry import build_pipeline

from .dream_models import BLANK, SIZE, Both, drawn, small_parts, wished, wishes


@pytest.fixture(scope="module")
def parts() -> Both:
    return small_parts()


def host(parts: Both, steps: int = 1) -> Dreaming:
    return Dreaming(*parts, streams=3, steps=steps)


def test_each_chunk_of_the_clock_gives_a_chunk_of_pictures(
    parts: Both,
) -> None:
    dreaming = host(parts, steps=2)
    stream = dreaming.open(StreamConfig(width=80, height=48))
    (frames, again) = drawn(dreaming, stream, wishes(prompt="waves"), 2)
    assert frames.shape == (PICTURES * HOLD, 3, 48, 80)
    assert float(frames.min()) >= 0 and float(frames.max()) <= 1 and float(frames.std()) > 0.01
    assert torch.equal(frames[0], frames[1]) and not torch.equal(frames[1], frames[2])
    assert not torch.equal(frames, again)


def test_streams_in_one_batch_equal_each_alone(parts: Both) -> None:
    """Also where their rows do not lie together, and where one begins later."""
    dreaming = host(parts)
    streams = [dreaming.open(SIZE) for _ in range(3)]
    dreaming.close(streams.pop(1))
    asked = [wishes(prompt="waves", seed=1), wishes(prompt="fire", seed=2)]
    together: list[list[torch.Tensor]] = [[], []]
    for tick in range(4):
        works = [
            Work(stream, tick - late, BLANK, asked[late])
            for late, stream in enumerate(streams)
            if tick >= late
        ]
        for result in dreaming.step(works):
            together[streams.index(result.stream)].append(result.frames)
    for wish, mine in zip(asked, together, strict=True):
        alone = host(parts)
        its = drawn(alone, alone.open(SIZE), wish, len(mine))
        torch.testing.assert_close(torch.stack(mine), torch.stack(its), rtol=0, atol=1e-10)


def test_the_seed_decides_and_a_reset_begins_anew(
    parts: Both,
) -> None:
    dreaming = host(parts)
    stream = dreaming.open(SIZE)
    first = drawn(dreaming, stream, wishes(seed=3), 2)
    anew = drawn(dreaming, stream, wishes(seed=3, resets=1), 2, 2)
    other = drawn(dreaming, stream, wishes(seed=4, resets=2), 2, 4)
    assert torch.equal(torch.stack(first), torch.stack(anew))
    assert not torch.equal(torch.stack(first), torch.stack(other))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_moved_stream_equals_one_that_stays(parts: Both, dtype: torch.dtype) -> None:
    """Bit for bit, though it moves while one prompt passes into another."""
    model, autoencoder = parts[0].to(dtype), parts[1].to(dtype)
    here, there = (Dreaming(model, autoencoder, streams=3, steps=1) for _ in range(2))
    assert isinstance(here, Portable)
    there.open(SIZE)
    staying, leaving = here.open(SIZE), here.open(SIZE)
    changed = wishes(prompt="snow", transition=4)
    for stream in (staying, leaving):
        drawn(here, stream, wishes(prompt="fire"), 2)
        drawn(here, stream, changed, 1, 2)
    arrived = there.load(SIZE, here.save(leaving))
    assert arrived.notes == leaving.notes and arrived.notes
    moved, stayed = drawn(there, arrived, changed, 3, 3), drawn(here, staying, changed, 3, 3)
    assert torch.equal(torch.stack(moved), torch.stack(stayed))
    for module in parts:
        module.double()


def test_a_new_prompt_takes_over_step_by_step(parts: Both) -> None:
    dreaming = host(parts)
    model, stream = parts[0], dreaming.open(SIZE)
    fire, snow = model.context(model.tokens(["fire", "snow"]))
    drawn(dreaming, stream, wishes(prompt="fire"), 1)
    for index, share in enumerate((1 / 3, 2 / 3, 1.0, 1.0)):
        drawn(dreaming, stream, wishes(prompt="snow", transition=3), 1, index + 1)
        assert stream.context is not None
        torch.testing.assert_close(stream.context, torch.lerp(fire, snow, share))


def test_a_new_prompt_can_spare_the_pictures_in_flight(
    parts: Both,
) -> None:
    changes: dict[str, dict[str, str | int]] = {
        "never": {},
        "now": {"prompt": "snow", "transition": 0},
        "later": {"prompt": "snow", "transition": 0, "reach": NEW_CHUNKS},
    }
    films = {}
    for name, change in changes.items():
        dreaming = host(parts)
        stream = dreaming.open(SIZE)
        drawn(dreaming, stream, wishes(prompt="fire"), 1)
        films[name] = drawn(dreaming, stream, wished({"prompt": "fire", **change}), 2, 1)
    assert torch.equal(films["later"][0], films["never"][0])
    assert not torch.equal(films["later"][1], films["never"][1])
    assert not torch.equal(films["now"][0], films["never"][0])


@pytest.mark.parametrize("change", [{}, {"transition": 0}, {"reach": NEW_CHUNKS, "transition": 0}])
def test_a_new_prompt_counts_for_all_within_the_length_of_the_buffer(
    parts: Both, change: dict[str, str | int]
) -> None:
    """As many chunks later nothing in flight asks for the old one, with the usual transition or
    none."""
    dreaming, model = host(parts), parts[0]
    stream = dreaming.open(SIZE)
    drawn(dreaming, stream, wishes(prompt="fire"), 2)
    drawn(dreaming, stream, wished({"prompt": "snow", **change}), PLACES, 2)
    held = stream.bank.chunks.prompts.pooled[stream.slot]
    (goal,) = model.dit.read(model.context(model.tokens(["snow"]))).pooled
    torch.testing.assert_close(held, goal.expand_as(held))


def test_the_viewer_is_told_what_was_heard(parts: Both) -> None:
    dreaming = host(parts)
    stream = dreaming.open(SIZE)
    told = []
    for index, prompt in enumerate(("red waves with a zebra", "zebra")):
        work = Work(stream, index, BLANK, wishes(prompt=prompt))
        told.append(dreaming.step([work])[0].notes)
    assert told[0] == {"understood": [["red waves", 1.0]], "unknown": ["zebra"]}
    assert told[1] == {"understood": [["any scene", 1.0]], "unknown": ["zebra"]}


def test_rooms_are_counted(parts: Both) -> None:
    dreaming = host(parts)
    streams = [dreaming.open(SIZE) for _ in range(3)]
    with pytest.raises(RuntimeError, match="--max-sessions"):
        dreaming.open(StreamConfig(256, 256))
    dreaming.close(streams[1])
    assert dreaming.open(SIZE).slot == 1


@pytest.mark.parametrize("size", [(128, 128), (256, 256), (48, 80), (720, 1280), (90, 1000)])
def test_pictures_cover_what_is_shown(size: tuple[int, int]) -> None:
    height, width = drawn_size(size)
    assert height % 64 == width % 64 == 0 and min(height, width) == 128
    assert covering(torch.rand(1, 3, height, width), size).shape == (1, 3, *size)


def test_random_weights_are_named_and_missing_ones_too(parts: Both, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models\.training\.dream"):
        build(PipelineContext(options={"weights": tmp_path / "none.safetensors"}))
    random = build_pipeline("tiny-dream", PipelineContext(options={"random_weights": True}))
    assert "random" in random.info.description
    assert isinstance(random, Dreaming)
    save_scene(random.model, tmp_path / WEIGHTS)
    found = build(PipelineContext(options={"weights": str(tmp_path)}))
    assert "random" not in found.info.description
    assert found.model.hear("waves at sunset").words == ("waves", "sunset")


def test_blank_frames_through_the_engine_become_a_video(
    parts: Both,
) -> None:
    """A chunk is whole pictures, and the last one is filled up."""
    model, autoencoder = parts[0].float(), parts[1].float()
    dreaming = Dreaming(model, autoencoder, streams=1, steps=1)
    clock = (make_frame(index, (64, 64)) for index in range(10))
    heard: list[Event] = []
    outputs = list(offline.run(dreaming, clock, {"prompt": "fire"}, on_event=heard.append))
    assert len(outputs) == 10
    pictures = [output.frame.planes for output in outputs]
    assert not np.array_equal(pictures[0], pictures[-1])
    assert any("fire" in str(event) for event in heard)
    for module in parts:
        module.double()
