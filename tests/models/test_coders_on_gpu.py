"""The video autoencoders on a GPU: nothing is waited for, and a chunk can be a CUDA graph."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from millrace.models.specs import TAEHV_WAN21, WAN_VAE
from millrace.models.state import State
from millrace.models.taehv import TAEHV
from millrace.models.video_autoencoder import VideoAutoencoder
from millrace.models.wan_vae import WanVAE
from torch import Tensor

from .conftest import randomize

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SIZE = (32, 48)
kinds = pytest.mark.parametrize("kind", ["taehv", "wan"])


def make(kind: str) -> TAEHV | WanVAE:
    module = TAEHV(TAEHV_WAN21) if kind == "taehv" else WanVAE(replace(WAN_VAE, width=16, blocks=1))
    randomize(module)
    return module.optimise_layout().eval().requires_grad_(False)


def through(model: VideoAutoencoder, pictures: Tensor, state: State, first: bool) -> Tensor:
    return model.decode(model.encode(pictures, state, first=first), state, first=first)


def stream(model: VideoAutoencoder, pictures: Tensor) -> Tensor:
    """A beginning and two chunks, the second of which must not wait for the device."""
    state = model.init_state(len(pictures), *SIZE, pictures.device, pictures.dtype)
    first, warm, last = pictures.split([5, 4, 4], 1)
    outs = [through(model, first, state, True), through(model, warm, state, False)]
    if pictures.is_cuda:
        torch.cuda.set_sync_debug_mode("error")
    try:
        outs.append(through(model, last, state, False))
    finally:
        if pictures.is_cuda:
            torch.cuda.set_sync_debug_mode("default")
    return torch.cat(outs, 1).double().cpu()


def clip(rows: int = 2) -> Tensor:
    return torch.rand(rows, 13, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@kinds
def test_a_stream_is_as_near_the_truth_as_on_a_processor(kind: str) -> None:
    """In bfloat16, against float64 on a processor."""
    model, pictures = make(kind), clip()
    exact = stream(copy.deepcopy(model).double(), pictures.double())
    narrow = model.bfloat16()
    here = stream(narrow, pictures.bfloat16())
    there = stream(narrow.cuda(), pictures.cuda().bfloat16())
    usual, found = ((one - exact).square().mean() for one in (here, there))
    assert found < 2 * usual


@kinds
def test_a_chunk_recorded_as_a_graph(kind: str) -> None:
    """Replays read and write the memory that was recorded, chunk after chunk."""
    model, pictures = make(kind).cuda().bfloat16(), clip().cuda().bfloat16()
    state = model.init_state(2, *SIZE, "cuda", torch.bfloat16)
    given = pictures[:, 1:5].clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        through(model, pictures[:, :1], state, True)
        through(model, given, state, False)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = through(model, given, state, False)
    twin = model.init_state(2, *SIZE, "cuda", torch.bfloat16)
    for old, new in zip(state.tensors(), twin.tensors(), strict=True):
        new.copy_(old)
    later = pictures[:, 5:].split(4, 1)
    replayed = [torch.empty_like(out) for _ in later]
    reserved = torch.cuda.memory_reserved()
    for part, kept in zip(later, replayed, strict=True):
        given.copy_(part)
        graph.replay()
        kept.copy_(out)
    assert torch.cuda.memory_reserved() == reserved, "a replay allocates nothing"
    for part, kept in zip(later, replayed, strict=True):
        wanted = through(model, part, twin, False)
        torch.testing.assert_close(kept, wanted, rtol=0, atol=2e-2)


@kinds
def test_memory_stays_where_it_is(kind: str) -> None:
    model, pictures = make(kind).cuda().half(), clip().cuda().half()
    state = model.init_state(2, *SIZE, "cuda", torch.float16)
    where = [tensor.data_ptr() for tensor in state.tensors()]
    through(model, pictures[:, :5], state, True)
    through(model, pictures[:, 5:9], state, False)
    assert [tensor.data_ptr() for tensor in state.tensors()] == where
