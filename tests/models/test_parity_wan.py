"""One chunk without a past is `diffusers.WanTransformer3DModel`, weight by weight."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from millrace.kernels import axis_pairs
from millrace.models.dit import CausalDiT
from millrace.models.loaders import assign_weights
from millrace.models.policies import SELF_FORCING
from millrace.models.specs import WAN_1_3B, DiTSpec
from torch import Tensor

from .conftest import randomize

diffusers = pytest.importorskip("diffusers")

CLOSE = 1e-5
SPEC = replace(
    SELF_FORCING.spec(WAN_1_3B),
    dim=96,
    ffn_dim=160,
    freq_dim=32,
    text_dim=40,
    text_len=7,
    heads=4,
    layers=3,
)

OURS = (
    (r"^condition_embedder\.time_embedder\.linear_1", "time_embedding.0"),
    (r"^condition_embedder\.time_embedder\.linear_2", "time_embedding.2"),
    (r"^condition_embedder\.time_proj", "time_projection.1"),
    (r"^condition_embedder\.text_embedder\.linear_1", "text_embedding.0"),
    (r"^condition_embedder\.text_embedder\.linear_2", "text_embedding.2"),
    (r"^scale_shift_table", "head.modulation"),
    (r"^proj_out", "head.head"),
    (r"\.scale_shift_table", ".modulation"),
    (r"\.attn1\.", ".self_attn."),
    (r"\.attn2\.", ".cross_attn."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.to_out\.0\.", ".o."),
    (r"\.norm2\.", ".norm3."),
    (r"\.ffn\.net\.0\.proj\.", ".ffn.0."),
    (r"\.ffn\.net\.2\.", ".ffn.2."),
)


def renamed(name: str) -> str:
    for theirs, ours in OURS:
        name = re.sub(theirs, ours, name)
    return name


def oracle(spec: DiTSpec) -> torch.nn.Module:
    model: torch.nn.Module = diffusers.WanTransformer3DModel(
        patch_size=spec.patch,
        num_attention_heads=spec.heads,
        attention_head_dim=spec.head_dim,
        in_channels=spec.in_channels,
        out_channels=spec.out_channels,
        text_dim=spec.text_dim,
        freq_dim=spec.freq_dim,
        ffn_dim=spec.ffn_dim,
        num_layers=spec.layers,
        eps=spec.eps,
    )
    randomize(model)
    return model.eval()


@pytest.fixture(scope="module")
def pair() -> tuple[torch.nn.Module, CausalDiT]:
    theirs = oracle(SPEC)
    weights = {renamed(name): value for name, value in theirs.state_dict().items()}
    assert axis_pairs(SPEC.head_dim) == (4, 4, 4)
    return theirs, assign_weights(CausalDiT(SPEC), weights, "diffusers", "cpu", torch.float32)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def run(
    pair: tuple[torch.nn.Module, CausalDiT], frames: int, timesteps: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Theirs and ours of a chunk of rows, [rows, frames, 16, 6, 8]."""
    theirs, ours = pair
    rows = len(timesteps)
    x, context = draw(rows, frames, 16, 6, 8), draw(rows, SPEC.text_len, SPEC.text_dim)
    t = torch.tensor(timesteps)
    state = ours.init_state(rows, 6, 8, frames, "cpu", torch.float32)
    ours.set_context(state, torch.arange(rows), context)
    with torch.no_grad():
        expected = theirs(x.transpose(1, 2), t, context, return_dict=False)[0].transpose(1, 2)
    return expected, ours(x, t[:, None].expand(-1, frames), state)


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_parity_with_diffusers(pair: tuple[torch.nn.Module, CausalDiT], frames: int) -> None:
    theirs, ours = run(pair, frames, (700.0, 12.5))
    assert theirs.abs().max() > 0.5
    error = (ours - theirs).abs().max() / theirs.abs().max()
    assert error < CLOSE, f"relative error {error:.1e}"


def test_parity_of_a_clip(pair: tuple[torch.nn.Module, CausalDiT]) -> None:
    """The form for training, as one chunk."""
    theirs, ours = pair
    x, context = draw(1, 4, 16, 6, 8), draw(1, SPEC.text_len, SPEC.text_dim)
    with torch.no_grad():
        whole = ours.forward_clip(x, torch.full((1, 4), 500.0), context, chunk=4)
        expected = theirs(x.transpose(1, 2), torch.tensor([500.0]), context, return_dict=False)[0]
    assert (whole - expected.transpose(1, 2)).abs().max() < CLOSE * expected.abs().max()


def test_the_difference_is_the_past(pair: tuple[torch.nn.Module, CausalDiT]) -> None:
    """After a chunk ours sees it and diffusers cannot: the comparison above can fail."""
    _, ours = pair
    x, context = draw(1, 1, 16, 6, 8), draw(1, SPEC.text_len, SPEC.text_dim)
    state = ours.init_state(1, 6, 8, 1, "cpu", torch.float32)
    ours.set_context(state, torch.arange(1), context)
    t = torch.full((1, 1), 700.0)
    first = ours(x, t, state)
    state.ring.commit(None)
    assert (ours(x, t, state) - first).abs().max() > 1e-3
