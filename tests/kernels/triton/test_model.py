"""A whole transformer on kernels: each takes the calls that a model makes, and together they give
what the references give."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from millrace.kernels import providers
from millrace.kernels.dispatch import TABLE
from millrace.models.dit import CausalDiT
from millrace.models.specs import WAN_1_3B, RingSpec, Store
from torch import Tensor
from triton_rig import DEVICE, INTERPRETED

RING = RingSpec(1, 1, "relative", None)
SPEC = replace(
    WAN_1_3B, layers=2, dim=24, heads=2, ffn_dim=32, freq_dim=8, text_dim=6, text_len=3, ring=RING
)
KERNELS = {"gated_residual_norm", "modulated_layer_norm", "norm_rope_write", "ring_attention"}
"""What every block of a causal transformer consists of, besides products."""


def stream(store: Store) -> tuple[Tensor, list[Tensor]]:
    """Chunks of two rows, past the point where the window slides; the last one of one row alone.

    Returns:
        What the network says of each, joined, and the ring afterwards.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(DEVICE)

    model = CausalDiT(replace(SPEC, ring=replace(RING, store=store)))
    for weight in model.parameters():
        weight.data = draw(*weight.shape) / (2 * max(weight[0].numel(), 1) ** 0.5)
    model.to(DEVICE)
    state = model.init_state(2, 4, 6, 1, DEVICE, torch.float32)
    both = torch.arange(2, device=DEVICE)
    model.set_context(state, both, draw(2, SPEC.text_len, SPEC.text_dim))
    outs = []
    for chunk in range(4):
        x, t = draw(2, 1, SPEC.in_channels, 4, 6), draw(2, 1).abs() * 300
        mask = None if chunk % 2 else both == 1
        outs.append(model(x, t, state, mask)[mask if mask is not None else both])
        state.ring.commit(mask)
    return torch.cat(outs), [tensor.clone() for tensor in state.ring.tensors()]


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Every operation that has a kernel of ours that fits is computed by it, and counted."""
    counts: Counter[str] = Counter()
    providers.load("cuda")

    def choose(op: str, device: str) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            for way in TABLE[op].candidates.get("cuda", []):
                if way.name.startswith("triton") and not way.fits(*arguments):
                    counts[op] += 1
                    return way.run(*arguments)
            return TABLE[op].reference(*arguments)

        return run

    for name, module in list(sys.modules.items()):
        if name.startswith("millrace.kernels.") and hasattr(module, "choose"):
            monkeypatch.setattr(module, "choose", choose)
    return counts


@pytest.mark.parametrize("store", ["plain", "fp8", "int8"])
def test_a_stream_on_kernels(store: Store, request: pytest.FixtureRequest) -> None:
    with torch.no_grad():
        exact, kept = stream(store)
        counts: Counter[str] = request.getfixturevalue("used")
        found, mine = stream(store)
    assert set(counts) >= KERNELS, counts
    assert counts["norm_rope_write"] == 4 * SPEC.layers
    assert counts["gated_residual_norm"] == 2 * 4 * SPEC.layers
    # A key on the edge between two codes may fall on either side.
    within = 1e-4 if store == "plain" else 3e-2
    if not INTERPRETED:
        within = max(within, 3e-3)
    torch.testing.assert_close(found, exact, rtol=0, atol=within * exact.abs().max().item())
    if store == "plain":
        for ours, theirs in zip(mine, kept, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
