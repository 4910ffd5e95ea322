"""TAEHV, a tiny video autoencoder for the latents of large models, as a stream.

Parameter names and the function computed are those of the released weights (madebyollin/taehv,
`taew2_1` for Wan 2.1). All memory is explicit: each memory block keeps its last input frame, so any
chunking gives the frames of one pass over the whole clip.

Latents here are standardised (mean 0, deviation 1 a channel), pictures are in 0..1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn as nn
import torch.nn.functional as functional
from torch import Tensor

from .conv import ConvState
from .specs import TAEHVSpec
from .state import State


@dataclass(eq=False)
class TAEHVState(State):
    """One kept frame per memory block, in the order of the blocks."""

    blocks: list[ConvState]


class MemBlock(nn.Module):
    """Residual block that sees the frame before at the same place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.conv = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor, memory: ConvState, mask: Tensor | None) -> Tensor:
        """[rows, frames, width, h, w] -> the same shape."""
        past = memory.extend(x, mask)[:, :-1].flatten(0, 1)
        now = x.flatten(0, 1)
        first = cast(nn.Conv2d, self.conv[0])
        # The weight split over (now, past) spares joining the two: half the memory traffic.
        weight_now, weight_past = first.weight.split(self.width, 1)
        hidden = functional.conv2d(now, weight_now, first.bias, padding=1)
        hidden = hidden + functional.conv2d(past, weight_past, padding=1)
        out = functional.relu(self.conv[1:](hidden) + now)
        return out.unflatten(0, x.shape[:2])


class TPool(nn.Module):
    """Merges `stride` frames into one."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(width * stride, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows, frames, channels, height, width = x.shape
        merged = x.reshape(-1, self.stride * channels, height, width)
        return self.conv(merged).unflatten(0, (rows, frames // self.stride))


class TGrow(nn.Module):
    """Makes `stride` frames of one."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(width, width * stride, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows, frames, channels, height, width = x.shape
        grown = self.conv(x.flatten(0, 1))
        return grown.reshape(rows, frames * self.stride, channels, height, width)


class Clamp(nn.Module):
    """Soft limit of latents to -3..3."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


def _per_frame(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def _run(layers: nn.Sequential, x: Tensor, state: TAEHVState, mask: Tensor | None) -> Tensor:
    memories = iter(state.blocks)
    for layer in layers:
        if isinstance(layer, MemBlock):
            x = layer(x, next(memories), mask)
        elif isinstance(layer, (TPool, TGrow)):
            x = layer(x)
        else:
            x = _per_frame(layer, x)
    return x


def _conv(channels: int, out: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, padding=1, stride=stride, bias=bias)


class TAEHVEncoder(nn.Module):
    """Pictures to latents. Chunks hold a multiple of `frames_per_latent` frames."""

    def __init__(self, spec: TAEHVSpec) -> None:
        super().__init__()
        self.spec = spec
        self.frames_per_latent = math.prod(spec.encoder_strides)
        self.stride = 2 ** len(spec.encoder_strides)
        width = spec.encoder_width
        layers: list[nn.Module] = [_conv(spec.image_channels, width), nn.ReLU(inplace=True)]
        for frames in spec.encoder_strides:
            layers += [TPool(width, frames), _conv(width, width, stride=2, bias=False)]
            layers += [MemBlock(width) for _ in range(spec.blocks)]
        layers.append(_conv(width, spec.latent_channels))
        self.encoder = nn.Sequential(*layers)

    def init_state(
        self, rows: int, height: int, width: int, device: torch.device | str, dtype: torch.dtype
    ) -> TAEHVState:
        """Memory for `rows` streams of pictures height x width.

        Raises:
            ValueError: a side is no multiple of `stride`.
        """
        if height % self.stride or width % self.stride:
            raise ValueError(f"{height}x{width} is no multiple of {self.stride}; pad the picture")
        blocks = []
        for level in range(1, len(self.spec.encoder_strides) + 1):
            shape = (1, self.spec.encoder_width, height >> level, width >> level)
            blocks += [
                ConvState.allocate(rows, shape, device, dtype) for _ in range(self.spec.blocks)
            ]
        return TAEHVState(blocks)

    def forward(self, pictures: Tensor, state: TAEHVState, mask: Tensor | None = None) -> Tensor:
        """[rows, frames, 3, H, W] in 0..1 -> [rows, frames / 4, latent channels, H / 8, W / 8].

        Args:
            mask: bool [rows], rows that run; None for all. Others keep their memory, and their
                output means nothing.

        Raises:
            ValueError: the chunk is no multiple of `frames_per_latent`.
        """
        if pictures.shape[1] % self.frames_per_latent:
            raise ValueError(
                f"{pictures.shape[1]} frames; one latent frame is made of {self.frames_per_latent}"
            )
        return _run(self.encoder, pictures, state, mask)


class TAEHVDecoder(nn.Module):
    """Latents to pictures; every latent frame gives `frames_per_latent` pictures.

    The first `warmup` pictures of a stream are not meant to be seen (the network looks ahead by
    that many frames): drop them. They come out all the same, so that chunks keep one shape.
    """

    def __init__(self, spec: TAEHVSpec) -> None:
        super().__init__()
        self.spec = spec
        self.frames_per_latent = math.prod(spec.decoder_strides)
        self.warmup = self.frames_per_latent - 1
        widths = spec.decoder_widths
        layers: list[nn.Module] = [Clamp(), _conv(spec.latent_channels, widths[0])]
        layers.append(nn.ReLU(inplace=True))
        for level, frames in enumerate(spec.decoder_strides):
            width, narrower = widths[level], widths[level + 1]
            layers += [MemBlock(width) for _ in range(spec.blocks)]
            layers += [nn.Upsample(scale_factor=2), TGrow(width, frames)]
            layers.append(_conv(width, narrower, bias=False))
        layers += [nn.ReLU(inplace=True), _conv(widths[-1], spec.image_channels)]
        self.decoder = nn.Sequential(*layers)

    def init_state(
        self, rows: int, height: int, width: int, device: torch.device | str, dtype: torch.dtype
    ) -> TAEHVState:
        """Memory for `rows` streams of latent frames height x width."""
        blocks = []
        for level, channels in enumerate(self.spec.decoder_widths[:-1]):
            shape = (1, channels, height << level, width << level)
            blocks += [
                ConvState.allocate(rows, shape, device, dtype) for _ in range(self.spec.blocks)
            ]
        return TAEHVState(blocks)

    def forward(self, latents: Tensor, state: TAEHVState, mask: Tensor | None = None) -> Tensor:
        """[rows, frames, latent channels, h, w] -> [rows, 4 frames, 3, 8 h, 8 w] in 0..1.

        Args:
            mask: bool [rows], rows that run; None for all. Others keep their memory, and their
                output means nothing.
        """
        return _run(self.decoder, latents, state, mask).clamp(0, 1)
