"""Products in eight bits (e4m3): rows rounded with a scale each, and multiplied by codes."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from .dispatch import choose, implementation, reference
from .quantise import quantise

E4M3 = torch.float8_e4m3fn
CAPABILITY = (8, 9)
"""Of a GPU whose matrix units know e4m3 (Ada, Hopper and later)."""


def quantise_rows(x: Tensor, gelu: bool = False) -> tuple[Tensor, Tensor]:
    """Each row in e4m3 with a scale of its own: [..., in] -> codes [..., in], float32 [...]; see
    `quantise`. With `gelu` (the tanh form) of x, so that it is not written in between."""
    return choose("quantise_rows", x.device.type)(x, gelu)


@reference("quantise_rows")
def quantise_rows_reference(x: Tensor, gelu: bool = False) -> tuple[Tensor, Tensor]:
    return quantise(functional.gelu(x, approximate="tanh") if gelu else x, E4M3)


def fp8_product(
    rows: tuple[Tensor, Tensor],
    weight: tuple[Tensor, Tensor],
    bias: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """`rows weight^T + bias`, summed in float32.

    Args:
        rows: codes [..., in] and scales [...], from `quantise_rows`.
        weight: codes [out, in] and scales [out].
        bias: [out].
        dtype: of what comes out.

    Returns:
        [..., out].
    """
    return choose("fp8_product", rows[0].device.type)(rows, weight, bias, dtype)


@reference("fp8_product")
def fp8_product_reference(
    rows: tuple[Tensor, Tensor],
    weight: tuple[Tensor, Tensor],
    bias: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    (codes, scale), (kept, channel) = rows, weight
    out = functional.linear(codes.float(), kept.float()) * scale[..., None] * channel
    return (out if bias is None else out + bias.float()).to(dtype)


@implementation("fp8_product", "cuda")
def fp8_product_scaled(
    rows: tuple[Tensor, Tensor],
    weight: tuple[Tensor, Tensor],
    bias: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """The matrix units' own product. cuBLAS gives bfloat16 out of scales by row."""
    (codes, scale), (kept, channel) = rows, weight
    out = torch._scaled_mm(
        codes.reshape(-1, codes.shape[-1]),
        kept.t(),
        scale_a=scale.reshape(-1, 1),
        scale_b=channel[None],
        bias=None if bias is None else bias.bfloat16(),
        out_dtype=torch.bfloat16,
    )
    return out.to(dtype).view(*codes.shape[:-1], len(kept))


def why_not(device: torch.device | str) -> str:
    """ "" or why a device has no products in eight bits. A processor has the reference's."""
    place = torch.device(device)
    if place.type != "cuda":
        return ""
    found = torch.cuda.get_device_capability(place)
    if found >= CAPABILITY:
        return ""
    name, (major, minor) = torch.cuda.get_device_name(place), found
    return (
        f"{name} has compute capability {major}.{minor}; products in eight bits need "
        f"{CAPABILITY[0]}.{CAPABILITY[1]}"
    )
