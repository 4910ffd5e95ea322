"""Counts from specs against what torch counts when the networks run (on no data at all)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from millrace.models.autoencoder import PatchAutoencoder
from millrace.models.dit import CausalDiT
from millrace.models.flops import Cost, buffer_pass, dit_pass
from millrace.models.flops_coders import (
    patch_decode,
    patch_encode,
    taehv_decode,
    taehv_encode,
    wan_decode,
    wan_encode,
)
from millrace.models.scene import PICTURES, TINY_SCENE
from millrace.models.specs import (
    TAEHV_WAN21,
    TINY,
    TINY_AUTOENCODER,
    WAN_1_3B,
    WAN_VAE,
    DiTSpec,
    RingSpec,
)
from millrace.models.taehv import TAEHV
from millrace.models.wan_vae import WanVAE
from torch.utils.flop_counter import FlopCounterMode

META = torch.device("meta")
F32 = torch.float32
WAN = replace(
    WAN_1_3B,
    dim=48,
    ffn_dim=80,
    freq_dim=16,
    text_dim=24,
    text_len=5,
    heads=2,
    layers=3,
    ring=RingSpec(2, 3, "relative", None),
)
STEM = replace(TINY, dim=64, ffn_dim=96, layers=2, ring=RingSpec(1, 2, "relative", None))


def counted(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def run_dit(spec: DiTSpec, rows: int, frames: int, latent: tuple[int, int]) -> tuple[int, int]:
    """FLOPs of a pass over a full ring, and bytes of the weights that it reads."""
    with META:
        dit = CausalDiT(spec).eval().requires_grad_(False)
    state = dit.init_state(rows, *latent, frames, META, F32)
    x = torch.empty(rows, frames, spec.in_channels, *latent, device=META)
    cond = None
    if spec.cond_channels:
        cond = torch.empty(rows, frames, spec.cond_channels, *latent, device=META)
    t = torch.zeros(rows, frames, device=META)
    flops = counted(lambda: dit(x, t, state, cond=cond))
    unread = ("text_embedding", "cross_attn.k", "cross_attn.v", "cross_attn.norm_k", "tail.reader")
    weights = {n: p for n, p in dit.named_parameters() if not any(part in n for part in unread)}
    return flops, sum(p.nbytes for p in weights.values())


@pytest.mark.parametrize("spec", [WAN, STEM], ids=["wan", "stem"])
@pytest.mark.parametrize(("rows", "frames"), [(1, 1), (3, 1), (2, 3)])
def test_a_pass_costs_what_torch_counts(spec: DiTSpec, rows: int, frames: int) -> None:
    flops, weights = run_dit(spec, rows, frames, (8, 12))
    cost = dit_pass(spec, (8, 12), frames, 4, rows=rows)
    assert cost.flops == flops
    # The last layer of a stem has weights of the prompt: it is counted with them.
    given = 0 if spec.stem is None else 4 * spec.out_channels * (spec.stem.width + 1)
    assert cost.weights == weights + given


@pytest.mark.parametrize("latent", [(8, 8), (16, 24)], ids=["one window", "many"])
@pytest.mark.parametrize("guided", [1, 2])
def test_a_pass_of_a_moving_buffer_costs_what_torch_counts(
    latent: tuple[int, int], guided: int
) -> None:
    spec = replace(TINY_SCENE, dim=48, ffn_dim=80, layers=3)
    with META:
        dit = CausalDiT(spec).eval().requires_grad_(False)
    rows = 2 * guided
    words = torch.empty(rows * PICTURES, spec.text_len, spec.text_dim, device=META)
    prompt = dit.read(words)  # one for each frame: it may change from chunk to chunk
    x = torch.empty(rows, PICTURES, spec.in_channels, *latent, device=META)
    t = torch.zeros(rows, PICTURES, device=META)
    flops = counted(lambda: dit.forward_buffer(x, t, prompt))
    assert buffer_pass(spec, latent, PICTURES, 4, rows=rows).flops == flops


def test_memory_of_a_pass_is_the_ring_read_once_and_the_chunk_written() -> None:
    with META:
        dit = CausalDiT(WAN)
    state = dit.init_state(2, 8, 12, 1, META, F32)
    ring = state.ring.k.nbytes + state.ring.v.nbytes
    slots = WAN.ring.sinks + WAN.ring.window + 1
    prompt = state.text_k.nbytes + state.text_v.nbytes
    assert dit_pass(WAN, (8, 12), 1, 4, rows=2).memory == ring + ring // slots + prompt
    assert dit_pass(WAN, (8, 12), 1, 4, past=0).memory < dit_pass(WAN, (8, 12), 1, 4).memory


Coder = tuple[Callable[[], Any], Callable[..., Cost], Callable[..., Cost]]
CODERS: dict[str, Coder] = {
    "taehv": (
        lambda: TAEHV(replace(TAEHV_WAN21, encoder_width=8, decoder_widths=(16, 12, 8, 4))),
        taehv_encode,
        taehv_decode,
    ),
    "wan": (lambda: WanVAE(replace(WAN_VAE, width=8)), wan_encode, wan_decode),
}


@pytest.mark.parametrize("name", CODERS)
@pytest.mark.parametrize(("rows", "frames"), [(1, 1), (2, 3)])
def test_a_video_autoencoder_costs_what_torch_counts(name: str, rows: int, frames: int) -> None:
    make, encode, decode = CODERS[name]
    size = (32, 48)
    with META:
        coder = make().eval().requires_grad_(False)
    state = coder.init_state(rows, *size, META, F32)
    pictures = torch.empty(rows, 4 * frames, 3, *size, device=META)
    latents = torch.empty(rows, frames, 16, size[0] // 8, size[1] // 8, device=META)
    found = counted(lambda: coder.encode(pictures, state))
    assert encode(coder.spec, size, frames, 4, rows).flops == found
    assert decode(coder.spec, size, frames, 4, rows).flops == counted(
        lambda: coder.decode(latents, state)
    )
    remembered = sum(frames.past.nbytes for frames in state.encoder)
    assert encode(coder.spec, size, frames, 4, rows).memory == 2 * remembered
    remembered = sum(frames.past.nbytes for frames in state.decoder)
    assert decode(coder.spec, size, frames, 4, rows).memory == 2 * remembered


def test_weights_of_an_autoencoder_are_all_read() -> None:
    size = (32, 48)
    for make, encode, decode in CODERS.values():
        with META:
            coder = make()
        read = encode(coder.spec, size, 1, 4).weights + decode(coder.spec, size, 1, 4).weights
        whole = sum(p.nbytes for p in coder.parameters())
        # Half of the large one's last layer is of deviations, which nobody asks for.
        unread = 4 * 16 * (32 + 1) if isinstance(coder, WanVAE) else 0
        assert read == whole - unread


def test_the_embedded_autoencoder_costs_what_torch_counts() -> None:
    spec = replace(TINY_AUTOENCODER, encoder_fine_blocks=2)
    with META:
        coder = PatchAutoencoder(spec).eval().requires_grad_(False)
    state = coder.init_state(2, 32, 48, META, F32)
    pictures = torch.empty(2, 1, 3, 32, 48, device=META)
    latents = torch.empty(2, 1, spec.channels, 4, 6, device=META)
    encode = patch_encode(spec, (32, 48), 1, 4, rows=2)
    decode = patch_decode(spec, (32, 48), 1, 4, rows=2)
    assert encode.flops == counted(lambda: coder.encode(pictures))
    assert decode.flops == counted(lambda: coder.decode(latents, state))
    assert encode.weights + decode.weights == sum(p.nbytes for p in coder.parameters())


def test_the_figures_that_the_goals_were_set_by() -> None:
    """480x832 as counted before, in TFLOP: products 3.90, attention 2.69, prompt 0.15 for one
    latent frame over six; the large autoencoder 21.6 both ways, the tiny one 0.78."""
    cost = dit_pass(WAN_1_3B, (60, 104), 1, 2)
    assert cost.parts["products"] / 1e12 == pytest.approx(3.90, abs=0.01)
    assert cost.parts["attention"] / 1e12 == pytest.approx(2.69, abs=0.01)
    assert cost.parts["prompt"] / 1e12 == pytest.approx(0.15, abs=0.005)
    size = (480, 832)
    large = wan_encode(WAN_VAE, size, 1, 2).flops + wan_decode(WAN_VAE, size, 1, 2).flops
    assert large / 1e12 == pytest.approx(21.6, abs=0.1)
    small = taehv_encode(TAEHV_WAN21, size, 1, 2).flops
    small += taehv_decode(TAEHV_WAN21, size, 1, 2).flops
    assert 0.6 < small / 1e12 < 0.79, "less than was counted, as channels are mixed before growing"


def test_costs_add_up() -> None:
    one = dit_pass(WAN, (8, 12), 1, 4)
    both = Cost.total([one, one])
    assert both.flops == 2 * one.flops and both.bytes == 2 * one.bytes
    assert both.parts == {name: 2 * flops for name, flops in one.parts.items()}
