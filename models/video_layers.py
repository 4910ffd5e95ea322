"""What the video autoencoders share: memory of frames, and frames as pictures and back.

Inside these networks a chunk is [rows, frames, height, width, channels]: the layout in which
convolutions run fastest on CPUs and GPUs, and in which a frame of memory is one block of bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as functional
from torch import Tensor

from .state import State, row_tensor

Size = tuple[int, int]
"""Height and width."""
Shape = tuple[int, int, int, int]
"""Frames kept, height, width, channels."""


@dataclass(eq=False)
class Frames(State):
    """The last frames that one convolution has seen, zeros before the first.

    Attributes:
        past: [rows, frames kept, height, width, channels].
    """

    past: Tensor = row_tensor()

    @property
    def kept(self) -> int:
        return self.past.shape[1]


def pointwise(conv: nn.Conv3d | nn.Conv2d, x: Tensor, out: slice | None = None) -> Tensor:
    """A 1 x 1 convolution over channels that come last; `out` picks output channels."""
    weight, bias = conv.weight.flatten(1), conv.bias
    if out is not None:
        weight, bias = weight[out], None if bias is None else bias[out]
    return functional.linear(x, weight, bias)


def apart(x: Tensor, count: int) -> Tensor:
    """Frames out of channels: [rows, frames, h, w, count C] -> [rows, count frames, h, w, C]."""
    if count == 1:
        return x
    return x.unflatten(-1, (count, -1)).movedim(-2, 2).flatten(1, 2)


def together(x: Tensor, count: int) -> Tensor:
    """The way back from `apart`."""
    if count == 1:
        return x
    return x.unflatten(1, (-1, count)).movedim(2, -2).flatten(-2)


def optimise_layout(module: nn.Module) -> None:
    """Lay all convolutions' weights out as their inputs are, channels last."""
    for part in module.modules():
        if isinstance(part, nn.Conv3d):
            part.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        elif isinstance(part, nn.Conv2d):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def check_size(size: Size, stride: int) -> None:
    """
    Raises:
        ValueError: a side of the pictures, `size`, is no multiple of `stride`.
    """
    if size[0] % stride or size[1] % stride:
        raise ValueError(f"{size[0]}x{size[1]} is no multiple of {stride}; pad the picture")


def check_chunk(pictures: int, group: int, first: bool) -> None:
    """
    Raises:
        ValueError: a chunk of that many pictures cannot be cut into groups of `group`.
    """
    if pictures < 1 or pictures % group != int(first):
        raise ValueError(
            f"{pictures} pictures; a chunk has a multiple of {group}, and the first of a stream "
            "one more"
        )
