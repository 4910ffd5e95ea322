"""What is told of memory before loading, against what is there after."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from millrace.models.checkpoints import random_causal_wan
from millrace.models.dit import CausalDiT
from millrace.models.estimate import dit_parameters, estimate, forward_bytes, told
from millrace.models.loaders import random_model
from millrace.models.specs import (
    TAEHV_WAN21,
    WAN_1_3B,
    WAN_14B,
    WAN_VAE,
    AutoencoderName,
    DiTSpec,
    TAEHVSpec,
    WanVAESpec,
)
from millrace.models.taehv import TAEHV
from millrace.models.video_autoencoder import VideoAutoencoder
from millrace.models.wan_vae import WanVAE
from peak import peak_bytes
from torch import nn


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("spec", "billions"), [(WAN_1_3B, 1.419), (WAN_14B, 14.288)])
def test_parameters_of_the_released_transformers(spec: DiTSpec, billions: float) -> None:
    with torch.device("meta"):
        assert dit_parameters(spec) == parameters(CausalDiT(spec))
    assert round(dit_parameters(spec) / 1e9, 3) == billions


@pytest.mark.parametrize("name", ["taehv", "wan", "wan+taehv"])
@pytest.mark.parametrize("full", [True, False])
def test_weights_and_memory_are_told_exactly(name: AutoencoderName, full: bool) -> None:
    vae: WanVAESpec = WAN_VAE if full else replace(WAN_VAE, width=8)
    taehv: TAEHVSpec = TAEHV_WAN21 if full else replace(TAEHV_WAN21, encoder_width=8, blocks=1)
    height, width, sessions, steps = 64, 96, 3, 2
    with torch.device("meta"):
        dit, large, small = CausalDiT(WAN_1_3B), WanVAE(vae), TAEHV(taehv)
        state = dit.init_state(
            sessions * steps, height // 8, width // 8, 1, "meta", torch.bfloat16, prompts=False
        )
    given = (sessions, height, width, "meta", torch.bfloat16)
    encoder, decoder = (small if name == "taehv" else large), (large if name == "wan" else small)
    memory = encoder.init_state(*given, decode=False).nbytes
    memory += decoder.init_state(*given, encode=False).nbytes
    coders = {"wan": (large,), "taehv": (small,), "wan+taehv": (large, small)}[name]
    found = estimate(
        WAN_1_3B, (width, height), sessions, steps, "bfloat16", name, vae=vae, taehv=taehv
    )
    assert found["weights"] == 2 * sum(parameters(part) for part in (dit, *coders))
    assert found["pictures"] == memory
    # The lanes keep two latents of each row besides the ring.
    latents = 2 * 2 * sessions * steps * 16 * (height // 8) * (width // 8)
    assert found["past"] == state.ring.nbytes + latents


WORKING = replace(
    WAN_1_3B, dim=64, ffn_dim=372, freq_dim=32, text_dim=32, text_len=16, heads=2, layers=2
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("rows", "frames"), [(1, 1), (2, 3)])
def test_a_forward_takes_no_more_than_is_told(dtype: torch.dtype, rows: int, frames: int) -> None:
    model = random_causal_wan(WORKING, "cpu", dtype)
    everybody = torch.ones(rows, dtype=torch.bool)
    noise = torch.zeros(rows, frames, 16, 16, 16, dtype=dtype)
    times = torch.full((rows, frames), 500.0)
    with torch.inference_mode():
        state = model.init_state(rows, 16, 16, frames, "cpu", dtype)
        model.set_context(state, everybody, torch.zeros(rows, 16, 32, dtype=dtype))
        for _ in range(7):  # until the ring is full
            model(noise, times, state)
            state.ring.commit(everybody)
        there = peak_bytes(lambda: model(noise, times, state))
    told = forward_bytes(WORKING, rows, 64, frames, noise.element_size())
    assert there <= told < 1.6 * there


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["taehv", "wan"])
def test_an_autoencoder_takes_no_more_than_is_told(
    name: AutoencoderName, dtype: torch.dtype
) -> None:
    side, vae = 64, replace(WAN_VAE, width=16)
    coder: VideoAutoencoder = (
        random_model(lambda: TAEHV(TAEHV_WAN21), "cpu", dtype).optimise_layout()
        if name == "taehv"
        else random_model(lambda: WanVAE(vae), "cpu", dtype).optimise_layout()
    )
    with torch.inference_mode():
        state = coder.init_state(1, side, side, torch.device("cpu"), dtype)
        coder.encode(torch.zeros(1, 5, 3, side, side, dtype=dtype), state, first=True)
        pictures = torch.zeros(1, 4, 3, side, side, dtype=dtype)
        encoding = peak_bytes(lambda: coder.encode(pictures, state, first=False))
        latents = coder.encode(pictures, state, first=False)
        coder.decode(latents, state, first=True)
        there = max(encoding, peak_bytes(lambda: coder.decode(latents, state, first=False)))
    kind = str(dtype).removeprefix("torch.")
    told = estimate(WORKING, (side, side), 1, 1, kind, name, vae=vae)["work"]
    assert there <= told < 3 * there


def test_the_ring_of_the_reference_at_480p() -> None:
    """1.61 and 7.14 GiB a row in bfloat16 (six frames of 1560 tokens)."""
    for spec, gib in ((WAN_1_3B, 1.61), (WAN_14B, 7.14)):
        found = estimate(spec, (832, 480), 1, 1, "bfloat16", "taehv")
        assert round(found["past"] / 2**30, 2) == gib


def test_a_sentence_with_the_numbers() -> None:
    assert told({"weights": 2_840_000_000, "past": 1_730_000_000}) == (
        "4.6 GB (weights 2.8, past 1.7)"
    )


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="float8"):
        estimate(WAN_1_3B, (832, 480), 1, 1, "float8", "taehv")
    with pytest.raises(ValueError, match="multiple of the patch"):
        estimate(WAN_1_3B, (840, 480), 1, 1, "float32", "taehv")


def test_it_needs_no_torch() -> None:
    program = "import sys, millrace.models.estimate; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
