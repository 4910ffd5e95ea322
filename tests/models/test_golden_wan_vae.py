"""The Wan VAE against the numbers of the reference implementation (`tests/golden/README.md`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from millrace.models.loaders import assign_weights
from millrace.models.specs import WAN_VAE
from millrace.models.wan_vae import WanVAE
from torch import Tensor

GOLDEN = Path(__file__).parents[1] / "golden" / "streamdiffusionv2.pt"
CLOSE = 1e-5


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return torch.load(GOLDEN, weights_only=True)


@pytest.fixture(scope="module")
def vae(golden: dict[str, Any]) -> WanVAE:
    mean, std = (tuple(golden[name].tolist()) for name in ("vae_mean", "vae_std"))
    spec = replace(WAN_VAE, width=8, latent_mean=mean, latent_std=std)
    return assign_weights(WanVAE(spec), golden["vae_sd"], "golden", "cpu", torch.float32)


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    error = (ours - theirs).abs().max() / theirs.abs().max()
    assert error < CLOSE, f"relative error {error:.1e}"


def encode(vae: WanVAE, golden: dict[str, Any], normalise: bool = True) -> Tensor:
    """5 + 4 + 4 pictures."""
    pictures = (golden["vae_px"].transpose(1, 2) + 1) / 2
    state = vae.init_state(1, 32, 48, "cpu", torch.float32, decode=False)
    parts = [
        vae.encode(part, state, first=number == 0, normalise=normalise)
        for number, part in enumerate(pictures.split([5, 4, 4], 1))
    ]
    return torch.cat(parts, 1)


def test_encoder(vae: WanVAE, golden: dict[str, Any]) -> None:
    raw = encode(vae, golden, normalise=False)
    assert_close(raw.transpose(1, 2), golden["vae_mu_raw"])


def test_standardised_latents(vae: WanVAE, golden: dict[str, Any]) -> None:
    mean, std = (golden[name].view(1, -1, 1, 1, 1) for name in ("vae_mean", "vae_std"))
    assert_close(encode(vae, golden).transpose(1, 2), (golden["vae_mu_raw"] - mean) / std)


def test_decoder(vae: WanVAE, golden: dict[str, Any]) -> None:
    latents = encode(vae, golden)
    state = vae.init_state(1, 32, 48, "cpu", torch.float32, encode=False)
    parts = [
        vae.decode(part, state, first=number == 0)
        for number, part in enumerate(latents.split([2, 1, 1], 1))
    ]
    pictures = torch.cat(parts, 1) * 2 - 1
    assert_close(pictures.transpose(1, 2), golden["vae_dec"].clamp(-1, 1))
