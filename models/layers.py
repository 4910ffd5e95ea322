"""Building blocks of the transformer that hold no attention."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn as nn
import torch.nn.functional as functional
from torch import Tensor

from ..kernels import ConvActivation, LinearActivation, angles, conv2d, linear, rms_norm
from .specs import ConvStemSpec


class Linear(nn.Linear):
    """`nn.Linear` that can do what follows it on the way."""

    def forward(
        self,
        x: Tensor,
        activation: LinearActivation = "none",
        residual: Tensor | None = None,
    ) -> Tensor:
        return linear(x, self.weight, self.bias, activation, residual)


class Conv(nn.Conv2d):
    """`nn.Conv2d` with an odd kernel, centred, that can do what follows it on the way."""

    def __init__(self, channels: int, out_channels: int, kernel: int, bias: bool = True) -> None:
        super().__init__(channels, out_channels, kernel, padding=kernel // 2, bias=bias)
        self.sides = (kernel, kernel)

    def forward(
        self,
        x: Tensor,
        activation: ConvActivation = "none",
        residual: Tensor | None = None,
    ) -> Tensor:
        kind, side = activation, self.sides
        return conv2d(x, self.weight, self.bias, side, activation=kind, residual=residual)

    def over_patches(self, x: Tensor, size: int) -> Tensor:
        """A kernel of 1 applied to `pixel_unshuffle(x, size)`, without that copy."""
        return conv2d(x, self.weight, self.bias, (size, size), patches=True)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a weight, over the whole last dimension."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


def sinusoid(t: Tensor, size: int) -> Tensor:
    """Cosines, then sines, of the timestep at geometric frequencies, float64 [..., size].

    Args:
        t: timesteps in 0..1000, any shape.
    """
    phase = angles(t.double(), size // 2, 10_000.0)
    return torch.cat((phase.cos(), phase.sin()), -1)


class FiLMBlock(nn.Module):
    """Residual convolution steered by a vector (FiLM, Perez et al. 2018, section 2).

    conv 3x3, scale and shift per channel, SiLU, conv 1x1; the last one starts at zero, so a new
    block changes nothing.
    """

    def __init__(self, width: int, steer_dim: int) -> None:
        super().__init__()
        self.conv = Conv(width, width, 3)
        self.film = Linear(steer_dim, 2 * width)
        self.out = Conv(width, width, 1)

    def forward(self, x: Tensor, steer: Tensor) -> Tensor:
        """x [B, width, h, w], steer [B, steer_dim] -> [B, width, h, w]."""
        scale, shift = self.film(steer)[:, :, None, None].chunk(2, 1)
        hidden = functional.silu(torch.addcmul(shift, self.conv(x), 1 + scale))
        return self.out(hidden, residual=x)


@lru_cache(maxsize=32)
def places(height: int, width: int, device: torch.device) -> Tensor:
    """Where each value of a feature map stands, [1, 2, height, width]: across and down.

    From -4 to 4, to be heard beside many channels of noise.
    """
    with torch.inference_mode(False):
        down, across = (
            (torch.arange(size, device=device) + 0.5) * (8 / size) - 4 for size in (height, width)
        )
        both = (across.expand(height, -1), down[:, None].expand(-1, width))
        return torch.stack(both)[None].contiguous(memory_format=torch.channels_last)


class Stem(nn.Module):
    """Latent channels to feature maps, at latent resolution."""

    def __init__(self, channels: int, spec: ConvStemSpec, steer_dim: int) -> None:
        super().__init__()
        self.place = spec.place
        self.conv_in = Conv(channels + 2 * spec.place, spec.width, 3)
        self.blocks = nn.ModuleList(
            FiLMBlock(spec.width, steer_dim) for _ in range(spec.stem_blocks)
        )

    def forward(self, x: Tensor, steer: Tensor) -> Tensor:
        if self.place:
            place = places(x.shape[-2], x.shape[-1], x.device).to(x.dtype)
            x = torch.cat((x, place.expand(len(x), -1, -1, -1)), 1)
        x = self.conv_in(x)
        for block in self.blocks:
            x = block(x, steer)
        return x


class Tail(nn.Module):
    """Feature maps to latent channels, at latent resolution; starts as zero.

    Besides a fixed last convolution there is one whose weights the prompt gives (a 1x1 layer of a
    hypernetwork, Ha et al. 2017, section 3.2). Looks contradict one another; with a last layer of
    its own each is learned many times sooner than through modulations alone.
    """

    def __init__(self, channels: int, spec: ConvStemSpec, steer_dim: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            FiLMBlock(spec.width, steer_dim) for _ in range(spec.head_blocks)
        )
        self.conv_out = Conv(spec.width, channels, 3)
        self.reader = Linear(steer_dim, channels * (spec.width + 1))

    def last_layer(self, pooled: Tensor) -> Tensor:
        """The layer that a prompt gives: pooled [rows, steer_dim] -> [rows, channels, width + 1],
        weights and then the bias."""
        given = self.reader(pooled * pooled.shape[1] ** -0.25)
        return given.view(len(pooled), self.conv_out.out_channels, -1)

    def forward(self, x: Tensor, steer: Tensor, last: Tensor) -> Tensor:
        """x [B, width, h, w], steer [B, steer_dim], B = rows * frames, `last` from `last_layer`
        -> [B, channels, h, w]."""
        for block in self.blocks:
            x = block(x, steer)
        rows, width = last.shape[0], x.shape[1]
        # Channels last, so this is a view: [rows, frames * h * w, width].
        flat = x.permute(0, 2, 3, 1).reshape(rows, -1, width)
        read = torch.baddbmm(last[:, None, :, width], flat, last[:, :, :width].transpose(1, 2))
        read = read.view(x.shape[0], *x.shape[2:], -1).permute(0, 3, 1, 2)
        return self.conv_out(x) + read
