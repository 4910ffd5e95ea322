"""Streams of the built-in pipeline go on bit for bit on another device."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from millrace.models.video import VideoModel
from millrace.streaming.diffusion import Stream, VideoDiffusion
from millrace.streaming.pipeline import NOMINAL, Effort, Portable, StreamConfig, Work
from millrace.streaming.portable import put_array, to_array

from .test_diffusion import clip, controls, model, pipeline

__all__ = ["model"]
SIZE = StreamConfig(32, 32)


def walk(
    host: VideoDiffusion, stream: Stream, chunks: range, effort: Effort = NOMINAL
) -> list[torch.Tensor]:
    """Pictures of some chunks, with nothing left in flight."""
    pictures, frames = [], clip(1, 14)
    for index in chunks:
        wish = controls({"prompt": "neon" if index > 8 else "noir", "steps": 2})
        work = Work(stream, index, frames[index].float(), wish, effort)
        pictures += [result.frames for result in host.step([work])]
    while len(pictures) < len(chunks):
        flush = Work(stream, chunks[-1], None, controls({}))
        pictures += [result.frames for result in host.step([flush])]
    return pictures


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("sequential", [True, False])
def test_a_moved_stream_equals_one_that_stays(
    model: VideoModel, sequential: bool, dtype: torch.dtype
) -> None:
    own = copy.deepcopy(model).to(dtype)
    here, there = pipeline(own, sequential=sequential), pipeline(own, sequential=sequential)
    assert isinstance(here, Portable)
    staying, leaving = here.open(SIZE), here.open(SIZE)
    there.open(SIZE)
    first = walk(here, staying, range(7))
    assert all(map(torch.equal, first, walk(here, leaving, range(7))))
    arrived = there.load(SIZE, here.save(leaving))
    assert arrived.slot == leaving.slot == 1 and arrived.notes == leaving.notes
    moved, stayed = walk(there, arrived, range(7, 14)), walk(here, staying, range(7, 14))
    assert all(map(torch.equal, moved, stayed))


def test_a_stream_that_works_at_a_smaller_size_arrives_there(model: VideoModel) -> None:
    here, there = pipeline(model), pipeline(model)
    half = Effort("half", scale=0.5)
    staying, leaving = here.open(SIZE), here.open(SIZE)
    for stream in (staying, leaving):
        walk(here, stream, range(3), half)
    arrived = there.load(SIZE, here.save(leaving))
    assert arrived.bank.size == (16, 16)
    moved, stayed = (
        walk(host, stream, range(3, 6), half)
        for host, stream in ((there, arrived), (here, staying))
    )
    assert all(map(torch.equal, moved, stayed))


def test_arrays_are_bit_for_bit_and_of_one_shape() -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.int64):
        tensor = (
            (torch.randn(2, 3, 4, 5) * 100).to(dtype).contiguous(memory_format=torch.channels_last)
        )
        copy = torch.zeros_like(tensor)
        put_array(to_array(tensor), copy)
        assert torch.equal(copy, tensor)
    with pytest.raises(ValueError, match="saved"):
        put_array(np.zeros((2, 2), np.float32), torch.zeros(3, 2))
