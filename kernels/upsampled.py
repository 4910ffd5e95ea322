"""A convolution over a picture enlarged twofold, without the enlarged picture.

Each cell stands four times in the enlarged picture, so of the nine taps of an output pixel several
fall into one cell: two of three in each direction. Their weights can be summed beforehand, for each
of the four places that a pixel has in its cell: four taps instead of nine, over the small picture.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from .conv import conv2d
from .dispatch import candidate, choose, implementation, reference
from .prepared import fuses, prepared


def upsampled_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """3 x 3 convolution, with zeros around, of `x` with each cell standing four times.

    Args:
        x: [B, C, H, W], channels last in memory.
        weight: [out, C, 3, 3].
        bias: [out].

    Returns:
        [B, out, 2 H, 2 W], channels last in memory.
    """
    return choose("upsampled_conv", x.device.type)(x, weight, bias)


@reference("upsampled_conv")
def upsampled_conv_reference(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    enlarged = functional.interpolate(x, scale_factor=2, mode="nearest")
    return functional.conv2d(enlarged, weight, bias, padding=1)


@implementation("upsampled_conv", "cpu")
def _upsampled_conv_cpu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Summed taps where multiplying is what takes the time: in bfloat16 only with many channels."""
    out, channels = weight.shape[:2]
    if not fuses(x, weight) or (x.dtype != torch.float32 and 2 * out > channels):
        return upsampled_conv_reference(x, weight, bias)
    return folded_conv(x, weight, bias)


def _fits_folded(x: Tensor, weight: Tensor, bias: Tensor | None) -> str:
    if weight.is_inference():
        return "weight was made under inference mode, and summed taps could not be kept with it"
    return "" if weight.dtype == x.dtype else f"weight is {weight.dtype}, x is {x.dtype}"


@candidate("upsampled_conv", "cuda", "folded", _fits_folded)
def folded_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """By summed taps. In a narrow type their rounding differs from that of the taps."""
    folded = prepared((weight,), _folded)
    biases = None if bias is None else prepared((bias,), _fourfold)
    parts = conv2d(x, folded, biases, (2, 2)).permute(0, 2, 3, 1).contiguous()
    batch, rows, columns, channels = parts.shape
    out, height, width = channels // 4, rows - 1, columns - 1
    picture, line, cell = parts.stride()[:3]
    # The lower and the right half of a cell are made one position further on.
    places = parts.as_strided(
        (batch, height, 2, width, 2, out),
        (picture, line, 2 * out + line, cell, out + cell, 1),
    )
    return places.reshape(batch, 2 * height, 2 * width, out).permute(0, 3, 1, 2)


def _folded(weight: Tensor) -> Tensor:
    """[out, C, 3, 3] -> [4 out, C, 2, 2]: upper left, upper right, lower left, lower right."""
    taps = weight if weight.dtype == torch.float64 else weight.float()
    parts = [part for half in _halves(taps, 2) for part in _halves(half, 3)]
    whole = torch.cat(parts).to(weight.dtype)
    return whole.contiguous(memory_format=torch.channels_last)


def _halves(taps: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Three taps as seen from the first and from the second half of a cell."""
    first, second, third = taps.unbind(dim)
    return torch.stack((first, second + third), dim), torch.stack((first + second, third), dim)


def _fourfold(bias: Tensor) -> Tensor:
    return bias.repeat(4)
