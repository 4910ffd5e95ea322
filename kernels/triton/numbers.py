"""Narrow number formats, made by arithmetic that is the same on every device."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

PLAIN, E4M3, INT8 = 0, 1, 2
KINDS = {torch.float8_e4m3fn: E4M3, torch.int8: INT8}
"""How a kernel is told of a type of eight bits; any other is plain."""


@triton.jit
def to_e4m3(value: tl.tensor) -> tl.tensor:
    """float32 to the bits of e4m3 (no infinities), to nearest, ties to even; clamped to +-448.

    In integers and not by a cast: older GPUs have no such cast, and the interpreter's rounds
    otherwise. A few steps more in a pass that waits for memory.
    """
    size = tl.minimum(tl.abs(value), 448.0)
    bits = size.to(tl.int32, bitcast=True)
    # 20 of the mantissa's 23 bits go; exponents differ by a bias of 120.
    normal = ((bits + 0x7FFFF + ((bits >> 20) & 1)) >> 20) - (120 << 3)
    # Below 2^-6 steps are 2^-9, which is one step of float32 from 2^14 on.
    small = (size + 16384.0).to(tl.int32, bitcast=True) - 0x46800000
    code = tl.where(size < 0.015625, small, normal)
    sign = (value.to(tl.int32, bitcast=True) >> 24) & 0x80
    return (code | sign).to(tl.uint8)


@triton.jit
def to_int8(value: tl.tensor) -> tl.tensor:
    """float32 in -127..127 to the nearest int8, halves up."""
    return tl.floor(value + 0.5).to(tl.int8)


@triton.jit
def from_e4m3(code: tl.tensor) -> tl.tensor:
    """The bits of e4m3 (uint8) to float32, exactly; NaN is read as 480."""
    size = code.to(tl.int32) & 0x7F
    normal = ((size << 20) + (120 << 23)).to(tl.float32, bitcast=True)
    value = tl.where(size < 8, size.to(tl.float32) * 0.001953125, normal)
    return tl.where(code.to(tl.int32) > 0x7F, -value, value)
