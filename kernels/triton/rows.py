"""Rows into eight bits, each with a scale of its own, in one pass."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import FLOATS, Needs, block_rows, launcher, power, warps
from .numbers import to_e4m3

MOST_WIDTH = 1 << 15
"""Of a row, which a program holds whole."""


@triton.jit
def _rows_kernel(
    x: tl.tensor,
    out: tl.tensor,
    out_scale: tl.tensor,
    rows: tl.tensor,
    width: tl.tensor,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    GELU: tl.constexpr,
) -> None:
    """out = x / scale in e4m3, scale = largest of the row / 448; grid (blocks of rows,)."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, WIDTH)
    inside = (row < rows)[:, None] & (column < width)[None, :]
    place = row[:, None] * width + column[None, :]
    value = tl.load(x + place, inside, 0.0).to(tl.float32)
    if GELU:
        # x (1 + tanh u) / 2 = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3).
        value *= tl.sigmoid(1.5957691216057308 * (value + 0.044715 * value * value * value))
    scale = tl.maximum(tl.max(tl.abs(value), 1), 1e-12) / 448.0
    tl.store(out_scale + row, scale, row < rows)
    tl.store(out + place, to_e4m3(value / scale[:, None]), inside)


def fits_rows(x: Tensor, gelu: bool = False) -> str:
    needs = Needs(x=x)
    needs.types(FLOATS, x=x)
    needs.packed(x=x)
    needs.that(x.dim() > 0 and x.numel() > 0, f"x has shape {tuple(x.shape)}; give [..., in]")
    told = f"x has rows of {x.shape[-1:]}; at most {MOST_WIDTH} fit into a program"
    needs.that(x.dim() == 0 or x.shape[-1] <= MOST_WIDTH, told)
    return needs.reason


@launcher("quantise_rows", "triton", fits_rows)
def quantise_rows(x: Tensor, gelu: bool = False) -> tuple[Tensor, Tensor]:
    width = x.shape[-1]
    count = x.numel() // width
    out = torch.empty_like(x, dtype=torch.float8_e4m3fn)
    scale = x.new_empty(x.shape[:-1], dtype=torch.float32)
    rows = block_rows(count, width, 4096)
    _rows_kernel[(triton.cdiv(count, rows),)](
        x,
        out.view(torch.uint8),
        scale,
        count,
        width,
        ROWS=rows,
        WIDTH=power(width),
        GELU=gelu,
        num_warps=warps(rows * power(width)),
    )
    return out, scale
