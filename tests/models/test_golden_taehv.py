"""TAEHV against the numbers of the reference implementation (`tests/golden/README.md`)."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from millrace.models.loaders import assign_weights
from millrace.models.specs import TAEHV_WAN21
from millrace.models.taehv import TAEHVDecoder, TAEHVEncoder
from torch import Tensor, nn

GOLDEN = Path(__file__).parents[1] / "golden" / "taehv.pt"
CLOSE = 1e-5


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return torch.load(GOLDEN, weights_only=True)


def weight(name: str, shape: torch.Size) -> Tensor:
    """The weights are a formula and not stored."""
    index = torch.arange(math.prod(shape), dtype=torch.float64)
    scale = 0.05 if len(shape) == 1 else 1.6 / math.sqrt(math.prod(shape[1:]))
    phase = 1 + zlib.crc32(name.encode()) % 1000 + 0.7 * index + (0.001 * index * index) % 17
    return (scale * phase.cos()).view(shape)


def filled(module: nn.Module) -> nn.Module:
    weights = {name: weight(name, value.shape) for name, value in module.state_dict().items()}
    return assign_weights(module, weights, "formula", "cpu", torch.float32)


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    error = (ours - theirs).abs().max() / theirs.abs().max()
    assert error < CLOSE, f"relative error {error:.1e}"


def test_names_and_shapes(golden: dict[str, Any]) -> None:
    modules = (TAEHVEncoder(TAEHV_WAN21), TAEHVDecoder(TAEHV_WAN21))
    ours = {name: tuple(w.shape) for m in modules for name, w in m.state_dict().items()}
    assert ours == golden["keys"]


def test_encoder(golden: dict[str, Any]) -> None:
    encoder: Any = filled(TAEHVEncoder(TAEHV_WAN21))
    state = encoder.init_state(1, *golden["frames"].shape[-2:], "cpu", torch.float32)
    parts = [encoder(chunk, state) for chunk in golden["frames"].split(4, 1)]
    assert_close(torch.cat(parts, 1), golden["latent"])


def test_decoder(golden: dict[str, Any]) -> None:
    decoder: Any = filled(TAEHVDecoder(TAEHV_WAN21))
    state = decoder.init_state(1, *golden["latent"].shape[-2:], "cpu", torch.float32)
    parts = [decoder(latent, state) for latent in golden["latent"].split(1, 1)]
    assert_close(torch.cat(parts, 1)[:, decoder.warmup :], golden["decoded"])
