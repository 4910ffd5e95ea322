"""The embedded model through fused operations is the model that was trained."""

from __future__ import annotations

import pytest
import torch
from millrace.kernels.dispatch import TABLE, choose
from millrace.models.tiny import random_tiny
from torch import Tensor

FRAMES = 6


def run(dtype: str, frames: Tensor) -> Tensor:
    """Pictures [F, 3, H, W] as the embedded model restyles them, one after another."""
    model = random_tiny(dtype=dtype)
    kind = getattr(torch, dtype)
    height, width = frames.shape[-2:]
    memory = model.autoencoder.init_state(1, height, width, dtype=kind)
    state = model.dit.init_state(1, height // 8, width // 8, 1, "cpu", kind)
    out = []
    with torch.no_grad():
        model.dit.set_context(state, torch.tensor([0]), model.bank[2:3])
        for frame in frames.to(kind):
            cond = model.autoencoder.encode(frame[None, None])
            latent = model.dit(cond, torch.full((1, 1), 800.0), state, None, cond)
            state.ring.commit(None)
            out.append(model.autoencoder.decode(latent, memory)[0])
    return torch.cat(out).float()


@pytest.mark.parametrize("dtype, close", [("float32", 1e-5), ("bfloat16", 0.03)])
def test_fused_operations_equal_their_references(
    dtype: str, close: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = torch.rand(FRAMES, 3, 48, 32, generator=torch.Generator().manual_seed(0))
    ours = run(dtype, frames)
    for operation in TABLE.values():
        monkeypatch.setattr(operation, "implementations", {})
    choose.cache_clear()
    try:
        theirs = run(dtype, frames)
    finally:
        choose.cache_clear()
    assert theirs.std() > 0.05
    assert (ours - theirs).abs().max() < close
