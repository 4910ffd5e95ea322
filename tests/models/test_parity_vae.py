"""The Wan VAE against `diffusers.AutoencoderKLWan`, and against the released table of names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from millrace.models.specs import WAN_VAE
from millrace.models.wan_vae import WanVAE

from .conftest import randomize

CLOSE = 1e-5
RESIDUAL = {
    "norm1.gamma": "residual.0.gamma",
    "conv1": "residual.2",
    "norm2.gamma": "residual.3.gamma",
    "conv2": "residual.6",
    "conv_shortcut": "shortcut",
}
OUTER = {
    "post_quant_conv": "conv2",
    "quant_conv": "conv1",
    "encoder.conv_in": "encoder.conv1",
    "decoder.conv_in": "decoder.conv1",
    "encoder.norm_out": "encoder.head.0",
    "decoder.norm_out": "decoder.head.0",
    "encoder.conv_out": "encoder.head.2",
    "decoder.conv_out": "decoder.head.2",
    "mid_block.resnets.0": "middle.0",
    "mid_block.attentions.0": "middle.1",
    "mid_block.resnets.1": "middle.2",
    "encoder.down_blocks": "encoder.downsamples",
}


def our_name(theirs: str) -> str:
    """The released name of a tensor of diffusers."""
    for old, new in OUTER.items():
        theirs = theirs.replace(old + ".", new + ".")
    if ".up_blocks." in theirs:
        block, kind, number, rest = theirs.removeprefix("decoder.up_blocks.").split(".", 3)
        # Three residual blocks a level and one that enlarges.
        index = 4 * int(block) + (int(number) if kind == "resnets" else 3)
        theirs = f"decoder.upsamples.{index}.{rest}"
    for old, new in RESIDUAL.items():
        if "resample" not in theirs and ("samples." in theirs or "middle." in theirs):
            theirs = theirs.replace("." + old, "." + new)
    return theirs


def small(width: int) -> Any:
    kind: Any = AutoencoderKLWan
    model = kind(base_dim=width).eval().requires_grad_(False)
    randomize(model)
    return model


@pytest.fixture(scope="module")
def theirs() -> Any:
    return small(8)


@pytest.fixture(scope="module")
def ours(theirs: Any) -> WanVAE:
    vae = WanVAE(replace(WAN_VAE, width=8))
    weights = {our_name(name): value for name, value in theirs.state_dict().items()}
    assert len(weights) == len(theirs.state_dict()) == 194
    vae.load_state_dict(weights)
    return vae.optimise_layout()


def close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return float((ours - theirs).abs().max() / theirs.abs().max()) < CLOSE


def test_encode(ours: WanVAE, theirs: Any) -> None:
    pictures = torch.rand(2, 13, 3, 32, 24, generator=torch.Generator().manual_seed(3))
    expected = theirs.encode(pictures.transpose(1, 2) * 2 - 1).latent_dist.mode().transpose(1, 2)
    state = ours.init_state(2, 32, 24, "cpu", torch.float32, decode=False)
    parts = [
        ours.encode(part, state, first=number == 0, normalise=False)
        for number, part in enumerate(pictures.split([1, 8, 4], 1))
    ]
    assert close(torch.cat(parts, 1), expected)


def test_decode(ours: WanVAE, theirs: Any) -> None:
    latents = 0.3 * torch.randn(2, 4, 16, 4, 3, generator=torch.Generator().manual_seed(4))
    config = theirs.config
    mean, std = (
        torch.tensor(values).view(-1, 1, 1) for values in (config.latents_mean, config.latents_std)
    )
    expected = theirs.decode((latents * std + mean).transpose(1, 2)).sample.transpose(1, 2)
    state = ours.init_state(2, 32, 24, "cpu", torch.float32, encode=False)
    parts = [
        ours.decode(part, state, first=number == 0)
        for number, part in enumerate(latents.split([1, 1, 2], 1))
    ]
    pictures = torch.cat(parts, 1) * 2 - 1
    assert (pictures.abs() < 1).float().mean() > 0.2
    assert close(pictures, expected)


# -- the released file, name by name --------------------------------------------------------------

Shapes = dict[str, tuple[int, ...]]


def conv(name: str, out: int, into: int, *kernel: int) -> Shapes:
    return {f"{name}.weight": (out, into, *kernel), f"{name}.bias": (out,)}


def residual(name: str, into: int, out: int) -> Shapes:
    table: Shapes = {
        f"{name}.residual.0.gamma": (into, 1, 1, 1),
        f"{name}.residual.3.gamma": (out, 1, 1, 1),
    }
    table |= conv(f"{name}.residual.2", out, into, 3, 3, 3)
    table |= conv(f"{name}.residual.6", out, out, 3, 3, 3)
    return table if into == out else table | conv(f"{name}.shortcut", out, into, 1, 1, 1)


def ends(half: str, wide: int, last: int, into: int, first: int, out: int) -> Shapes:
    middle = f"{half}.middle"
    norms: Shapes = {
        f"{middle}.1.norm.gamma": (wide, 1, 1),
        f"{half}.head.0.gamma": (last, 1, 1, 1),
    }
    return (
        norms
        | conv(f"{half}.conv1", first, into, 3, 3, 3)
        | residual(f"{middle}.0", wide, wide)
        | conv(f"{middle}.1.to_qkv", 3 * wide, wide, 1, 1)
        | conv(f"{middle}.1.proj", wide, wide, 1, 1)
        | residual(f"{middle}.2", wide, wide)
        | conv(f"{half}.head.2", out, last, 3, 3, 3)
    )


def released() -> Shapes:
    """`Wan2.1_VAE.pth`, written down from its description and not from the class."""
    down, up = "encoder.downsamples", "decoder.upsamples"
    table: Shapes = ends("encoder", 384, 384, 3, 96, 32) | ends("decoder", 384, 96, 16, 384, 3)
    table |= conv("conv1", 32, 32, 1, 1, 1) | conv("conv2", 16, 16, 1, 1, 1)
    for index, into, out in (
        *((0, 96, 96), (1, 96, 96), (3, 96, 192), (4, 192, 192)),
        *((6, 192, 384), (7, 384, 384), (9, 384, 384), (10, 384, 384)),
    ):
        table |= residual(f"{down}.{index}", into, out)
    for index, width in ((2, 96), (5, 192), (8, 384)):
        table |= conv(f"{down}.{index}.resample.1", width, width, 3, 3)
    for index, width in ((5, 192), (8, 384)):
        table |= conv(f"{down}.{index}.time_conv", width, width, 3, 1, 1)
    for index, into, out in (
        *((0, 384, 384), (1, 384, 384), (2, 384, 384)),
        *((4, 192, 384), (5, 384, 384), (6, 384, 384)),
        *((8, 192, 192), (9, 192, 192), (10, 192, 192)),
        *((12, 96, 96), (13, 96, 96), (14, 96, 96)),
    ):
        table |= residual(f"{up}.{index}", into, out)
    for index, width in ((3, 384), (7, 384), (11, 192)):
        table |= conv(f"{up}.{index}.resample.1", width // 2, width, 3, 3)
    for index in (3, 7):
        table |= conv(f"{up}.{index}.time_conv", 768, 384, 3, 1, 1)
    return table


def test_names_and_shapes_of_the_released_file() -> None:
    with torch.device("meta"):
        vae = WanVAE(WAN_VAE)
    ours = {name: tuple(value.shape) for name, value in vae.state_dict().items()}
    assert ours == released()
    assert len(ours) == 194
    counts = [sum(p.numel() for p in half.parameters()) for half in (vae.encoder, vae.decoder)]
    assert [round(count / 1e6, 1) for count in counts] == [53.6, 73.3]


def test_statistics_of_the_latents(theirs: Any) -> None:
    config = theirs.config
    assert WAN_VAE.latent_mean == tuple(config.latents_mean)
    assert WAN_VAE.latent_std == tuple(config.latents_std)
