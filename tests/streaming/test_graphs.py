"""A pipeline whose stages are replayed equals one that runs them: recorded on a tape, which like a
CUDA graph knows nothing but operations and addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from millrace.models.policies import SELF_FORCING, WanPolicy
from millrace.models.wan import random_wan
from millrace.streaming.controls import Controls
from millrace.streaming.diffusion import Stream, VideoDiffusion
from millrace.streaming.pipeline import NOMINAL, Effort, StreamConfig, Work
from millrace.streaming.wan_info import TEXT
from tape import TapeRecorder, references_only
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

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
    asked, less = (tiny_models.controls({"steps": steps}) for steps in (2, 1))
    frames = tiny_models.clip(1, 6)
    for index in range(2):
        host.step([Work(stream, index, frames[index], asked) for stream in streams])
    bank = streams[0].bank
    past = [*bank.lanes.state.rows(5, 8).tensors(), *bank.memory.rows(3, 4).tensors()]
    before = [tensor.clone() for tensor in past]
    for index in range(2, 6):
        # Two lanes each of the first streams, and one of the third, whose other one fills up.
        works = [Work(s, index, frames[index], asked, spread=True) for s in streams[:2]]
        host.step([*works, Work(streams[2], index, frames[index], less, spread=False)])
    assert bank.graphs is not None and ("forward", 6, 1, True) in bank.graphs
    assert all(torch.equal(a, b) for a, b in zip(before, past, strict=True))


class Outside(TorchDispatchMode):
    """Counts, by name, the operations beside recordings that bring new memory."""

    def __init__(self, recorder: TapeRecorder) -> None:
        super().__init__()
        self._recorder, self.made = recorder, Counter[str]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {t.untyped_storage()._cdata for t in leaves((args, kwargs))}
        new = [t for t in leaves(result) if t.untyped_storage()._cdata not in given]
        if new and not self._recorder.inside:
            self.made[func._schema.name.removeprefix("aten::")] += 1
        return result


def leaves(tree: Any) -> list[torch.Tensor]:
    return [value for value in pytree.tree_leaves(tree) if isinstance(value, torch.Tensor)]


@pytest.mark.parametrize("name", ["tiny", "wan"])
def test_after_warming_up_a_tick_brings_no_memory_but_its_results(name: str) -> None:
    """Of each stage a copy of its result, and rows that are joined for a stage."""
    recorder = TapeRecorder()
    if name == "tiny":
        host = tiny_models.pipeline(tiny_models.small_model(), recorder=recorder)
        wish, frames = tiny_models.controls({"steps": 2}), tiny_models.clip(1, 8)
    else:
        host = wan_models.pipeline(wan_models.model(), recorder=recorder)
        wish, frames = wan_models.wishes(steps=2), wan_models.clip(1, 8)
    side = frames.shape[-1]
    streams = [host.open(StreamConfig(side, side)) for _ in range(2)]
    for tick in range(5):
        host.step([Work(stream, tick, frames[tick], wish) for stream in streams])
    warm = dict(host.tally.counts)
    with torch.inference_mode(), Outside(recorder) as outside:
        for tick in range(5, 8):
            host.step([Work(stream, tick, frames[tick], wish) for stream in streams])
    assert host.tally.counts["plain"] == warm["plain"], "everything is replayed"
    a_tick = {op: count / 3 for op, count in outside.made.items()}
    # Stages: motion and the entry of each stream, encode, a pass, the next level of each, a pass,
    # decode. Besides: pictures and latents of two streams joined for encode and decode.
    assert a_tick.pop("clone") == 2 + 2 + 1 + 1 + 2 + 1 + 1
    assert a_tick.pop("stack") == 1 and a_tick.pop("cat") == 1
    assert not a_tick
