"""A pipeline whose stages are replayed equals one that runs them: recorded on a tape, which like a
CUDA graph knows nothing but operations and addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pytest
import torch
from millrace.models.policies import SELF_FORCING, WanPolicy
from millrace.models.wan import random_wan
from millrace.streaming.controls import Controls
from millrace.streaming.diffusion import Stream, VideoDiffusion
from millrace.streaming.pipeline import NOMINAL, Effort, StreamConfig, Work
from millrace.streaming.wan_info import TEXT
from tape import TapeRecorder, references_only

from . import tiny_models, wan_models

CLOSE = 1e-10
"""Rows that only fill a bucket change the order of float64 sums."""
TICKS = 9


@pytest.fixture(autouse=True)
def _as_on_a_gpu() -> Iterator[None]:
    with references_only():
        yield


@dataclass
class Viewer:
    """When a stream joins and leaves, and what it asks for, by tick."""

    joins: int
    leaves: int
    wishes: Mapping[int, Controls]
    efforts: Mapping[int, Effort]
    spread: bool = False


def pictures(host: VideoDiffusion, viewers: list[Viewer], clips: torch.Tensor) -> torch.Tensor:
    """All that the viewers are shown, in order; all of a tick in one step."""
    streams: dict[int, Stream] = {}
    side, shown = clips.shape[-1], []
    for tick in range(TICKS):
        works = []
        for number, viewer in enumerate(viewers):
            if viewer.joins == tick:
                streams[number] = host.open(StreamConfig(side, side))
            if viewer.leaves == tick:
                host.close(streams.pop(number))
            if number in streams:
                wish = [w for at, w in viewer.wishes.items() if at <= tick][-1]
                effort = [e for at, e in viewer.efforts.items() if at <= tick][-1]
                chunk = clips[number, tick]
                index = tick - viewer.joins
                works.append(
                    Work(streams[number], index, chunk, wish, effort, spread=viewer.spread)
                )
        shown += [result.frames.flatten() for result in host.step(works)]
    return torch.cat(shown)


def crowd(spread: bool, wish: Mapping[str, Controls]) -> list[Viewer]:
    """Streams that leave a hole, join late, and change steps, prompt, window and size."""
    short = Effort("short", window=2)
    return [
        Viewer(0, 99, {0: wish["plain"], 4: wish["other"]}, {0: NOMINAL, 2: short}, spread),
        Viewer(0, 5, {0: wish["more"]}, {0: NOMINAL}),
        Viewer(2, 99, {0: wish["more"], 6: wish["plain"]}, {0: NOMINAL}, spread),
    ]


@pytest.mark.parametrize("spread", [False, True], ids=["one after another", "as a stream batch"])
def test_the_embedded_model_replayed_equals_itself(spread: bool) -> None:
    model, wish = tiny_models.small_model(), tiny_models.controls
    wishes = {
        "plain": wish({}),
        "more": wish({"steps": 2, "seed": 3}),
        "other": wish({"prompt": "neon"}),
    }
    clips = torch.stack([tiny_models.clip(seed, TICKS) for seed in range(3)])
    recorder = TapeRecorder()
    replayed = tiny_models.pipeline(model, streams=3, recorder=recorder)
    found = pictures(replayed, crowd(spread, wishes), clips)
    expected = pictures(tiny_models.pipeline(model, streams=3), crowd(spread, wishes), clips)
    assert float((found - expected).abs().max()) < CLOSE and float(expected.std()) > 0.01
    counts = replayed.tally.counts
    assert counts["replayed"] == recorder.replays - counts["recorded"] > 15
    assert not replayed.tally.refused


@pytest.mark.parametrize("history", ["noisy", "clean"])
def test_a_wan_model_replayed_equals_itself(history: str) -> None:
    """With leads, sinks that are renewed, and both kinds of history."""
    policy: WanPolicy = SELF_FORCING if history == "clean" else wan_models.POLICY
    ring = replace(wan_models.POLICY.ring, sink_threshold=0.97)
    policy = replace(policy, ring=ring, frames=1)
    sizes = replace(wan_models.SIZES, dit=policy.spec(wan_models.SIZES.dit))
    model = random_wan(sizes, "taehv", "cpu", torch.float64, 3)
    wish = wan_models.wishes
    wishes = {
        "plain": wish(steps=1),
        "more": wish(steps=2, seed=3),
        "other": wish(steps=2, prompt="a blue bird", mode=TEXT),
    }
    clips = torch.stack([wan_models.clip(seed, TICKS) for seed in range(3)])
    recorder = TapeRecorder()
    hosts = [
        wan_models.pipeline(model, streams=3, policy=policy, recorder=given)
        for given in (recorder, None)
    ]
    found, expected = (pictures(host, crowd(False, wishes), clips) for host in hosts)
    assert float((found - expected).abs().max()) < CLOSE and float(expected.std()) > 0.01
    assert hosts[0].tally.counts["replayed"] > 20 and not hosts[0].tally.refused


def test_rows_that_fill_a_bucket_are_untouched() -> None:
    """Five of eight rows run, in a bucket of six: the others keep every bit, also while that is
    recorded."""
    host = tiny_models.pipeline(tiny_models.small_model(), streams=4, recorder=TapeRecorder())
    streams = [host.open(StreamConfig(32, 32)) for _ in range(4)]
    asked, frames = tiny_models.controls({"steps": 2}), tiny_models.clip(1, 6)
    for index in range(2):
        host.step([Work(stream, index, frames[index], asked) for stream in streams])
    bank = streams[0].bank
    past = [*bank.lanes.state.rows(6, 8).tensors(), *bank.memory.rows(3, 4).tensors()]
    before = [tensor.clone() for tensor in past]
    for index in range(2, 6):
        # Two lanes each of the first streams, and one of the third.
        works = [Work(s, index, frames[index], asked, spread=s is not streams[2]) for s in streams]
        host.step(works[:3])
    assert bank.graphs is not None and ("forward", 6, 1, True) in bank.graphs
    assert all(torch.equal(a, b) for a, b in zip(before, past, strict=True))
