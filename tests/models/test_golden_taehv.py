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
from millrace.models.taehv import TAEHV, fit_released
from torch import Tensor

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


@pytest.fixture(scope="module")
def taehv() -> TAEHV:
    module = TAEHV(TAEHV_WAN21)
    weights = {name: weight(name, value.shape) for name, value in module.state_dict().items()}
    return assign_weights(module, weights, "formula", "cpu", torch.float32)


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    error = (ours - theirs).abs().max() / theirs.abs().max()
    assert error < CLOSE, f"relative error {error:.1e}"


def test_names_and_shapes(golden: dict[str, Any], taehv: TAEHV) -> None:
    ours = {name: tuple(value.shape) for name, value in taehv.state_dict().items()}
    assert ours == golden["keys"]
    assert len(ours) == 128


def test_encoder(golden: dict[str, Any], taehv: TAEHV) -> None:
    state = taehv.init_state(1, 32, 48, "cpu", torch.float32)
    parts = [taehv.encode(chunk, state) for chunk in golden["frames"].split(4, 1)]
    assert_close(torch.cat(parts, 1), golden["latent"])


def test_decoder(golden: dict[str, Any], taehv: TAEHV) -> None:
    state = taehv.init_state(1, 32, 48, "cpu", torch.float32)
    parts = [
        taehv.decode(latent, state, first=number == 0)
        for number, latent in enumerate(golden["latent"].split(1, 1))
    ]
    assert [part.shape[1] for part in parts] == [1, 4, 4]
    assert_close(torch.cat(parts, 1), golden["decoded"])


def test_a_stage_that_grows_less_takes_the_last_rows(taehv: TAEHV) -> None:
    """The released file doubles frames at the first stage too, where this size does not."""
    key = "decoder.7.conv.weight"
    own = taehv.state_dict()
    released = {**own, key: torch.cat((torch.full_like(own[key], 9.0), own[key]))}
    fitted = fit_released(taehv, released)
    assert list(fitted) == list(own)
    assert torch.equal(fitted[key], own[key])
