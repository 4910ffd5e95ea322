"""What is told of memory before loading, against what is there after."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from millrace.models.dit import CausalDiT
from millrace.models.estimate import dit_parameters, estimate, told
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
from millrace.models.wan_vae import WanVAE
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
