"""The built-in pipeline: prompts, strengths, slots and both orders of passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.models.specs import ConvStemSpec
from millrace.models.text import PromptEncoder
from millrace.models.tiny import load_prompts, load_tiny
from millrace.models.video import VideoModel
from millrace.streaming.controls import Controls
from millrace.streaming.diffusion import Stream, VideoDiffusion
from millrace.streaming.pipeline import NOMINAL, Effort, Result, StreamConfig, Work
from millrace.streaming.tiny import tiny_parts
from millrace.streaming.tiny_info import CONTROLS, EFFORTS

from .tiny_models import FRAMES, SPEC, Prompts, clip, controls, pipeline, small_model


@pytest.fixture(scope="module")
def model() -> VideoModel:
    return small_model()


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


TOLERANCE = 1e-10


def apart(a: dict[int, Result], b: dict[int, Result]) -> float:
    """The largest difference between the pictures of two runs over the same chunks."""
    assert a and sorted(a) == sorted(b)
    return max(float((a[index].frames - b[index].frames).abs().max()) for index in a)


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
    assert apart(*results) < TOLERANCE


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
        assert apart(together[i], run(alone, stream, clips[i], wish)) < TOLERANCE


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
    assert apart(*results) < TOLERANCE


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
    assert apart(first, run(host, host.open(StreamConfig(32, 32)), clip(1), {})) < TOLERANCE


def test_the_same_seed_gives_the_same_pictures_and_another_does_not(model: VideoModel) -> None:
    results = []
    for seed in (7, 7, 8):
        host = pipeline(model)
        results.append(run(host, host.open(StreamConfig(32, 32)), clip(1), {0: {"seed": seed}}))
    assert apart(results[0], results[1]) < TOLERANCE
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


def run_with(
    host: VideoDiffusion,
    stream: Stream,
    frames: torch.Tensor,
    efforts: Mapping[int, Effort],
    spread: Mapping[int, bool],
) -> dict[int, Result]:
    """Step a stream alone with two passes; efforts and orders take hold at their chunk."""
    effort, order, out = NOMINAL, False, dict[int, Result]()
    wish = controls({"steps": 2})
    for index, frame in enumerate(frames):
        effort, order = efforts.get(index, effort), spread.get(index, order)
        for result in host.step([Work(stream, index, frame, wish, effort, spread=order)]):
            out[result.index] = result
    while len(out) < len(frames):
        for result in host.step([Work(stream, len(out), None, wish, effort, spread=True)]):
            out[result.index] = result
    return out


def test_the_order_of_passes_may_change_in_mid_stream(model: VideoModel) -> None:
    results = []
    for spread in ({}, {2: True, 5: False}, {0: True, 3: False, 4: True}):
        host = pipeline(model)
        stream = host.open(StreamConfig(32, 32))
        results.append(run_with(host, stream, clip(1), {}, spread))
    assert apart(results[0], results[1]) < TOLERANCE
    assert apart(results[0], results[2]) < TOLERANCE


def test_an_effort_of_one_pass_equals_asking_for_one_step(model: VideoModel) -> None:
    host, other = pipeline(model), pipeline(model)
    less = run_with(host, host.open(StreamConfig(32, 32)), clip(1), {2: EFFORTS[1], 5: NOMINAL}, {})
    wishes: dict[int, dict[str, object]] = {0: {"steps": 2}, 2: {"steps": 1}, 5: {"steps": 2}}
    assert apart(less, run(other, other.open(StreamConfig(32, 32)), clip(1), wishes)) < TOLERANCE


def test_a_smaller_picture_begins_anew_and_comes_back_in_the_right_size(model: VideoModel) -> None:
    small = Effort("smaller", 0.5, scale=0.5)
    for order in (False, True):
        host = pipeline(model, streams=1)
        stream = host.open(StreamConfig(64, 32))
        wide = torch.rand(6, 1, 3, 32, 64, dtype=torch.float64)
        out = run_with(host, stream, wide, {2: small, 4: NOMINAL}, {0: order})
        assert list(out) == list(range(6)), "what was in flight came out first, in order"
        assert {tuple(result.frames.shape) for result in out.values()} == {(1, 3, 32, 64)}
        assert stream.bank.size == (32, 64)
        # No slot stays behind in either size.
        host.close(stream)
        assert all(bank.take() == 0 for bank in host.banks.values())


def test_sizes_that_nobody_has_any_longer_give_their_memory_back(model: VideoModel) -> None:
    host = pipeline(model)
    stays = host.open(StreamConfig(32, 32))
    for width in (48, 64, 80, 96):
        host.close(host.open(StreamConfig(width, 32)))
    assert list(host.banks) == [(32, 32), (32, 80), (32, 96)], "in use, and the two used last"
    assert host.banks[stays.size] is stays.bank
    again = host.banks[32, 80]
    assert host.open(StreamConfig(80, 32)).bank is again, "what was kept is not made anew"


def test_who_wants_the_same_shares_one_prompt_and_the_last_one_lets_it_go(
    model: VideoModel,
) -> None:
    host = pipeline(model, streams=3)
    streams = [host.open(StreamConfig(32, 32)) for _ in range(3)]
    half: dict[str, object] = {"prompt": "neon", "strength": 0.5}
    wishes: list[dict[str, object]] = [{"prompt": "neon"}, {"prompt": "neon"}, half]
    host.step([Work(s, 0, clip(1)[0], controls(w)) for s, w in zip(streams, wishes, strict=True)])
    assert streams[0].prompt is streams[1].prompt is not streams[2].prompt
    assert len(host.library) == 2
    for stream in streams[:2]:
        host.step([Work(stream, 1, clip(1)[1], controls({"prompt": "noir"}))])
    assert len(host.library) == 2, "neon at full strength is gone"


Script = list[tuple[str, int]]
ACTIONS = ["go", "go", "go", "leave", "prompt", "reset"]


@settings(max_examples=20, deadline=None)
@given(
    script=st.lists(
        st.tuples(st.sampled_from(ACTIONS), st.integers(1, 7)),
        max_size=14,
    )
)
def test_streams_that_come_leave_and_change_leave_the_others_bit_equal(script: Script) -> None:
    """In float32, the type of the CPU: equal to the last bit at a fixed effort."""
    assert changed_by_company(small_float32(), 32, script) == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_shipped_model_in_a_crowd_is_bit_equal_to_itself_alone(dtype: str) -> None:
    script = [("go", 7), ("go", 3), ("leave", 2), ("go", 7), ("prompt", 1), ("go", 5)]
    assert changed_by_company(load_tiny(dtype=dtype), 64, script, load_prompts()) == []


def small_float32() -> VideoModel:
    """Widths are multiples of a vector register, as those of real models are: the last few entries
    of other widths go through scalar code, whose last bit depends on what lies beside them."""
    torch.manual_seed(5)
    stem = ConvStemSpec(width=16, stem_blocks=1, head_blocks=1)
    dit = replace(SPEC.dit, dim=64, ffn_dim=64, text_dim=16, stem=stem, cond_channels=16)
    dit = replace(dit, in_channels=16, out_channels=16)
    sizes = replace(SPEC.autoencoder, channels=16, coarse_width=16, fine_width=16)
    model = VideoModel(replace(SPEC, dit=dit, autoencoder=sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def changed_by_company(
    model: VideoModel, side: int, script: Script, prompts: PromptEncoder | None = None
) -> list[tuple[int, int]]:
    """Three seats, each a stream of its own clip; an action is of all seats whose bit is set.

    Returns:
        (seat, chunk) of each picture that differs in any bit from the stream's own, made alone.
    """
    host = VideoDiffusion(tiny_parts(model, prompts or Prompts()), streams=3)
    seats: list[Stream | None] = [None] * 3
    inputs: list[list[tuple[torch.Tensor, Controls]]] = [[], [], []]
    outputs: list[list[torch.Tensor]] = [[], [], []]
    looks = [controls({"steps": 1 + seat % 2, "seed": seat}) for seat in range(3)]
    for turn, (action, seats_in) in enumerate(script):
        works = []
        for seat in (seat for seat in range(3) if seats_in >> seat & 1):
            stream = seats[seat]
            if action == "leave" and stream is not None:
                host.close(stream)
                seats[seat], inputs[seat], outputs[seat] = None, [], []
                continue
            if stream is None:
                stream = seats[seat] = host.open(StreamConfig(side, side))
                looks[seat] = replace(looks[seat], resets=0)
            if action == "prompt":
                changes = {"prompt": ("neon", "noir", "camera")[(turn + seat) % 3]}
                looks[seat] = looks[seat].changed(CONTROLS, changes)
            if action == "reset":
                looks[seat] = looks[seat].reset()
            frame = torch.rand(
                1, 3, side, side, generator=torch.Generator().manual_seed(3 * turn + seat)
            )
            works.append(Work(stream, len(inputs[seat]), frame, looks[seat]))
            inputs[seat].append((frame, looks[seat]))
        for result in host.step(works) if works else []:
            outputs[seats.index(result.stream)].append(result.frames.clone())
    changed = []
    for seat in range(3):
        assert len(outputs[seat]) == len(inputs[seat])
        alone = VideoDiffusion(tiny_parts(model, prompts or Prompts()), streams=3)
        stream = alone.open(StreamConfig(side, side))
        for index, (frame, look) in enumerate(inputs[seat]):
            (result,) = alone.step([Work(stream, index, frame, look)])
            if not torch.equal(result.frames, outputs[seat][index]):
                changed.append((seat, index))
    return changed
