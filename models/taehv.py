"""TAEHV, a tiny video autoencoder for the latents of large models, as a stream in both ways.

Parameter names and the function computed are those of the released weights (madebyollin/taehv,
`taew2_1` for Wan 2.1; 128 tensors). All memory is explicit: each memory block keeps what its last
frame means to the next one, so any chunking gives the frames of one pass over the whole clip, and
nothing is done twice.

Its latents are standardised (mean 0, deviation 1 a channel); pictures are in 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn as nn
from torch import Tensor

from ..kernels import conv2d, memory_conv, per_chunk, per_frame, upsampled_conv
from .latents import LatentSpace
from .specs import TAEHVSpec
from .state import State
from .video_layers import (
    Frames,
    Size,
    apart,
    check_chunk,
    check_size,
    optimise_layout,
    pointwise,
    together,
)


@dataclass(eq=False)
class TAEHVState(State):
    """One kept frame per memory block (`kernels.memory_conv`), in the order of the blocks; a half
    that was not asked for is empty."""

    encoder: list[Frames]
    decoder: list[Frames]


class MemBlock(nn.Module):
    """Residual block that sees the frame before at the same place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor, memory: Frames, mask: Tensor | None) -> Tensor:
        """[rows, frames, h, w, width] -> the same shape."""
        first, second, last = (cast(nn.Conv2d, self.conv[index]) for index in (0, 2, 4))
        hidden = memory_conv(x, first.weight, cast(Tensor, first.bias), memory.past, mask)
        kernel = (3, 3)
        same = conv2d(per_frame(hidden), second.weight, second.bias, kernel, activation="relu")
        out = conv2d(same, last.weight, last.bias, kernel, activation="relu", residual=per_frame(x))
        return per_chunk(out, len(x))


class TPool(nn.Module):
    """Merges `stride` frames into one."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(width * stride, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return pointwise(self.conv, together(x, self.stride))


class TGrow(nn.Module):
    """Makes `stride` frames of one."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(width, width * stride, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return apart(pointwise(self.conv, x), self.stride)


class Clamp(nn.Module):
    """Soft limit of latents to -3..3."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


def _run(layers: nn.Sequential, x: Tensor, memory: list[Frames], mask: Tensor | None) -> Tensor:
    """[rows, frames, h, w, channels] through the layers."""
    memories = iter(memory)
    small = False
    for layer in layers:
        if isinstance(layer, MemBlock):
            x = layer(x, next(memories), mask)
        elif isinstance(layer, TGrow):
            # The released order is to enlarge and then to mix channels; mixing first gives the
            # same numbers for a quarter of the work. What is enlarged is the next one's input.
            x, small = layer(x), True
        elif isinstance(layer, nn.Conv2d):
            picture = per_frame(x)
            after = upsampled_conv(picture, layer.weight, layer.bias) if small else layer(picture)
            x, small = per_chunk(after, len(x)), False
        elif not isinstance(layer, nn.Upsample):
            x = layer(x)
    return x


def _conv(channels: int, out: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, padding=1, stride=stride, bias=bias)


def _encoder(spec: TAEHVSpec) -> nn.Sequential:
    width = spec.encoder_width
    layers: list[nn.Module] = [_conv(spec.image_channels, width), nn.ReLU(inplace=True)]
    for frames in spec.encoder_strides:
        layers += [TPool(width, frames), _conv(width, width, stride=2, bias=False)]
        layers += [MemBlock(width) for _ in range(spec.blocks)]
    return nn.Sequential(*layers, _conv(width, spec.latent_channels))


def _decoder(spec: TAEHVSpec) -> nn.Sequential:
    widths = spec.decoder_widths
    layers: list[nn.Module] = [Clamp(), _conv(spec.latent_channels, widths[0])]
    layers.append(nn.ReLU(inplace=True))
    for level, frames in enumerate(spec.decoder_strides):
        width, narrower = widths[level], widths[level + 1]
        layers += [MemBlock(width) for _ in range(spec.blocks)]
        layers += [nn.Upsample(scale_factor=2), TGrow(width, frames)]
        layers.append(_conv(width, narrower, bias=False))
    layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers, _conv(widths[-1], spec.image_channels))


class TAEHV(nn.Module):
    """Pictures [rows, T, 3, H, W] in 0..1 <-> latents [rows, c, 16, H / 8, W / 8].

    A `VideoAutoencoder`. Beside what that asks for, a stream may also begin without `first`: then
    the first latent frame is made of the first four pictures, as in the released wrapper.
    """

    def __init__(self, spec: TAEHVSpec) -> None:
        super().__init__()
        self.spec = spec
        self.channels = spec.latent_channels
        self.stride = 2 ** len(spec.encoder_strides)
        self.frames_per_latent = math.prod(spec.encoder_strides)
        self.lag = self.frames_per_latent - 1
        self.encoder, self.decoder = _encoder(spec), _decoder(spec)
        self.space = LatentSpace(spec.latent_mean, spec.latent_std)

    def optimise_layout(self) -> TAEHV:
        """Lay convolution weights out as their inputs are (channels last); returns itself."""
        optimise_layout(self)
        return self

    def init_state(
        self,
        rows: int,
        height: int,
        width: int,
        device: torch.device | str,
        dtype: torch.dtype,
        *,
        encode: bool = True,
        decode: bool = True,
    ) -> TAEHVState:
        """See `VideoAutoencoder`."""
        check_size((height, width), self.stride)

        def level(channels: int, size: Size) -> list[Frames]:
            shape = (rows, 1, *size, channels)
            blocks = range(self.spec.blocks)
            return [Frames(torch.zeros(shape, device=device, dtype=dtype)) for _ in blocks]

        down, up = [], []
        for step in range(1, len(self.spec.encoder_strides) + 1):
            down += level(self.spec.encoder_width, (height >> step, width >> step))
        small = (height // self.stride, width // self.stride)
        for step, channels in enumerate(self.spec.decoder_widths[:-1]):
            up += level(channels, (small[0] << step, small[1] << step))
        return TAEHVState(down if encode else [], up if decode else [])

    @torch.no_grad()
    def encode(
        self,
        pictures: Tensor,
        state: TAEHVState,
        mask: Tensor | None = None,
        *,
        first: bool = False,
        normalise: bool = True,
    ) -> Tensor:
        """See `VideoAutoencoder`."""
        check_chunk(pictures.shape[1], self.frames_per_latent, first)
        if first:
            # Still before it began, so that frames fall into the groups of the large autoencoder.
            still = pictures[:, :1].expand(-1, self.frames_per_latent - 1, -1, -1, -1)
            pictures = torch.cat((still, pictures), 1)
        latents = _run(self.encoder, pictures.movedim(2, -1), state.encoder, mask).movedim(-1, 2)
        return latents if normalise else self.space.restore(latents)

    @torch.no_grad()
    def decode(
        self,
        latents: Tensor,
        state: TAEHVState,
        mask: Tensor | None = None,
        *,
        first: bool = False,
    ) -> Tensor:
        """See `VideoAutoencoder`."""
        x = _run(self.decoder, latents.movedim(2, -1), state.decoder, mask)
        # What comes before the first picture was never trained to be seen.
        x = x[:, self.frames_per_latent - 1 :] if first else x
        return x.movedim(-1, 2).clamp(0, 1)


def fit_released(module: TAEHV, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as this size of the network takes them.

    The released files may be of a network that makes more frames at a stage than this one; the last
    of them count then, which the last rows of its `TGrow` make. Anything else is left as it is, for
    a strict loader to judge.
    """
    fitted = dict(weights)
    for name, layer in module.named_modules():
        key = f"{name}.conv.weight"
        if isinstance(layer, TGrow) and key in fitted:
            rows = len(layer.conv.weight)
            if len(fitted[key]) % rows == 0:
                fitted[key] = fitted[key][-rows:]
    return fitted
