"""The released architecture, its rolling ring and its stream batch, against golden vectors.

`tests/golden/streamdiffusionv2.pt` was computed by the public reference implementation with random
weights (see `tests/golden/README.md`). Rows of our ring are the noise levels of the stream batch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from millrace.kernels import flow_step
from millrace.models.dit import CausalDiT, DiTState
from millrace.models.loaders import assign_weights
from millrace.models.sigmas import sigma_of
from millrace.models.specs import DiTSpec, RingSpec
from torch import Tensor

GOLDEN = Path(__file__).parents[1] / "golden" / "streamdiffusionv2.pt"
CLOSE = 1e-5


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return torch.load(GOLDEN, weights_only=True)


@pytest.fixture(scope="module")
def model(golden: dict[str, Any]) -> CausalDiT:
    cfg = golden["cfg"]
    spec = DiTSpec(
        dim=cfg["dim"],
        ffn_dim=cfg["ffn_dim"],
        freq_dim=cfg["freq_dim"],
        text_dim=cfg["text_dim"],
        text_len=cfg["text_len"],
        in_channels=16,
        out_channels=16,
        patch=(1, 2, 2),
        heads=cfg["num_heads"],
        layers=cfg["num_layers"],
        eps=1e-6,
        rope_theta=10_000.0,
        prediction="flow",
        cond_channels=0,
        stem=None,
        ring=RingSpec(
            sinks=golden["num_sink"],
            window=golden["num_kv_cache"] - golden["num_sink"] - 1,
            positions="absolute",
            sink_threshold=None,
        ),
    )
    weights = {name.removeprefix("model."): w for name, w in golden["state_dict"].items()}
    return assign_weights(CausalDiT(spec), weights, "golden", "cpu", torch.float32)


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    error = (ours - theirs).abs().max() / theirs.abs().max()
    assert error < CLOSE, f"relative error {error:.1e}"


def new_state(model: CausalDiT, golden: dict[str, Any], rows: int) -> DiTState:
    state = model.init_state(
        rows, golden["height"] // 8, golden["width"] // 8, 1, "cpu", torch.float32
    )
    context = golden["context"].expand(rows, -1, -1)
    model.set_context(state, torch.arange(rows), context)
    return state


def sigmas(*timesteps: int) -> Tensor:
    return torch.tensor([sigma_of(t) for t in timesteps])


def prepare(model: CausalDiT, golden: dict[str, Any]) -> tuple[DiTState, Tensor]:
    """The first chunk: two latent frames, all steps one after another over one history."""
    state = new_state(model, golden, 1)
    x, steps = golden["first"], golden["steps"]
    noise = golden["renoise"][0][None]
    for step, following in zip(steps, [*steps[1:], steps[-1]], strict=True):
        flow = model(x, torch.full((1, 2), step), state, first=True)
        clean, x = flow_step(x, flow, sigmas(step), sigmas(following), noise)
    state.ring.commit(torch.ones(1, dtype=torch.bool), 2)
    return state, clean


def test_one_call_without_history(model: CausalDiT, golden: dict[str, Any]) -> None:
    x = golden["dit_x"].transpose(1, 2)
    flow = model(x, golden["dit_t"], new_state(model, golden, 2))
    assert_close(flow, golden["dit_flow"].transpose(1, 2))


def test_first_chunk(model: CausalDiT, golden: dict[str, Any]) -> None:
    state, clean = prepare(model, golden)
    assert_close(clean, golden["prepare_out"])
    written = 2 * state.ring.k.shape[3]
    theirs = golden["prepare_kv0"]
    assert_close(state.ring.k[0, 0].flatten(0, 1)[:written], theirs["k"][:written])
    assert_close(state.ring.v[0, 0].flatten(0, 1)[:written], theirs["v"][:written])


def run_stream_batch(model: CausalDiT, golden: dict[str, Any]) -> tuple[DiTState, list[Tensor]]:
    """Ten calls with two levels in flight; returns what the reference calls its output."""
    alone, _ = prepare(model, golden)
    levels = len(golden["steps"])
    state = new_state(model, golden, levels)
    state.copy_rows(torch.zeros(levels, dtype=torch.int64), torch.arange(levels), alone)
    x = torch.zeros(levels, *golden["chunks"][0][0].shape[1:])
    second = golden["steps"][1]
    outs = []
    for call, (latent, _, timestep) in enumerate(golden["chunks"]):
        x[0] = latent[0]
        # The second level has nothing to do until the first has finished a chunk.
        mask = torch.tensor([True, call > 0])
        flow = model(x, torch.tensor([[timestep], [second]]), state, mask)
        noise = golden["renoise"][call + 1].expand_as(x)
        clean, lower = flow_step(x, flow, sigmas(timestep, second), sigmas(second, second), noise)
        state.ring.commit(mask)
        outs.append(torch.stack((lower[0], clean[1])))
        x[1] = lower[0]
    return state, outs


def test_stream_batch_past_the_sliding_point(model: CausalDiT, golden: dict[str, Any]) -> None:
    state, outs = run_stream_batch(model, golden)
    assert len(outs) > 2 * golden["num_kv_cache"] - golden["num_sink"]
    for call, (ours, theirs) in enumerate(zip(outs, golden["outs"], strict=True)):
        assert_close(ours[0], theirs[0])
        if call > 0:  # Before that the reference's second row works on zeros.
            assert_close(ours[1], theirs[1])
    assert state.ring.frames.tolist() == [12, 11]


def test_final_cache_and_ring_order(model: CausalDiT, golden: dict[str, Any]) -> None:
    state, _ = run_stream_batch(model, golden)
    tokens, sinks = state.ring.k.shape[3], golden["num_sink"]
    held = state.ring.slot_frames(0)
    for layer, (theirs, orders) in enumerate(zip(golden["final_kv"], golden["evict"], strict=True)):
        for row, order in enumerate(orders):
            assert_close(state.ring.k[layer, row].flatten(0, 1), theirs["k"][row])
            assert_close(state.ring.v[layer, row].flatten(0, 1), theirs["v"][row])
            oldest_first = held[row, sinks:].argsort() + sinks
            # The reference lists the end of each slot, in tokens, in the order of replacement.
            assert ((oldest_first + 1) * tokens).tolist() == order
