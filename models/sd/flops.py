"""What the UNet models cost, counted by torch on networks without data (see `models.flops`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..flops import Cost
from .parts import require
from .specs import SDSpec

META = torch.device("meta")


def unet_pass(spec: SDSpec, latent: tuple[int, int], each: int, rows: int = 1) -> Cost:
    """One forward over `rows` latents of this height and width; `each` is the bytes of a number.

    Raises:
        MissingPackage: diffusers is not installed.
    """
    with META:
        unet = require("diffusers").UNet2DConditionModel(**spec.unet)
    channels = int(spec.unet["in_channels"])
    z = torch.empty(rows, channels, *latent, device=META)
    text = torch.empty(rows, spec.tokens, spec.text_dim, device=META)
    times = torch.zeros(rows, device=META)
    passing = (2 * z.numel() + text.numel()) * each
    return _counted(unet, lambda: unet(z, times, text), each, passing)


def coding(vae: nn.Module, size: tuple[int, int], each: int, rows: int) -> tuple[Cost, Cost]:
    """Encode and decode of `rows` pictures of this height and width by diffusers' AutoencoderTiny
    with the settings of `vae`."""
    config: Any = vae.config
    with META:
        empty = require("diffusers").AutoencoderTiny.from_config(config)
    pictures = torch.empty(rows, 3, *size, device=META)
    latents = torch.empty(rows, config.latent_channels, size[0] // 8, size[1] // 8, device=META)
    passing = (pictures.numel() + latents.numel()) * each
    return (
        _counted(empty.encoder, lambda: empty.encode(pictures), each, passing),
        _counted(empty.decoder, lambda: empty.decode(latents), each, passing),
    )


@torch.no_grad()
def _counted(network: nn.Module, run: Callable[[], object], each: int, passing: int) -> Cost:
    with FlopCounterMode(display=False) as counter:
        run()
    kinds = counter.get_flop_counts()["Global"]
    parts = {str(kind).removeprefix("aten."): flops for kind, flops in kinds.items()}
    weights = sum(parameter.numel() for parameter in network.parameters()) * each
    return Cost(counter.get_total_flops(), weights, 0, passing, parts)
