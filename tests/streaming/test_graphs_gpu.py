"""What only a GPU can prove of recorded stages: that CUDA takes them, waits for nothing, allocates
nothing, and draws the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from millrace.models.cuda_graphs import CudaRecorder
from millrace.models.graphs import Call, Graphs, Recorder
from millrace.models.tiny import load_prompts, load_tiny
from millrace.models.wan import random_wan
from millrace.streaming.controls import Controls
from millrace.streaming.diffusion import Stream, VideoDiffusion
from millrace.streaming.frames import Frame
from millrace.streaming.pipeline import StreamConfig, Work
from millrace.streaming.queues import InOrder, SideBySide
from millrace.streaming.tiny import tiny_parts
from millrace.streaming.transfer import download, upload

from . import tiny_models, wan_models

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEVICE = "cuda:0"
WARM, TICKS = 6, 6
Host = tuple[VideoDiffusion, Callable[..., Controls], int, int]


@contextmanager
def waiting_refused() -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def tiny(dtype: str, recorder: Recorder | None, sequential: bool = True) -> Host:
    parts = tiny_parts(load_tiny(DEVICE, dtype), load_prompts())
    host = VideoDiffusion(parts, streams=4, sequential=sequential, recorder=recorder)
    return host, lambda **changes: tiny_models.controls(changes), 1, 256


def wan(dtype: str, recorder: Recorder | None, sequential: bool = True) -> Host:
    model = random_wan(wan_models.SIZES, "taehv", DEVICE, getattr(torch, dtype), 3)
    host = wan_models.pipeline(model, streams=4, sequential=sequential, recorder=recorder)
    return host, wan_models.wishes, wan_models.CHUNK, wan_models.SIDE


HOSTS = {"tiny": tiny, "wan": wan}


def frames(seed: int, count: int, chunk: int, side: int, dtype: str) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    whole = torch.rand(count, chunk, 3, side, side, generator=generator)
    return list(whole.to(DEVICE, getattr(torch, dtype)))


def step(
    host: VideoDiffusion,
    streams: list[Stream],
    tick: int,
    clips: list[torch.Tensor],
    wish: Controls,
) -> list[torch.Tensor]:
    works = [Work(stream, tick, clips[tick], wish) for stream in streams]
    return [result.frames for result in host.step(works)]


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("sequential", [True, False], ids=["one after another", "stream batch"])
def test_replayed_pictures_equal_plain_ones(name: str, sequential: bool) -> None:
    shown = []
    for recorder in (CudaRecorder(torch.device(DEVICE)), None):
        host, wish, chunk, side = HOSTS[name]("float32", recorder, sequential)
        streams = [host.open(StreamConfig(side, side)) for _ in range(3)]
        host.close(streams.pop(1))
        clips = frames(1, WARM + TICKS, chunk, side, "float32")
        shown.append(
            torch.cat(
                [
                    picture.flatten()
                    for tick in range(WARM + TICKS)
                    for picture in step(host, streams, tick, clips, wish(steps=2))
                ]
            )
        )
        if recorder is not None:
            assert host.tally.counts["replayed"] > TICKS and not host.tally.refused, host.told()
    assert float((shown[0] - shown[1]).abs().max()) < 1e-3


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "plain"])
def test_no_tick_waits_or_grows(name: str, graphs: bool) -> None:
    """Under sync-debug "error"; the allocator asks the driver for nothing after warming up."""
    recorder = CudaRecorder(torch.device(DEVICE)) if graphs else None
    host, wish, chunk, side = HOSTS[name]("bfloat16", recorder)
    streams = [host.open(StreamConfig(side, side)) for _ in range(2)]
    clips = frames(2, WARM + TICKS, chunk, side, "bfloat16")
    for tick in range(WARM):
        step(host, streams, tick, clips, wish(steps=2))
    torch.cuda.synchronize()
    before, plain = torch.cuda.memory_stats(), host.tally.counts["plain"]
    with waiting_refused():
        for tick in range(WARM, WARM + TICKS):
            step(host, streams, tick, clips, wish(steps=2))
    torch.cuda.synchronize()
    after = torch.cuda.memory_stats()
    for count in ("num_device_alloc", "num_alloc_retries", "reserved_bytes.all.current"):
        assert after[count] == before[count], count
    if graphs:
        assert host.tally.counts["plain"] == plain and not host.tally.refused, host.told()


def test_a_stage_that_waits_is_refused_by_cuda_and_goes_on_plainly() -> None:
    def curious(given: torch.Tensor) -> torch.Tensor:
        return given * 2 if float(given[0]) > 0 else given

    graphs = Graphs(CudaRecorder(torch.device(DEVICE)))
    for _ in range(3):
        result = graphs.run("curious", Call(curious, (torch.ones(3, device=DEVICE),)))
        assert float(result[0]) == 2.0
    assert graphs.tally.counts["refused"] == 1 and graphs.tally.refused["curious"]
    # The device is as good as before.
    assert float(torch.ones(3, device=DEVICE).sum()) == 3.0


def test_tables_that_caches_drop_stay_while_a_graph_reads_them() -> None:
    """A table whose only owner lets it go, and whose memory others would have taken."""
    owner = {"table": torch.full((1 << 20,), 3.0, device=DEVICE)}

    def stage(given: torch.Tensor) -> torch.Tensor:
        return given + owner["table"][0]

    graphs = Graphs(CudaRecorder(torch.device(DEVICE)))
    one = torch.ones(1, device=DEVICE)
    for _ in range(2):
        graphs.run("add", Call(stage, (one,)))
    owner["table"] = torch.zeros(1 << 20, device=DEVICE)
    others = [torch.full((1 << 20,), 7.0, device=DEVICE) for _ in range(8)]
    assert float(graphs.run("add", Call(stage, (one,)))) == 4.0 and others


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "plain"])
@pytest.mark.parametrize("name", HOSTS)
def test_queues_side_by_side_draw_the_same_pictures(name: str, graphs: bool) -> None:
    """Ticks are issued without waiting for one another; streams come and go between them."""
    device, shown = torch.device(DEVICE), []
    for queues in (SideBySide(device), InOrder()):
        recorder = CudaRecorder(device) if graphs else None
        host, wish, chunk, side = HOSTS[name]("float32", recorder)
        host.queues = queues
        clips = frames(3, 3 * TICKS, chunk, side, "float32")
        streams = [host.open(StreamConfig(side, side)) for _ in range(2)]
        pictures = []
        for tick in range(3 * TICKS):
            if tick == TICKS:
                host.close(streams.pop())
            pictures += step(host, streams, tick, clips, wish(steps=2))
        queues.join()
        torch.cuda.synchronize()
        shown.append(torch.cat([picture.flatten() for picture in pictures]))
    assert float((shown[0] - shown[1]).abs().max()) < 1e-3


def test_encoding_the_next_tick_overlaps_drawing_this_one() -> None:
    """A long pass does not hold up what has a queue of its own."""
    queues = SideBySide(torch.device(DEVICE))
    busy = torch.rand(4096, 4096, device=DEVICE)
    marks = {name: torch.cuda.Event(enable_timing=True) for name in ("encode", "denoise")}
    torch.cuda.synchronize()
    with queues.on("denoise", busy):
        for _ in range(50):
            busy @ busy
        marks["denoise"].record()
    with queues.on("upload"), queues.on("encode"):
        torch.zeros(16, device=DEVICE).add_(1)
        marks["encode"].record()
    torch.cuda.synchronize()
    assert marks["encode"].elapsed_time(marks["denoise"]) > 0, "it was over before"


def test_planes_come_and_go_without_waiting_and_unchanged() -> None:
    planes = [np.full((24, 16), value, np.uint8) for value in (1, 2, 3)]
    shown = [Frame(part, 16, 16, 0, 0.0, index) for index, part in enumerate(planes)]
    upload(shown, torch.device(DEVICE))
    with waiting_refused():
        landings = [download(upload(shown[i:], torch.device(DEVICE))) for i in (0, 1)]
    assert np.array_equal(landings[0].wait(), np.stack(planes))
    assert np.array_equal(landings[1].wait(), np.stack(planes[1:]))
