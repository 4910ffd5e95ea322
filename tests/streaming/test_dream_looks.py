"""The second stage: a look after the comma, by the shipped stylizer as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from millrace.models.text import PromptEncoder
from millrace.models.tiny import load_prompts, load_tiny
from millrace.models.video import VideoModel
from millrace.streaming.controls import Controls
from millrace.streaming.diffusion import VideoDiffusion
from millrace.streaming.dream_info import HOLD
from millrace.streaming.dream_looks import Looks
from millrace.streaming.dream_pipeline import Dreaming
from millrace.streaming.dream_streams import covering
from millrace.streaming.pipeline import StreamConfig, Work
from millrace.streaming.tiny import tiny_parts
from millrace.streaming.tiny_info import TINY_INFO

from .dream_models import BLANK, SIZE, Both, drawn, small_parts, wishes

Tiny = tuple[VideoModel, PromptEncoder]


@pytest.fixture(scope="module")
def parts() -> Both:
    return small_parts(torch.float32)


@pytest.fixture(scope="module")
def tiny() -> Iterator[Tiny]:
    yield load_tiny(), load_prompts()


@pytest.fixture
def dreaming(parts: Both, tiny: Tiny) -> Dreaming:
    return Dreaming(*parts, looks=Looks(*tiny, streams=3), streams=3, steps=1)


def stylized(tiny: Tiny, frames: torch.Tensor, prompt: str, seed: int) -> torch.Tensor:
    """Frames through the embedded stylizer alone."""
    pipeline = VideoDiffusion(tiny_parts(*tiny), streams=1)
    stream = pipeline.open(StreamConfig(width=frames.shape[-1], height=frames.shape[-2]))
    values = {"prompt": prompt, "seed": seed}
    controls = Controls.defaults(TINY_INFO.controls).changed(TINY_INFO.controls, values)
    made = [
        result.frames
        for index in range(len(frames))
        for result in pipeline.step([Work(stream, index, frames[index, None], controls)])
    ]
    return torch.cat(made)


@pytest.mark.parametrize(
    ("prompt", "scene", "look"),
    [
        ("waves at sunset, oil painting", "waves at sunset", "oil painting"),
        ("snow, fire, oil painting, neon lights", "snow, fire", "oil painting, neon lights"),
        (", pencil sketch", "", "pencil sketch"),
        ("waves, sunset", "waves, sunset", ""),  # a word of both: the scene has it
        ("red, waves", "red, waves", ""),
        ("waves, zebra", "waves, zebra", ""),
        ("waves,", "waves,", ""),
        ("oil painting", "oil painting", ""),
        ("", "", ""),
    ],
)
def test_what_of_a_prompt_is_a_look(dreaming: Dreaming, prompt: str, scene: str, look: str) -> None:
    assert dreaming.looks is not None
    wording = dreaming.looks.split(prompt, lambda part: not dreaming.model.hear(part).unknown)
    assert (wording.scene, wording.look) == (scene, look)
    assert (wording.understood is not None) == bool(look)


@pytest.mark.parametrize("size", [(128, 128), (90, 70)])
def test_it_equals_stylizing_the_first_stage_frame_by_frame(
    parts: Both, tiny: Tiny, dreaming: Dreaming, size: tuple[int, int]
) -> None:
    config = StreamConfig(width=size[1], height=size[0])
    plain = Dreaming(*parts, streams=1, steps=1)
    first = torch.cat(drawn(plain, plain.open(config), wishes(prompt="waves", seed=5), 3))
    asked = wishes(prompt="waves, oil painting", seed=5)
    both = torch.cat(drawn(dreaming, dreaming.open(config), asked, 3))
    drawn_for = Looks.drawn_for(size)
    if drawn_for == size:
        wanted = stylized(tiny, first[::HOLD], "oil painting", 5)
        torch.testing.assert_close(both[::HOLD], wanted, rtol=0, atol=1e-5)
    else:
        assert drawn_for == (96, 80)
        # The same pictures before they were cut to what is shown.
        large = Dreaming(*parts, streams=1, steps=1)
        stream = large.open(config)
        stream.size = drawn_for
        uncut = torch.cat(drawn(large, stream, wishes(prompt="waves", seed=5), 3))
        wanted = covering(stylized(tiny, uncut[::HOLD], "oil painting", 5), size)
        torch.testing.assert_close(both[::HOLD], wanted, rtol=0, atol=1e-5)
    assert float((both - first).abs().mean()) > 0.02, "it is another picture"
    assert torch.equal(both[0], both[1]), "each picture is shown twice"


def test_a_look_comes_and_goes_without_touching_others(dreaming: Dreaming) -> None:
    """Beside a stream that never has one, and longer than there are places for looks."""
    one, other = dreaming.open(SIZE), dreaming.open(SIZE)
    never = wishes(prompt="fire", seed=1)
    alone = Dreaming(dreaming.model, dreaming.autoencoder, streams=3, steps=1)
    its = drawn(alone, alone.open(SIZE), never, 6)
    for index in range(6):
        text = "waves, comic book" if index % 2 else "waves"
        works = [
            Work(one, index, BLANK, wishes(prompt=text)),
            Work(other, index, BLANK, never),
        ]
        mine, theirs = dreaming.step(works)
        assert ("look" in mine.notes) == bool(index % 2) and "look" not in theirs.notes
        assert (one.styled is not None) == bool(index % 2)
        torch.testing.assert_close(theirs.frames, its[index], rtol=0, atol=1e-5)
    dreaming.close(one)
    assert dreaming.looks is not None
    assert all(bank.idle for bank in dreaming.looks._pipeline.banks.values())


def test_a_stream_that_moves_takes_its_look_along(parts: Both, tiny: Tiny) -> None:
    here, there = (
        Dreaming(*parts, looks=Looks(*tiny, streams=2), streams=2, steps=1) for _ in range(2)
    )
    asked = wishes(prompt="waves, light trails", seed=2)
    staying, leaving = here.open(SIZE), here.open(SIZE)
    for stream in (staying, leaving):
        drawn(here, stream, asked, 2)
    arrived = there.load(SIZE, here.save(leaving))
    moved, stayed = drawn(there, arrived, asked, 2, 2), drawn(here, staying, asked, 2, 2)
    assert torch.equal(torch.stack(moved), torch.stack(stayed))


def test_the_viewer_is_told_of_scene_and_look(dreaming: Dreaming) -> None:
    stream = dreaming.open(SIZE)
    asked = wishes(prompt="red waves with a zebra, oil painting of a giraffe")
    (result,) = dreaming.step([Work(stream, 0, BLANK, asked)])
    assert result.notes["understood"] == [["red waves", 1.0]]
    assert result.notes["look"] == [["oil", 1.0]]
    assert result.notes["unknown"] == ["zebra", "giraffe"]
