"""What the slots of a ring hold: keys and values as they are, or in eight bits with scales.

Eight bits halve what a stream's past takes beside bfloat16. A scale for each token of each head
keeps a loud head from drowning a quiet one (`kernels.quantise`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels import dequantise
from .specs import Store

CODES = {"fp8": torch.float8_e4m3fn, "int8": torch.int8}


def storage(
    shape: tuple[int, ...], store: Store, device: torch.device | str, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """Empty slots [..., head_dim], and the scales of their codes, [...]; None without codes.

    e4m3 is kept as its bytes: few operations that move memory about know the type.
    """
    # Zeros and not garbage: a slot that is masked out must still be finite.
    if store == "plain":
        return torch.zeros(shape, device=device, dtype=dtype), None
    kept = torch.uint8 if store == "fp8" else torch.int8
    scale = torch.zeros(shape[:-1], device=device, dtype=torch.float32)
    return torch.zeros(shape, device=device, dtype=kept), scale


def codes(slots: Tensor, store: Store) -> Tensor:
    """The same memory in the type that is written and read."""
    return slots.view(CODES[store]) if store == "fp8" else slots


def values(slots: Tensor, scale: Tensor | None, store: Store, dtype: torch.dtype) -> Tensor:
    """What slots stand for: themselves where they hold values, else a copy in `dtype`."""
    if scale is None:
        return slots
    return dequantise(codes(slots, store), scale, dtype)
