"""Colour kernels against their references: values within rounding, codes within one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from millrace.kernels.color import (
    i420_to_rgb_reference,
    i420_to_rgb_sized_reference,
    rgb_to_i420_reference,
    rgb_to_i420_sized_reference,
)
from millrace.kernels.triton.color import (
    i420_to_rgb,
    i420_to_rgb_sized,
    rgb_to_i420,
    rgb_to_i420_sized,
)
from torch import Tensor
from triton_rig import DEVICE, INTERPRETED, drawer, dtypes

SIZES = [(1, 2, 2), (2, 6, 10), (1, 34, 22)]
# Shrinking what the interpreter runs would take minutes.
few = settings(
    max_examples=6 if INTERPRETED else 60,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
# PyTorch's antialiased interpolation to a width of 1 forgets the other direction (2.13).
side = st.integers(2, 9)


def codes(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, height * 3 // 2, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(DEVICE)


def assert_within_one_code(found: Tensor, wanted: Tensor) -> None:
    assert found.dtype == torch.uint8 and found.shape == wanted.shape
    apart = (found.int() - wanted.int()).abs()
    assert apart.max() <= 1
    # Only a sum that lies on the edge between two codes may fall to the other side.
    assert apart.sum() <= max(1, apart.numel() // 100)


@dtypes
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_to_rgb(size: tuple[int, int, int], dtype: torch.dtype) -> None:
    picture = codes(*size)
    wanted = i420_to_rgb_reference(picture, torch.float32)
    found = i420_to_rgb(picture, dtype)
    assert found.dtype == dtype
    within = {torch.float32: 1e-6, torch.float16: 2**-11, torch.bfloat16: 2**-8}[dtype]
    torch.testing.assert_close(found.float(), wanted, rtol=0, atol=within)


@few
@given(side, side, side, side, st.integers(0, 9))
def test_to_rgb_of_another_size(
    half_height: int, half_width: int, height: int, width: int, seed: int
) -> None:
    """Larger and smaller, each side by itself."""
    picture = codes(2, 2 * half_height, 2 * half_width, seed)
    wanted = i420_to_rgb_sized_reference(picture, (height, width), torch.float32)
    found = i420_to_rgb_sized(picture, (height, width), torch.float32)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@dtypes
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_to_i420(size: tuple[int, int, int], dtype: torch.dtype) -> None:
    batch, height, width = size
    picture = drawer(0, dtype)(batch, 3, height, width) / 2 + 0.5
    assert_within_one_code(rgb_to_i420(picture), rgb_to_i420_reference(picture))


@few
@given(side, side, side, side, st.integers(0, 9))
def test_to_i420_of_another_size(
    height: int, width: int, half_height: int, half_width: int, seed: int
) -> None:
    size = (2 * half_height, 2 * half_width)
    # As the autoencoders leave them: channels last in memory.
    picture = drawer(seed, torch.float32)(2, height, width, 3).permute(0, 3, 1, 2) / 3 + 0.5
    wanted = rgb_to_i420_sized_reference(picture, size)
    assert_within_one_code(rgb_to_i420_sized(picture, size), wanted)


def test_rounding_is_to_even() -> None:
    """Grey that falls half-way between two codes of luma goes where the reference sends it."""
    halves = (torch.arange(219, dtype=torch.float32, device=DEVICE) + 0.5) / 219
    picture = halves.repeat_interleave(4).view(1, 1, 2, -1).expand(1, 3, -1, -1)
    assert_within_one_code(rgb_to_i420(picture), rgb_to_i420_reference(picture))


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="picture is torch.float32; this kernel takes uint8"):
        i420_to_rgb(codes(1, 4, 4).float(), torch.float32)
    with pytest.raises(ValueError, match="dtype is torch.float64"):
        i420_to_rgb_sized(codes(1, 4, 4), (3, 3), torch.float64)
    with pytest.raises(ValueError, match="picture has strides .* copy it first"):
        i420_to_rgb(codes(1, 4, 8)[..., ::2], torch.float32)
    with pytest.raises(ValueError, match="picture is torch.float64"):
        rgb_to_i420(torch.zeros(1, 3, 4, 4, dtype=torch.float64, device=DEVICE))
    with pytest.raises(ValueError, match="picture is torch.uint8"):
        rgb_to_i420_sized(torch.zeros(1, 3, 4, 4, dtype=torch.uint8, device=DEVICE), (2, 2))
