"""Causal convolutions in time over explicit state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as functional
from torch import Tensor

from .state import State, row_tensor


@dataclass(eq=False)
class ConvState(State):
    """The last inputs of one convolution; zeros before the first.

    Attributes:
        past: [rows, frames kept, channels, height, width].
    """

    past: Tensor = row_tensor()

    @classmethod
    def allocate(
        cls,
        rows: int,
        shape: tuple[int, int, int, int],
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> ConvState:
        """`shape` is (frames kept, channels, height, width)."""
        return cls(torch.zeros(rows, *shape, device=device, dtype=dtype))

    def extend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Put the kept frames before a chunk, and keep the last frames of both.

        Args:
            x: [rows, frames, channels, height, width].
            mask: bool [rows], rows that run; None for all. Others keep what they have.

        Returns:
            [rows, kept + frames, channels, height, width].
        """
        kept = self.past.shape[1]
        if kept == 0:
            return x
        joined = torch.cat((self.past.to(x.dtype), x), 1)
        last = joined[:, -kept:].detach().to(self.past.dtype)
        if mask is not None:
            last = torch.where(mask.view(-1, 1, 1, 1, 1), last, self.past)
        self.past.copy_(last)
        return joined


class CausalConv3d(nn.Module):
    """Convolution in space and time that sees no later frame; weights as in `nn.Conv3d`.

    Without stride in time, output frame i depends on input frames i - k + 1 .. i; with stride s,
    the chunk must hold a multiple of s frames.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: tuple[int, int, int],
        stride: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        super().__init__()
        self.stride = stride
        self.padding = (0, kernel[1] // 2, kernel[2] // 2)
        self.weight = nn.Parameter(torch.empty(out_channels, channels, *kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def init_state(
        self, rows: int, height: int, width: int, device: torch.device | str, dtype: torch.dtype
    ) -> ConvState:
        """Memory for `rows` streams of frames height x width."""
        kept = self.weight.shape[2] - self.stride[0]
        if kept < 0:
            raise ValueError(f"stride {self.stride[0]} in time skips frames of {self.weight.shape}")
        shape = (kept, self.weight.shape[1], height, width)
        return ConvState.allocate(rows, shape, device, dtype)

    def forward(self, x: Tensor, state: ConvState, mask: Tensor | None = None) -> Tensor:
        """[rows, frames, channels, h, w] -> [rows, frames / stride, out channels, h', w'].

        Raises:
            ValueError: the chunk is no multiple of the stride in time.
        """
        if x.shape[1] % self.stride[0]:
            raise ValueError(f"{x.shape[1]} frames; this layer takes multiples of {self.stride[0]}")
        clip = state.extend(x, mask).transpose(1, 2)
        out = functional.conv3d(clip, self.weight, self.bias, self.stride, self.padding)
        return out.transpose(1, 2)
