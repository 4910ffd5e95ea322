"""The causal Wan models through the video pipeline, at a small size with random weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from millrace.models.specs import AutoencoderName
from millrace.models.wan import WanModel, random_wan
from millrace.streaming.controls import Controls
from millrace.streaming.entries import Finished
from millrace.streaming.pipeline import Portable, StreamConfig, Work
from millrace.streaming.wan_info import IMAGE, TEXT, VIDEO

from .wan_models import CHUNK, POLICY, SIDE, SIZES, apart, clip, model, pipeline, run, wishes

CLOSE = 1e-10
SIZE = StreamConfig(SIDE, SIDE)
CHANGES: Mapping[str, dict[int, Controls]] = {
    "one step": {0: wishes(steps=1)},
    "four steps": {0: wishes(steps=4)},
    "steps and prompt": {
        0: wishes(steps=2),
        2: wishes(steps=4, prompt="a blue bird"),
        5: wishes(steps=1, prompt="a blue bird"),
    },
    "strength": {0: wishes(steps=4, strength=0.5), 4: wishes(steps=3, strength=0.8)},
    "words": {0: wishes(steps=3, mode=TEXT), 4: wishes(steps=2, mode=TEXT)},
    "picture": {0: wishes(steps=3, mode=IMAGE)},
    "words, then the live picture": {0: wishes(steps=2, mode=TEXT), 3: wishes(steps=2)},
    "the live picture, then words": {0: wishes(steps=2), 3: wishes(steps=2, mode=TEXT)},
}


@pytest.fixture(scope="module")
def small() -> WanModel:
    return model()


@pytest.fixture(scope="module")
def large() -> WanModel:
    """With the large autoencoder's structure."""
    return model("wan")


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())
def test_stream_batch_equals_one_level_after_another(
    small: WanModel, changes: dict[int, Controls]
) -> None:
    results = []
    for sequential in (True, False):
        host = pipeline(small, sequential=sequential)
        results.append(run(host, host.open(SIZE), clip(1, 7), changes))
    assert apart(*results) < CLOSE
    pictures = torch.stack([results[0][index].frames for index in results[0]])
    assert pictures.shape == (7, CHUNK, 3, SIDE, SIDE) and float(pictures.std()) > 0.01


def test_stream_batch_equals_one_level_after_another_with_the_large_autoencoder(
    large: WanModel,
) -> None:
    results = []
    for sequential in (True, False):
        host = pipeline(large, sequential=sequential)
        results.append(run(host, host.open(SIZE), clip(1, 4), {0: wishes(steps=3)}))
    assert apart(*results) < CLOSE


def test_sinks_that_are_renewed_are_so_alike_in_both_orders_and_beside_others() -> None:
    """A threshold that every frame falls below: each level of each stream decides for itself."""
    policy = replace(POLICY, ring=replace(POLICY.ring, sink_threshold=0.97))
    of = random_wan(replace(SIZES, dit=policy.spec(SIZES.dit)), "taehv", "cpu", torch.float64, 3)
    frames = [clip(seed, 8) for seed in range(2)]
    alone = []
    for sequential in (True, False):
        host = pipeline(of, sequential=sequential, policy=policy)
        stream = host.open(SIZE)
        alone.append(run(host, stream, frames[0], {0: wishes(steps=2)}))
        shifts = stream.bank.lanes.state.ring.sink_shift
        assert int(shifts[0].max()) > 0 and int(shifts[1].max()) > 0, "some were replaced"
    assert apart(*alone) < CLOSE
    host = pipeline(of, policy=policy)
    streams = [host.open(SIZE) for _ in range(2)]
    for index in range(8):
        works = [
            Work(s, index, f[index], wishes(steps=2)) for s, f in zip(streams, frames, strict=True)
        ]
        own = next(r for r in host.step(works) if r.stream is streams[0])
        assert float((own.frames - alone[0][index].frames).abs().max()) < CLOSE


def test_streams_in_one_batch_equal_each_alone(small: WanModel) -> None:
    """Also where their rows do not lie together, and where one begins later."""
    host = pipeline(small, streams=4)
    streams = [host.open(SIZE) for _ in range(4)]
    host.close(streams.pop(1))
    asked = [
        wishes(seed=1, steps=3),
        wishes(seed=2, prompt="a green lamp", mode=TEXT),
        wishes(seed=3, mode=IMAGE, steps=4),
    ]
    clips = [clip(seed, 6) for seed in range(3)]
    begins = (0, 1, 3)
    together: list[dict[int, torch.Tensor]] = [{} for _ in streams]
    for tick in range(8):
        works = [
            Work(stream, tick - begins[i], clips[i][tick - begins[i]], asked[i])
            for i, stream in enumerate(streams)
            if 0 <= tick - begins[i] < 5
        ]
        for result in host.step(works):
            together[streams.index(result.stream)][result.index] = result.frames
    for i, wish in enumerate(asked):
        alone = pipeline(small)
        own = run(alone, alone.open(SIZE), clips[i][:5], {0: wish})
        assert sorted(together[i]) == list(range(5))
        worst = max(float((together[i][k] - own[k].frames).abs().max()) for k in own)
        assert worst < CLOSE, asked[i].text("mode")


@pytest.mark.parametrize("mode", [VIDEO, TEXT, IMAGE])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_moved_stream_equals_one_that_stays(mode: str, dtype: torch.dtype) -> None:
    """Bit for bit, though it moves while one prompt passes into another."""
    of = model("wan+taehv", dtype)
    here, there = pipeline(of, sequential=False), pipeline(of, sequential=False)
    assert isinstance(here, Portable)
    there.open(SIZE)
    frames = clip(5, 9, dtype)
    first = {0: wishes(mode=mode), 3: wishes(mode=mode, prompt="a blue bird", transition=6)}
    staying, leaving = here.open(SIZE), here.open(SIZE)
    for stream in (staying, leaving):
        run(here, stream, frames[:5], first)
    arrived = there.load(SIZE, here.save(leaving))
    assert arrived.notes == leaving.notes and arrived.notes
    then = {0: first[3], 5: first[3]}
    moved = run(there, arrived, frames[5:], then, start=5)
    stayed = run(here, staying, frames[5:], then, start=5)
    assert apart(moved, stayed) == 0


def test_a_reset_begins_anew_and_what_is_in_flight_comes_out_first(small: WanModel) -> None:
    frames = clip(1, 8)
    host = pipeline(small, sequential=False)
    stream = host.open(SIZE)
    wish = wishes(steps=4)
    for index in range(5):
        host.step([Work(stream, index, frames[index], wish)])
    noise, last = stream.noise, stream.last_frame
    fresh = replace(wish, resets=1)
    came = host.step([Work(stream, 5, frames[5], fresh)])
    assert [result.index for result in came] == [2, 3, 4]
    after = {r.index: r for r in host.step([Work(stream, 6, frames[6], fresh)])}
    after |= {r.index: r for _ in range(4) for r in host.step([Work(stream, 5, None, fresh)])}
    other = pipeline(small)
    begun = other.open(SIZE)
    # The entry noise follows the motion, which is a fact of the source and not a memory.
    begun.noise, begun.last_frame = noise, last
    again = run(other, begun, frames[5:7], {5: wish, 0: wish}, start=5)
    assert apart(after, again) < CLOSE


def test_words_alone_take_nothing_from_the_source(small: WanModel) -> None:
    results = []
    for seed in (1, 2):
        host = pipeline(small)
        results.append(run(host, host.open(SIZE), clip(seed, 4), {0: wishes(mode=TEXT)}))
    assert apart(*results) == 0
    assert not torch.equal(results[0][0].frames, results[0][1].frames), "it moves"


def test_a_first_picture_is_all_that_is_taken_from_the_source(small: WanModel) -> None:
    frames = clip(1, 4)
    others = clip(2, 4)
    others[0, 0] = frames[0, 0]
    results = []
    for source in (frames, others, clip(2, 4)):
        host = pipeline(small)
        results.append(run(host, host.open(SIZE), source, {0: wishes(mode=IMAGE)}))
    assert apart(results[0], results[1]) == 0
    assert apart(results[0], results[2]) > 1e-3


def test_the_first_picture_is_the_past_at_every_level(small: WanModel) -> None:
    host = pipeline(small, streams=1)
    stream = host.open(SIZE)
    host.step([Work(stream, 0, clip(1, 1)[0], wishes(mode=IMAGE, steps=1))])
    ring = stream.bank.lanes.state.ring
    assert ring.frames.tolist() == [2, 1, 1, 1]
    assert all(torch.equal(ring.k[:, 0, 0], ring.k[:, row, 0]) for row in range(4))


@pytest.mark.parametrize("coder", ["taehv", "wan"])
def test_chunks_are_encoded_as_the_whole_clip_with_its_first_picture_twice(
    coder: AutoencoderName,
) -> None:
    """The declared delay is none: chunk k of four pictures is latent k + 1 of that clip."""
    of = model(coder)
    host = pipeline(of, streams=3)
    bank, slot = host._place((SIDE, SIDE))
    frames = clip(4, 5)
    got = [bank.encode([slot], [frames[0, :1]], lead=True)]
    got += [bank.encode([slot], [chunk]) for chunk in frames]
    whole = torch.cat((frames[0, :1], frames.flatten(0, 1)))[None]
    state = of.autoencoder.init_state(1, SIDE, SIDE, "cpu", torch.float64)
    latents = of.autoencoder.encode(whole, state, first=True, normalise=POLICY.normalise)
    torch.testing.assert_close(torch.cat(got, 1), latents, rtol=1e-9, atol=1e-9)
    state = of.autoencoder.init_state(1, SIDE, SIDE, "cpu", torch.float64)
    pictures = of.autoencoder.decode(latents, state, first=True)[0, 1:]
    bank.decode_leads([slot], [latents[0, :1]])
    for index in range(5):
        shown = bank.decode([Finished(slot, index, latents[0, index + 1 : index + 2])])[0]
        torch.testing.assert_close(shown, pictures[CHUNK * index :][:CHUNK], rtol=1e-9, atol=1e-9)


def test_two_hundred_chunks_keep_their_memory_and_stay_finite() -> None:
    of = random_wan(SIZES, "taehv", "cpu", torch.float32, seed=3)
    host = pipeline(of, streams=1, sequential=False)
    stream = host.open(SIZE)
    lanes, memory = stream.bank.lanes, stream.bank.memory
    places = [t.data_ptr() for state in (lanes.state, memory) for t in state.tensors()]
    weights = [value.clone() for value in of.dit.state_dict().values()]
    frames = clip(1, 10, torch.float32)
    ids = set()
    for index in range(200):
        wish = wishes(steps=2, prompt=f"prompt {index // 20}", transition=3)
        for result in host.step([Work(stream, index, frames[index % 10], wish)]):
            assert result.index == index - 1 and bool(result.frames.isfinite().all())
            ids.add(result.index)
    assert len(ids) == 199
    assert lanes.state.ring.frames.tolist()[:2] == [201, 200], "the lead, and every chunk"
    assert int(lanes.state.ring.left_behind(lanes.state.ring.slot_frames(0)).max()) > 190
    assert places == [t.data_ptr() for state in (lanes.state, memory) for t in state.tensors()]
    assert all(map(torch.equal, weights, of.dit.state_dict().values()))
    assert len(host.library) <= 2, "prompts of before are let go"
