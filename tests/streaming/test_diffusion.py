"""The built-in pipeline: prompts, strengths, slots and both orders of passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from millrace.models.specs import TINY, TINY_AUTOENCODER, ConvStemSpec, RingSpec
from millrace.models.text import PromptEncoder, Understanding
from millrace.models.video import VideoModel, VideoSpec
from millrace.streaming.controls import Controls
from millrace.streaming.diffusion import Stream, VideoDiffusion
from millrace.streaming.pipeline import Result, StreamConfig, Work
from millrace.streaming.tiny_info import CONTROLS

SPEC = VideoSpec(
    autoencoder=replace(TINY_AUTOENCODER, channels=4, coarse_width=8, fine_width=8),
    dit=replace(
        TINY,
        dim=24,
        ffn_dim=32,
        freq_dim=16,
        text_dim=8,
        text_len=3,
        in_channels=4,
        out_channels=4,
        cond_channels=4,
        heads=2,
        layers=2,
        stem=ConvStemSpec(width=8, stem_blocks=1, head_blocks=1),
        ring=RingSpec(sinks=1, window=2, positions="relative", sink_threshold=None),
    ),
    styles=("camera", "noir", "neon"),
)
FRAMES = 8


class Prompts(PromptEncoder):
    """Understands exactly the style names; any other word is unknown."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def understand(self, prompt: str) -> Understanding:
        known = [word for word in prompt.split() if word in SPEC.styles]
        unknown = tuple(word for word in prompt.split() if word not in SPEC.styles)
        weights = tuple((word, 1 / len(known)) for word in known) or (("camera", 1.0),)
        return Understanding(weights, unknown, bool(known))

    def weights_of(self, understood: Understanding) -> torch.Tensor:
        row = torch.zeros(len(SPEC.styles))
        for name, weight in understood.weights:
            row[SPEC.styles.index(name)] = weight
        return row


@pytest.fixture(scope="module")
def model() -> VideoModel:
    generator = torch.Generator().manual_seed(3)
    model = VideoModel(SPEC).double()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(noise * 0.3)
    return model.eval()


def pipeline(model: VideoModel, *, sequential: bool = True, streams: int = 2) -> VideoDiffusion:
    return VideoDiffusion(model, Prompts(), streams=streams, sequential=sequential)


def clip(seed: int, frames: int = FRAMES) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(frames, 1, 3, 32, 32, generator=generator, dtype=torch.float64)


def controls(changes: Mapping[str, object]) -> Controls:
    return Controls.defaults(CONTROLS).changed(CONTROLS, {"prompt": "noir", **changes})


def run(
    host: VideoDiffusion,
    stream: Stream,
    frames: torch.Tensor,
    wishes: Mapping[int, Mapping[str, object]],
) -> dict[int, Result]:
    """Step a stream alone, wishes taking hold at their chunk; flush; results by index."""
    wish: Mapping[str, object] = {}
    out: dict[int, Result] = {}
    now = controls(wish)
    for index, frame in enumerate(frames):
        if index in wishes:
            wish = {**wish, **wishes[index]}
            now = controls(wish)
        for result in host.step([Work(stream, index, frame, now)]):
            assert result.index not in out
            out[result.index] = result
    while len(out) < len(frames):
        for result in host.step([Work(stream, len(frames), None, now)]):
            out[result.index] = result
    return out


def same(a: dict[int, Result], b: dict[int, Result]) -> None:
    assert sorted(a) == sorted(b)
    for index in a:
        torch.testing.assert_close(a[index].frames, b[index].frames, rtol=1e-10, atol=1e-10)


WISHES: dict[str, dict[int, dict[str, object]]] = {
    "still": {},
    "prompt": {3: {"prompt": "neon"}},
    "strength and steps": {0: {"steps": 2}, 2: {"strength": 0.4}, 4: {"steps": 1}, 6: {"steps": 2}},
}


@pytest.mark.parametrize("wishes", WISHES.values(), ids=WISHES.keys())
def test_both_orders_of_passes_give_the_same_pictures(
    model: VideoModel, wishes: dict[int, dict[str, object]]
) -> None:
    results = []
    for sequential in (True, False):
        host = pipeline(model, sequential=sequential)
        results.append(run(host, host.open(StreamConfig(32, 32)), clip(1), wishes))
    same(*results)


def test_two_streams_in_one_batch_equal_each_alone(model: VideoModel) -> None:
    host = pipeline(model)
    streams = [host.open(StreamConfig(32, 32)) for _ in range(2)]
    wishes = [controls({"seed": 1}), controls({"seed": 2, "prompt": "neon", "steps": 2})]
    clips = [clip(1), clip(2)]
    together: list[dict[int, Result]] = [{}, {}]
    for index in range(FRAMES):
        works = [
            Work(stream, index, clips[i][index], wishes[i]) for i, stream in enumerate(streams)
        ]
        for result in host.step(works):
            together[streams.index(result.stream)][result.index] = result
    for i in range(2):
        alone = pipeline(model)
        stream = alone.open(StreamConfig(32, 32))
        wish = {0: dict(wishes[i].values)}
        same(together[i], run(alone, stream, clips[i], wish))


def test_a_prompt_change_is_heard_at_its_chunk_and_not_before(model: VideoModel) -> None:
    results = []
    for wishes in ({}, {4: {"prompt": "neon"}}):
        host = pipeline(model)
        results.append(run(host, host.open(StreamConfig(32, 32)), clip(1), wishes))
    before, after = results
    for index in range(4):
        assert torch.equal(before[index].frames, after[index].frames)
    assert not torch.allclose(before[4].frames, after[4].frames, atol=1e-3)


def test_full_strength_of_the_camera_is_no_strength_of_anything(model: VideoModel) -> None:
    results = []
    for wish in ({"prompt": "neon", "strength": 0.0}, {"prompt": "camera", "strength": 1.0}):
        host = pipeline(model)
        results.append(run(host, host.open(StreamConfig(32, 32)), clip(1), {0: wish}))
    same(*results)


def test_a_reset_forgets_the_past(model: VideoModel) -> None:
    frames = clip(1)
    host = pipeline(model)
    stream = host.open(StreamConfig(32, 32))
    run(host, stream, frames[:5], {})
    other = pipeline(model)
    begun = other.open(StreamConfig(32, 32))
    # The entry noise follows the motion, which is a fact of the source and not a memory.
    begun.noise, begun.last_frame = stream.noise, stream.last_frame
    # The same fixed noise and no past: equal, whatever was shown before.
    fresh = replace(controls({}), resets=1)
    after = host.step([Work(stream, 5, frames[5], fresh)])[0]
    again = other.step([Work(begun, 5, frames[5], controls({}))])[0]
    torch.testing.assert_close(after.frames, again.frames, rtol=1e-10, atol=1e-10)


def test_what_was_understood_is_told(model: VideoModel) -> None:
    host = pipeline(model)
    stream = host.open(StreamConfig(32, 32))
    result = run(host, stream, clip(1, 1), {0: {"prompt": "neon zebra"}})[0]
    assert result.notes == {"understood": [["neon", 1.0]], "unknown": ["zebra"]}


def test_slots_run_out_and_come_back(model: VideoModel) -> None:
    host = pipeline(model, streams=1)
    stream = host.open(StreamConfig(32, 32))
    with pytest.raises(RuntimeError, match="all 1 streams of 32x32 are in use; close one"):
        host.open(StreamConfig(32, 32))
    first = run(host, stream, clip(1), {})
    host.close(stream)
    same(first, run(host, host.open(StreamConfig(32, 32)), clip(1), {}))


def test_the_same_seed_gives_the_same_pictures_and_another_does_not(model: VideoModel) -> None:
    results = []
    for seed in (7, 7, 8):
        host = pipeline(model)
        results.append(run(host, host.open(StreamConfig(32, 32)), clip(1), {0: {"seed": seed}}))
    same(results[0], results[1])
    assert not torch.equal(results[0][3].frames, results[2][3].frames)


def test_sizes_of_any_shape_side_by_side(model: VideoModel) -> None:
    host = pipeline(model)
    wide, tall = host.open(StreamConfig(64, 32)), host.open(StreamConfig(32, 48))
    works = [
        Work(wide, 0, torch.rand(1, 3, 32, 64, dtype=torch.float64), controls({})),
        Work(tall, 0, torch.rand(1, 3, 48, 32, dtype=torch.float64), controls({})),
    ]
    shapes = {tuple(result.frames.shape) for result in host.step(works)}
    assert shapes == {(1, 3, 32, 64), (1, 3, 48, 32)}
