"""Who waits for whom when copies and stages run side by side: by the rules, and by what a pipeline
really touches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from millrace.kernels import i420_to_rgb, rgb_to_i420
from millrace.streaming.config import ConfigError
from millrace.streaming.controls import Controls
from millrace.streaming.diffusion import VideoDiffusion
from millrace.streaming.pipeline import Effort, StreamConfig, Work
from millrace.streaming.queues import AFTER, InOrder, Queue, queues_of
from millrace.streaming.recorders import queues_for
from races import CALLER, ClockedQueues, Race, RaceDetector
from tape import TapeRecorder, references_only

from . import tiny_models, wan_models


@pytest.fixture(autouse=True)
def _as_on_a_gpu() -> Iterator[None]:
    with references_only():
        yield


def test_a_part_waits_for_those_that_make_what_it_reads_and_for_no_later_one() -> None:
    order = list(AFTER)
    for name, before in AFTER.items():
        assert all(order.index(one) < order.index(name) for one in before)
    queues = ClockedQueues()
    for name in order:
        with queues.on(name):
            queues.clocks[name][name] += 1
    assert all(queues.clocks["download"][name] == 1 for name in order), "through those between"
    # The next tick comes in and is encoded though nothing of this one has been drawn.
    with queues.on("upload"), queues.on("encode"):
        pass
    assert queues.clocks["encode"]["denoise"] == 0 and queues.clocks["upload"]["download"] == 0


def drive(host: VideoDiffusion, queues: ClockedQueues, wishes: list[Controls], chunk: int) -> int:
    """Ticks as an engine makes them; crossings seen. Streams come, go, reset and change size."""
    detector = RaceDetector(queues)
    size, streams = StreamConfig(32, 32), []
    with torch.inference_mode(), detector:
        for tick in range(6):
            if tick in (0, 1, 3):
                streams.append((host.open(size), tick))
            if tick == 4:
                host.close(streams.pop(0)[0])
            works = []
            for number, (stream, begun) in enumerate(streams):
                with queues.on("upload"):
                    planes = torch.full((chunk, 48, 32), 40 * number + tick, dtype=torch.uint8)
                    frames = i420_to_rgb(planes, torch.float64)
                wish = wishes[(tick + number) % len(wishes)]
                wish = replace(wish, resets=1) if tick >= 3 else wish
                effort = Effort("small", scale=0.5) if tick == 5 else Effort("full")
                works.append(Work(stream, tick - begun, frames, wish, effort))
            for result in host.step(works):
                with queues.on("download", result.frames):
                    rgb_to_i420(result.frames)
    return detector.crossings


@pytest.mark.parametrize("graphs", [False, True], ids=["plain", "graphs"])
@pytest.mark.parametrize("sequential", [True, False], ids=["one after another", "stream batch"])
def test_no_two_queues_meet_unawares_in_the_embedded_model(graphs: bool, sequential: bool) -> None:
    queues = ClockedQueues()
    host = tiny_models.pipeline(
        tiny_models.small_model(),
        streams=3,
        sequential=sequential,
        recorder=TapeRecorder() if graphs else None,
        queues=queues,
    )
    wishes = [tiny_models.controls(change) for change in ({}, {"steps": 2}, {"prompt": "neon"})]
    assert drive(host, queues, wishes, 1) > 20


@pytest.mark.parametrize("graphs", [False, True], ids=["plain", "graphs"])
def test_no_two_queues_meet_unawares_in_a_wan_model(graphs: bool) -> None:
    queues = ClockedQueues()
    recorder = TapeRecorder() if graphs else None
    host = wan_models.pipeline(wan_models.model(), streams=3, recorder=recorder, queues=queues)
    wishes = [wan_models.wishes(steps=2), wan_models.wishes(steps=1, prompt="a blue bird")]
    assert drive(host, queues, wishes, wan_models.CHUNK) > 20


@pytest.mark.parametrize(
    ("name", "left_out"), [("denoise", "encode"), ("decode", "denoise"), ("download", "decode")]
)
def test_a_wait_that_is_left_out_is_found(
    monkeypatch: pytest.MonkeyPatch, name: Queue, left_out: Queue
) -> None:
    """The detector itself, and that each rule is needed."""
    fewer = tuple(one for one in AFTER[name] if one != left_out)
    monkeypatch.setitem(AFTER, name, fewer)
    queues = ClockedQueues()
    host = tiny_models.pipeline(tiny_models.small_model(), streams=3, queues=queues)
    with pytest.raises(Race, match=name):
        drive(host, queues, [tiny_models.controls({"steps": 2})], 1)


def test_memory_that_is_read_without_a_word_is_found() -> None:
    queues = ClockedQueues()
    with torch.inference_mode(), RaceDetector(queues):
        with queues.on("encode"):
            latent = torch.zeros(3) + 1
        with queues.on("denoise", latent):
            latent * 2
        with pytest.raises(Race, match="decode: .* of encode, which may give it away"):
            with queues.on("decode"):
                latent * 2


def test_the_caller_waits_for_all_of_a_device_where_it_says_so() -> None:
    queues = ClockedQueues()
    with queues.on("decode"):
        queues.clocks["decode"]["decode"] += 1
    assert queues.clocks[CALLER]["decode"] == 0
    queues.join()
    assert queues.clocks[CALLER]["decode"] == 1


def test_queues_are_chosen_by_an_option_and_one_is_enough_for_a_cpu() -> None:
    assert isinstance(queues_for("cpu", {}), InOrder)
    assert isinstance(queues_of(object()), InOrder)
    with pytest.raises(ConfigError, match="queues: cpu has one queue only"):
        queues_for("cpu", {"queues": "side"})
    with pytest.raises(ConfigError, match="queues: 'two' is not one of one, side"):
        queues_for("cpu", {"queues": "two"})
