"""I420 pictures to RGB and back in Triton, resized on the way, each in one launch.

Every pixel that comes out is worked out from those that its filter covers; nothing between is kept
in memory. Sums are float32; codes are rounded to nearest, ties to even, as in the reference, from
which they differ by one at most, where a sum lies within float32's rounding of a half.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..color import BLUE, CHROMA, GREEN, LUMA, RED, Size
from .launch import FLOATS, Needs, launcher

PIXELS, CELLS = 512, 256
"""Pixels of a program on the way in, cells of 2 x 2 pixels on the way out."""


@triton.jit
def _filter(place: tl.tensor, scale: tl.tensor) -> Any:
    """Of each output line: the middle of its filter, the filter's reach, the first line in it.

    Lines' middles lie at halves; the reach is a line of the coarser grid, as in PyTorch's
    antialiased interpolation.
    """
    middle = (place.to(tl.float32) + 0.5) * scale
    reach = tl.maximum(scale, 1.0)
    return middle, reach, tl.maximum(tl.floor(middle - reach + 0.5), 0.0).to(tl.int32)


@triton.jit
def _weight(line: tl.tensor, middle: tl.tensor, reach: tl.tensor, lines: tl.tensor) -> Any:
    """The share of an input line, not yet normalised; 0 beyond the picture."""
    share = 1.0 - tl.abs(line.to(tl.float32) + 0.5 - middle) / reach
    return tl.where(line < lines, tl.maximum(share, 0.0), 0.0)


@triton.jit
def _nearest(value: tl.tensor) -> Any:
    """To the nearest code 0..255, ties to even: so large a number has no room for fractions."""
    rounded = (value + 12582912.0) - 12582912.0
    return tl.minimum(tl.maximum(rounded, 0.0), 255.0).to(tl.uint8)


@triton.jit
def to_rgb_kernel(
    picture: tl.tensor,
    out: tl.tensor,
    stride: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    out_height: tl.tensor,
    out_width: tl.tensor,
    row_scale: tl.tensor,
    column_scale: tl.tensor,
    row_taps: tl.tensor,
    column_taps: tl.tensor,
    RED: tl.constexpr,
    GREEN: tl.constexpr,
    BLUE: tl.constexpr,
    LUMA: tl.constexpr,
    CHROMA: tl.constexpr,
    PIXELS: tl.constexpr,
) -> None:
    """Grid (blocks of pixels that come out, pictures)."""
    number = tl.cast(tl.program_id(1), tl.int64)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    inside = pixel < out_height * out_width
    row_middle, row_reach, first_row = _filter(pixel // out_width, row_scale)
    column_middle, column_reach, first_column = _filter(pixel % out_width, column_scale)
    luma = picture + number * stride
    u = luma + height * width
    v = u + (height // 2) * (width // 2)
    red = tl.zeros((PIXELS,), tl.float32)
    green = tl.zeros((PIXELS,), tl.float32)
    blue = tl.zeros((PIXELS,), tl.float32)
    total = tl.zeros((PIXELS,), tl.float32)
    for row_tap in range(row_taps):
        row = first_row + row_tap
        row_weight = _weight(row, row_middle, row_reach, height)
        for column_tap in range(column_taps):
            column = first_column + column_tap
            weight = row_weight * _weight(column, column_middle, column_reach, width)
            seen = inside & (weight > 0.0)
            cell = (row // 2) * (width // 2) + column // 2
            y = tl.load(luma + row * width + column, mask=seen, other=0).to(tl.float32)
            y = (y - 16.0) / (255.0 * LUMA)
            from_u = tl.load(u + cell, mask=seen, other=0).to(tl.float32) - 128.0
            from_v = tl.load(v + cell, mask=seen, other=0).to(tl.float32) - 128.0
            one_red = y + 2.0 * (1.0 - RED) * (from_v / (255.0 * CHROMA))
            one_blue = y + 2.0 * (1.0 - BLUE) * (from_u / (255.0 * CHROMA))
            one_green = (y - RED * one_red - BLUE * one_blue) / GREEN
            red += weight * tl.minimum(tl.maximum(one_red, 0.0), 1.0)
            green += weight * tl.minimum(tl.maximum(one_green, 0.0), 1.0)
            blue += weight * tl.minimum(tl.maximum(one_blue, 0.0), 1.0)
            total += weight
    size = out_height * out_width
    there = out + number * 3 * size + pixel
    total = tl.where(total > 0.0, total, 1.0)
    tl.store(there, (red / total).to(out.dtype.element_ty), mask=inside)
    tl.store(there + size, (green / total).to(out.dtype.element_ty), mask=inside)
    tl.store(there + 2 * size, (blue / total).to(out.dtype.element_ty), mask=inside)


@triton.jit
def to_i420_kernel(
    picture: tl.tensor,
    out: tl.tensor,
    stride: tl.tensor,
    channel_stride: tl.tensor,
    row_stride: tl.tensor,
    column_stride: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    out_height: tl.tensor,
    out_width: tl.tensor,
    row_scale: tl.tensor,
    column_scale: tl.tensor,
    row_taps: tl.tensor,
    column_taps: tl.tensor,
    RED: tl.constexpr,
    GREEN: tl.constexpr,
    BLUE: tl.constexpr,
    LUMA: tl.constexpr,
    CHROMA: tl.constexpr,
    CELLS: tl.constexpr,
) -> None:
    """Grid (blocks of cells of 2 x 2 pixels that come out, pictures)."""
    number = tl.cast(tl.program_id(1), tl.int64)
    cell = tl.program_id(0) * CELLS + tl.arange(0, CELLS)
    half = out_width // 2
    cells = (out_height // 2) * half
    inside = cell < cells
    source = picture + number * stride
    there = out + number * 6 * cells
    u_sum = tl.zeros((CELLS,), tl.float32)
    v_sum = tl.zeros((CELLS,), tl.float32)
    for corner in range(4):
        out_row = (cell // half) * 2 + corner // 2
        out_column = (cell % half) * 2 + corner % 2
        row_middle, row_reach, first_row = _filter(out_row, row_scale)
        column_middle, column_reach, first_column = _filter(out_column, column_scale)
        red = tl.zeros((CELLS,), tl.float32)
        green = tl.zeros((CELLS,), tl.float32)
        blue = tl.zeros((CELLS,), tl.float32)
        total = tl.zeros((CELLS,), tl.float32)
        for row_tap in range(row_taps):
            row = first_row + row_tap
            row_weight = _weight(row, row_middle, row_reach, height)
            for column_tap in range(column_taps):
                column = first_column + column_tap
                weight = row_weight * _weight(column, column_middle, column_reach, width)
                seen = inside & (weight > 0.0)
                place = source + row.to(tl.int64) * row_stride + column * column_stride
                red += weight * tl.load(place, mask=seen, other=0.0).to(tl.float32)
                place += channel_stride
                green += weight * tl.load(place, mask=seen, other=0.0).to(tl.float32)
                place += channel_stride
                blue += weight * tl.load(place, mask=seen, other=0.0).to(tl.float32)
                total += weight
        total = tl.where(total > 0.0, total, 1.0)
        red = tl.minimum(tl.maximum(red / total, 0.0), 1.0)
        green = tl.minimum(tl.maximum(green / total, 0.0), 1.0)
        blue = tl.minimum(tl.maximum(blue / total, 0.0), 1.0)
        y = RED * red + GREEN * green + BLUE * blue
        code = _nearest(16.0 + 255.0 * LUMA * y)
        tl.store(there + out_row * out_width + out_column, code, mask=inside)
        u_sum += (blue - y) / (2.0 * (1.0 - BLUE))
        v_sum += (red - y) / (2.0 * (1.0 - RED))
    tl.store(there + 4 * cells + cell, _nearest(128.0 + 255.0 * CHROMA * u_sum / 4.0), mask=inside)
    tl.store(there + 5 * cells + cell, _nearest(128.0 + 255.0 * CHROMA * v_sum / 4.0), mask=inside)


WEIGHTS = {"RED": RED, "GREEN": GREEN, "BLUE": BLUE, "LUMA": LUMA, "CHROMA": CHROMA}


def _scales(size: Size, out: Size) -> tuple[float, float, int, int]:
    """Input lines a line that comes out, and most lines in its filter, both ways."""
    rows, columns = size[0] / out[0], size[1] / out[1]
    return rows, columns, _taps(rows), _taps(columns)


def _taps(scale: float) -> int:
    return 1 if scale == 1 else 2 * math.ceil(max(scale, 1.0)) + 1


def fits_i420_sized(picture: Tensor, size: Size, dtype: torch.dtype) -> str:
    needs = Needs(picture=picture)
    needs.types((torch.uint8,), picture=picture)
    needs.packed(2, picture=picture)
    needs.that(dtype in FLOATS, f"dtype is {dtype}; this kernel makes float32, float16 or bfloat16")
    return needs.reason


def fits_i420(picture: Tensor, dtype: torch.dtype) -> str:
    return fits_i420_sized(picture, (2, 2), dtype)


def _to_rgb(picture: Tensor, size: Size, dtype: torch.dtype) -> Tensor:
    batch, rows, width = picture.shape
    height = rows * 2 // 3
    out = picture.new_empty((batch, 3, *size), dtype=dtype)
    if out.numel():
        to_rgb_kernel[(triton.cdiv(size[0] * size[1], PIXELS), batch)](
            picture,
            out,
            picture.stride(0),
            height,
            width,
            *size,
            *_scales((height, width), size),
            **WEIGHTS,
            PIXELS=PIXELS,
            num_warps=4,
        )
    return out


@launcher("i420_to_rgb_sized", "triton", fits_i420_sized)
def i420_to_rgb_sized(picture: Tensor, size: Size, dtype: torch.dtype) -> Tensor:
    return _to_rgb(picture, size, dtype)


@launcher("i420_to_rgb", "triton", fits_i420)
def i420_to_rgb(picture: Tensor, dtype: torch.dtype) -> Tensor:
    rows, width = picture.shape[1:]
    return _to_rgb(picture, (rows * 2 // 3, width), dtype)


def fits_rgb_sized(picture: Tensor, size: Size) -> str:
    needs = Needs(picture=picture)
    needs.types(FLOATS, picture=picture)
    return needs.reason


def fits_rgb(picture: Tensor) -> str:
    return fits_rgb_sized(picture, (2, 2))


def _to_i420(picture: Tensor, size: Size) -> Tensor:
    batch = len(picture)
    out = picture.new_empty((batch, size[0] * 3 // 2, size[1]), dtype=torch.uint8)
    if out.numel():
        to_i420_kernel[(triton.cdiv(size[0] * size[1], 4 * CELLS), batch)](
            picture,
            out,
            *picture.stride(),
            *picture.shape[-2:],
            *size,
            *_scales((picture.shape[-2], picture.shape[-1]), size),
            **WEIGHTS,
            CELLS=CELLS,
            num_warps=4,
        )
    return out


@launcher("rgb_to_i420_sized", "triton", fits_rgb_sized)
def rgb_to_i420_sized(picture: Tensor, size: Size) -> Tensor:
    return _to_i420(picture, size)


@launcher("rgb_to_i420", "triton", fits_rgb)
def rgb_to_i420(picture: Tensor) -> Tensor:
    return _to_i420(picture, (picture.shape[-2], picture.shape[-1]))
