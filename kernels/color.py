"""I420 pictures, as codecs and cameras hold them, to RGB tensors and back.

BT.601, limited range (Y 16..235, U and V 16..240), the convention of WebRTC. Chroma stands for
2x2 pixels: repeated on the way in, averaged on the way out. Either way can resize, as a triangle
filter that is as wide as a pixel of the coarser grid: bilinear upwards, without aliasing downwards.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from .dispatch import choose, implementation, reference

RED, GREEN, BLUE = 0.299, 0.587, 0.114
"""Weights of luma (ITU-R BT.601, section 2.5.1)."""
LUMA, CHROMA = 219 / 255, 224 / 255
"""Share of the 8-bit range that luma and chroma use."""
_FROM_V = 2 * (1 - RED)
_FROM_U = 2 * (1 - BLUE)


Size = tuple[int, int]
"""Height and width."""


def i420_to_rgb(
    picture: Tensor, dtype: torch.dtype = torch.float32, size: Size | None = None
) -> Tensor:
    """uint8 [B, H * 3 / 2, W] with H and W even -> [B, 3, H, W] in 0..1.

    Args:
        size: height and width of what comes out; None for the picture's own.

    Raises:
        ValueError: not the layout of an I420 picture, or no size.
    """
    rows, width = picture.shape[-2:]
    if picture.dim() != 3 or picture.dtype != torch.uint8 or rows % 3 or width % 2:
        raise ValueError(
            f"{picture.dtype} {tuple(picture.shape)} is no I420 batch: uint8 [B, H * 3 / 2, W] "
            "with even height and width"
        )
    if size is None or size == (rows * 2 // 3, width):
        return choose("i420_to_rgb", picture.device.type)(picture, dtype)
    if min(size) < 1:
        raise ValueError(f"size is {size}; both sides must be positive")
    return choose("i420_to_rgb_sized", picture.device.type)(picture, size, dtype)


def _planes(picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Views of Y [B, H, W], U and V [B, H/2, W/2]."""
    batch, rows, width = picture.shape
    height = rows * 2 // 3
    flat = picture.reshape(batch, -1)
    quarter = height * width // 4
    luma, u, v = flat.split((4 * quarter, quarter, quarter), 1)
    small = (batch, height // 2, width // 2)
    return luma.view(batch, height, width), u.view(small), v.view(small)


@reference("i420_to_rgb")
def i420_to_rgb_reference(picture: Tensor, dtype: torch.dtype) -> Tensor:
    luma, u, v = _planes(picture)
    y = (luma.float() - 16) / (255 * LUMA)
    u, v = (
        ((plane.float() - 128) / (255 * CHROMA)).repeat_interleave(2, 1).repeat_interleave(2, 2)
        for plane in (u, v)
    )
    red, blue = y + _FROM_V * v, y + _FROM_U * u
    green = (y - RED * red - BLUE * blue) / GREEN
    return torch.stack((red, green, blue), 1).clamp(0, 1).to(dtype)


@implementation("i420_to_rgb", "cpu")
def _i420_to_rgb_cpu(picture: Tensor, dtype: torch.dtype) -> Tensor:
    """Chroma's share is worked out at chroma's size and only then spread over the pixels."""
    luma, u, v = _planes(picture)
    batch, height, width = luma.shape
    both = torch.stack((u, v), 1).float().sub_(128).mul_(1 / (255 * CHROMA))
    red, blue = _FROM_V * both[:, 1], _FROM_U * both[:, 0]
    green = (red * -RED).sub_(blue, alpha=BLUE).div_(GREEN)
    small = torch.stack((red, green, blue), 1).sub_(16 / (255 * LUMA))
    # Along a row first, while the rows are few; the second direction is a plain broadcast.
    wide = small[..., None].expand(-1, -1, -1, -1, 2).reshape(batch, 3, height // 2, 1, width)
    y = luma.float().mul_(1 / (255 * LUMA)).view(batch, 1, height // 2, 2, width)
    return (y + wide).clamp_(0, 1).view(batch, 3, height, width).to(dtype)


def resized(picture: Tensor, size: Size) -> Tensor:
    """[B, 3, H, W] in another size, float32."""
    return functional.interpolate(picture.float(), size=size, mode="bilinear", antialias=True)


@reference("i420_to_rgb_sized")
def i420_to_rgb_sized_reference(picture: Tensor, size: Size, dtype: torch.dtype) -> Tensor:
    return resized(i420_to_rgb_reference(picture, torch.float32), size).to(dtype)


@implementation("i420_to_rgb_sized", "cpu")
def _i420_to_rgb_sized_cpu(picture: Tensor, size: Size, dtype: torch.dtype) -> Tensor:
    return resized(_i420_to_rgb_cpu(picture, torch.float32), size).to(dtype)


def rgb_to_i420(picture: Tensor, size: Size | None = None) -> Tensor:
    """[B, 3, H, W] in 0..1 (beyond is clipped) with H and W even -> uint8 [B, H * 3 / 2, W].

    Args:
        size: even height and width of what comes out; None for the picture's own.

    Raises:
        ValueError: not three channels, or no even size.
    """
    whole = picture.dim() == 4 and picture.shape[1] == 3
    height, width = size or tuple(picture.shape[-2:])
    if not whole or height % 2 or width % 2 or min(height, width) < 1:
        asked = "" if size is None else f" for a size of {size}"
        given = tuple(picture.shape)
        raise ValueError(f"{given} is no [B, 3, H, W] with even height and width{asked}")
    if (height, width) == tuple(picture.shape[-2:]):
        return choose("rgb_to_i420", picture.device.type)(picture)
    return choose("rgb_to_i420_sized", picture.device.type)(picture, (height, width))


@reference("rgb_to_i420")
def rgb_to_i420_reference(picture: Tensor) -> Tensor:
    red, green, blue = picture.float().clamp(0, 1).unbind(1)
    y = RED * red + GREEN * green + BLUE * blue
    batch, height, width = y.shape
    u, v = (
        ((channel - y) / scale).view(batch, height // 2, 2, width // 2, 2).mean((2, 4))
        for channel, scale in ((blue, _FROM_U), (red, _FROM_V))
    )
    planes = (16 + 255 * LUMA * y, 128 + 255 * CHROMA * u, 128 + 255 * CHROMA * v)
    flat = torch.cat([plane.flatten(1) for plane in planes], 1)
    return flat.round().clamp(0, 255).to(torch.uint8).view(batch, -1, width)


@implementation("rgb_to_i420", "cpu")
def _rgb_to_i420_cpu(picture: Tensor) -> Tensor:
    """Chroma from pixels that were averaged first: the sums commute."""
    rgb = picture.float().clamp(0, 1)
    batch, _, height, width = rgb.shape
    out = torch.empty(batch, height * 3 // 2, width, dtype=torch.uint8, device=rgb.device)
    luma, u, v = _planes(out)
    scale = 255 * LUMA
    y = rgb[:, 0] * (scale * RED)
    y.add_(rgb[:, 1], alpha=scale * GREEN).add_(rgb[:, 2], alpha=scale * BLUE)
    luma.copy_(y.add_(16).round_())
    small = torch.nn.functional.avg_pool2d(rgb, 2)
    grey = RED * small[:, 0] + GREEN * small[:, 1] + BLUE * small[:, 2]
    for plane, channel, share in ((u, 2, _FROM_U), (v, 0, _FROM_V)):
        tone = small[:, channel].sub(grey).mul_(255 * CHROMA / share).add_(128)
        plane.copy_(tone.round_())
    return out


@reference("rgb_to_i420_sized")
def rgb_to_i420_sized_reference(picture: Tensor, size: Size) -> Tensor:
    return rgb_to_i420_reference(resized(picture, size))


@implementation("rgb_to_i420_sized", "cpu")
def _rgb_to_i420_sized_cpu(picture: Tensor, size: Size) -> Tensor:
    return _rgb_to_i420_cpu(resized(picture, size))
