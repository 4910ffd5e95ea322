"""What tests of kernels share: where they run, with which numbers, how close they must come.

Under TRITON_INTERPRET=1 kernels run on the CPU, in float32 and float16 (the interpreter's bfloat16
is wrong); else on a GPU, in bfloat16 too.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
DTYPES = [
    torch.float32,
    torch.float16,
    pytest.param(
        torch.bfloat16,
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(INTERPRETED, reason="the interpreter's bfloat16 is wrong"),
        ],
    ),
]
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
"""Greatest difference, relative to the largest value."""

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))


def drawer(seed: int, dtype: torch.dtype) -> Any:
    """A function that draws normal numbers of a shape, the same on every device."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype).to(DEVICE)

    return draw


def assert_near(found: Tensor, exact: Tensor, share: float | None = None) -> None:
    """Within the tolerance of its own type of the exact result."""
    assert found.shape == exact.shape
    within = TOLERANCE[found.dtype] if share is None else share
    most = max(exact.double().abs().max().item(), 1e-6) if exact.numel() else 1.0
    torch.testing.assert_close(found.double(), exact.double(), rtol=0, atol=within * most)
