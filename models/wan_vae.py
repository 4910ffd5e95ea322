"""The Wan 2.1 VAE as a stream: encode and decode any chunking of a video with explicit memory.

Parameter names and the function computed are those of the released `Wan2.1_VAE.pth` (194 tensors;
Wan technical report, arXiv 2503.20314, section 4.1). 8 x 8 pixels and 4 pictures make one cell of a
latent; the first picture of a stream makes a latent frame of its own. So a stream begins with a
call of 1 + 4 k pictures (1 + k latent frames) marked `first`, and goes on with 4 k (k).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

from .latents import LatentSpace
from .specs import WanVAESpec
from .state import State
from .video_layers import Frames, Shape, Size, check_chunk, check_size, optimise_layout, pointwise
from .wan_vae_layers import CausalConv, Down, FrameAttention, Layer, Norm, Pass, Residual, Up


@dataclass(eq=False)
class WanVAEState(State):
    """The frames that each causal convolution remembers, in the order of running; a half that was
    not asked for is empty."""

    encoder: list[Frames]
    decoder: list[Frames]


class _Half(nn.Module, ABC):
    """What encoder and decoder share: a first convolution, layers in a row, a last convolution."""

    conv1: CausalConv
    head: nn.ModuleDict

    @abstractmethod
    def layers(self) -> Iterable[Layer]:
        """Between the two convolutions, in the order of running."""

    def allocate(
        self, rows: int, size: Size, device: torch.device | str, dtype: torch.dtype
    ) -> list[Frames]:
        """Memory for `rows` streams whose frames of `size` go in."""
        shapes: list[Shape] = [self.conv1.shape(size)]
        for layer in self.layers():
            shapes += layer.shapes(size)
            size = layer.after(size)
        shapes.append(self.head["2"].shape(size))  # type: ignore[operator]
        return [Frames(torch.zeros(rows, *shape, device=device, dtype=dtype)) for shape in shapes]

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        x = self.conv1(x, run)
        for layer in self.layers():
            x = layer(x, run)
        return self.head["2"](x, run, self.head["0"])


def _middle(width: int) -> nn.Sequential:
    return nn.Sequential(Residual(width, width), FrameAttention(width), Residual(width, width))


def _head(width: int, out: int) -> nn.ModuleDict:
    return nn.ModuleDict({"0": Norm(width, 3), "2": CausalConv(width, out, 3)})


class _Encoder(_Half):
    def __init__(self, spec: WanVAESpec) -> None:
        super().__init__()
        widths = [spec.width * times for times in (1, *spec.multipliers)]
        self.conv1 = CausalConv(spec.image_channels, widths[0], 3)
        layers: list[Layer] = []
        for level, (before, width) in enumerate(zip(widths, widths[1:], strict=False)):
            layers.append(Residual(before, width))
            layers += [Residual(width, width) for _ in range(spec.blocks - 1)]
            if level < len(spec.merges):
                layers.append(Down(width, spec.merges[level]))
        self.downsamples = nn.Sequential(*layers)
        self.middle = _middle(widths[-1])
        self.head = _head(widths[-1], 2 * spec.latent_channels)

    def layers(self) -> Iterable[Layer]:
        yield from self.downsamples  # type: ignore[misc]
        yield from self.middle  # type: ignore[misc]


class _Decoder(_Half):
    def __init__(self, spec: WanVAESpec) -> None:
        super().__init__()
        widths = [spec.width * times for times in reversed(spec.multipliers)]
        self.conv1 = CausalConv(spec.latent_channels, widths[0], 3)
        self.middle = _middle(widths[0])
        layers: list[Layer] = []
        before = widths[0]
        for level, width in enumerate(widths):
            layers.append(Residual(before, width))
            layers += [Residual(width, width) for _ in range(spec.blocks)]
            if level < len(spec.merges):
                layers.append(Up(width, spec.merges[-1 - level]))
                before = width // 2
        self.upsamples = nn.Sequential(*layers)
        self.head = _head(widths[-1], spec.image_channels)

    def layers(self) -> Iterable[Layer]:
        yield from self.middle  # type: ignore[misc]
        yield from self.upsamples  # type: ignore[misc]


class WanVAE(nn.Module):
    """Pictures [rows, T, 3, H, W] in 0..1 <-> latents [rows, c, 16, H / 8, W / 8].

    A `VideoAutoencoder`; encoding gives the means of the latents.
    """

    lag = 0

    def __init__(self, spec: WanVAESpec) -> None:
        super().__init__()
        self.spec = spec
        self.channels = spec.latent_channels
        self.stride = 2 ** len(spec.merges)
        self.frames_per_latent = 2 ** sum(spec.merges)
        self.encoder, self.decoder = _Encoder(spec), _Decoder(spec)
        both = 2 * spec.latent_channels
        self.conv1 = nn.Conv3d(both, both, 1)
        self.conv2 = nn.Conv3d(spec.latent_channels, spec.latent_channels, 1)
        self.space = LatentSpace(spec.latent_mean, spec.latent_std)

    def optimise_layout(self) -> WanVAE:
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
    ) -> WanVAEState:
        """See `VideoAutoencoder`."""
        check_size((height, width), self.stride)
        small = (height // self.stride, width // self.stride)
        return WanVAEState(
            self.encoder.allocate(rows, (height, width), device, dtype) if encode else [],
            self.decoder.allocate(rows, small, device, dtype) if decode else [],
        )

    @torch.no_grad()
    def encode(
        self,
        pictures: Tensor,
        state: WanVAEState,
        mask: Tensor | None = None,
        *,
        first: bool = False,
        normalise: bool = True,
    ) -> Tensor:
        """See `VideoAutoencoder`."""
        check_chunk(pictures.shape[1], self.frames_per_latent, first)
        x = pictures.movedim(2, -1).mul(2).sub_(1)
        features = self.encoder(x, Pass(iter(state.encoder), mask, first))
        mean = pointwise(self.conv1, features, slice(self.channels)).movedim(-1, 2)
        return self.space.standardise(mean) if normalise else mean

    @torch.no_grad()
    def decode(
        self,
        latents: Tensor,
        state: WanVAEState,
        mask: Tensor | None = None,
        *,
        first: bool = False,
    ) -> Tensor:
        """See `VideoAutoencoder`."""
        z = pointwise(self.conv2, self.space.restore(latents).movedim(2, -1))
        x = self.decoder(z, Pass(iter(state.decoder), mask, first))
        return x.movedim(-1, 2).mul(0.5).add_(0.5).clamp_(0, 1)
