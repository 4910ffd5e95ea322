"""Layers of the Wan 2.1 VAE over explicit memory; chunks are channels last (`video_layers`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn as nn
import torch.nn.functional as functional
from torch import Tensor

from ..kernels import causal_clip, keep, per_chunk, per_frame, rms_norm, upsampled_conv
from .video_layers import Frames, Shape, Size, apart, pointwise


@dataclass(frozen=True, slots=True)
class Pass:
    """One chunk on its way through the layers.

    Attributes:
        memory: what each convolution remembers, in the order in which they run.
        mask: bool [rows], rows that run; None for all.
        first: the chunk begins its streams: its first frame stands alone in time.
    """

    memory: Iterator[Frames]
    mask: Tensor | None
    first: bool


class Layer(nn.Module):
    """A layer that knows what memory it needs. By default none, and it keeps the size."""

    def shapes(self, size: Size) -> list[Shape]:
        """Memory of each convolution in the order of running, given the size of its frames."""
        return []

    def after(self, size: Size) -> Size:
        """Size of the frames that come out."""
        return size


class Norm(nn.Module):
    """Root-mean-square normalisation over channels; `dims` ones end the weight's shape."""

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * dims))

        # The definition divides by a norm of at least 1e-12; that bound as part of the mean.
        self.eps = 1e-24 / channels

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.gamma.flatten(), self.eps)


class CausalConv(nn.Conv3d):
    """Convolution that sees the two frames before; 3 x 3 x 3, or 3 x 1 x 1 in time alone."""

    def __init__(self, channels: int, out: int, space: int, stride: int = 1) -> None:
        super().__init__(channels, out, (3, space, space), (stride, 1, 1))
        self.pad = (0, space // 2, space // 2)

    def shape(self, size: Size) -> Shape:
        return (3 - self.stride[0], *size, self.in_channels)

    def over(self, clip: Tensor) -> Tensor:
        """[rows, frames, h, w, C] -> 2 frames fewer (half of that with a stride of 2)."""
        wide = clip.permute(0, 4, 1, 2, 3)
        out = functional.conv3d(wide, self.weight, self.bias, self.stride, self.pad)
        return out.permute(0, 2, 3, 4, 1)

    def forward(  # type: ignore[override]
        self, x: Tensor, run: Pass, norm: Norm | None = None
    ) -> Tensor:
        """A chunk, after `norm` and SiLU if given, with what the convolution remembers."""
        past = next(run.memory).past
        if norm is None:
            return self.over(causal_clip(x, past, run.mask))
        return self.over(causal_clip(x, past, run.mask, norm.gamma.flatten(), norm.eps))


class Residual(Layer):
    """x (or a projection of it) plus twice norm, SiLU, causal convolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        # Numbered as in the released weights, where activations count too.
        self.residual = nn.ModuleDict(
            {
                "0": Norm(channels, 3),
                "2": CausalConv(channels, out, 3),
                "3": Norm(out, 3),
                "6": CausalConv(out, out, 3),
            }
        )
        self.shortcut = nn.Conv3d(channels, out, 1) if channels != out else None

    def shapes(self, size: Size) -> list[Shape]:
        return [self.residual[name].shape(size) for name in ("2", "6")]  # type: ignore[operator]

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        part = self.residual
        y = part["2"](x, run, part["0"])
        y = part["6"](y, run, part["3"])
        return y.add_(x if self.shortcut is None else pointwise(self.shortcut, x))


class FrameAttention(Layer):
    """Self-attention of one head inside each frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = Norm(channels, 2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        qkv = pointwise(self.to_qkv, self.norm(x)).flatten(0, 1).flatten(1, 2)[:, None]
        query, key, value = qkv.chunk(3, -1)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return x + pointwise(self.proj, mixed.reshape(x.shape))


class Down(Layer):
    """Halves height and width; with `in_time` also the frames, but for the first of a stream."""

    def __init__(self, channels: int, in_time: bool) -> None:
        super().__init__()
        conv = nn.Conv2d(channels, channels, 3, stride=2)
        self.resample = nn.ModuleDict({"1": conv})
        self.time_conv = CausalConv(channels, channels, 1, stride=2) if in_time else None

    def after(self, size: Size) -> Size:
        return size[0] // 2, size[1] // 2

    def shapes(self, size: Size) -> list[Shape]:
        return [] if self.time_conv is None else [self.time_conv.shape(self.after(size))]

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        # One row and column of zeros at the far edges only, as the weights were trained.
        image = functional.pad(per_frame(x), (0, 1, 0, 1))
        x = per_chunk(self.resample["1"](image), len(x))
        return x if self.time_conv is None else self._merge(self.time_conv, x, run)

    def _merge(self, conv: CausalConv, x: Tensor, run: Pass) -> Tensor:
        memory = next(run.memory)
        if not run.first:
            return conv.over(causal_clip(x, memory.past, run.mask))
        keep(memory.past, x[:, x.shape[1] - memory.kept :], run.mask)
        return x if x.shape[1] == 1 else torch.cat((x[:, :1], conv.over(x)), 1)


class Up(Layer):
    """Doubles height and width, halves channels; with `in_time` makes two frames of each, but for
    the first of a stream, of which the convolution in time sees nothing."""

    def __init__(self, channels: int, in_time: bool) -> None:
        super().__init__()
        conv = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.resample = nn.ModuleDict({"1": conv})
        self.time_conv = CausalConv(channels, 2 * channels, 1) if in_time else None

    def after(self, size: Size) -> Size:
        return 2 * size[0], 2 * size[1]

    def shapes(self, size: Size) -> list[Shape]:
        return [] if self.time_conv is None else [self.time_conv.shape(size)]

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        if self.time_conv is not None:
            x = self._grow(self.time_conv, x, run)
        conv = cast(nn.Conv2d, self.resample["1"])
        return per_chunk(upsampled_conv(per_frame(x), conv.weight, conv.bias), len(x))

    def _grow(self, conv: CausalConv, x: Tensor, run: Pass) -> Tensor:
        if not run.first:
            return apart(conv(x, run), 2)
        alone, rest = x[:, :1], x[:, 1:]
        if rest.shape[1] == 0:
            next(run.memory)
            return alone
        return torch.cat((alone, apart(conv(rest, run), 2)), 1)
