"""What causal convolutions take in: kernels against their references, memory included."""

from __future__ import annotations

import pytest
import torch
from millrace.kernels.clip import causal_clip_reference, memory_conv_reference
from millrace.kernels.triton.clip import causal_clip, memory_conv
from torch import Tensor
from triton_rig import DEVICE, assert_near, drawer, dtypes

SHAPES = [(1, 1, 1, 1, 3), (2, 1, 3, 5, 6), (2, 4, 3, 2, 20)]
"""Rows, frames, height, width, channels."""


def mask_of(rows: int, masked: bool) -> Tensor | None:
    return torch.arange(rows, device=DEVICE) % 2 == 1 if masked else None


@dtypes
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kept", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_clip(
    shape: tuple[int, int, int, int, int], kept: int, masked: bool, dtype: torch.dtype
) -> None:
    """With a norm and without; shorter chunks than memory included."""
    draw = drawer(0, dtype)
    x, past, norm = draw(*shape), draw(shape[0], kept, *shape[2:]), draw(shape[-1])
    mask = mask_of(shape[0], masked)
    for weight in (None, norm):
        exact, ours = past.double(), past.clone()
        told = None if weight is None else weight.double()
        wanted = causal_clip_reference(x.double(), exact, mask, told, 1e-6)
        assert_near(causal_clip(x, ours, mask, weight, 1e-6), wanted)
        assert_near(ours, exact)


@dtypes
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_memory_conv(
    shape: tuple[int, int, int, int, int], masked: bool, dtype: torch.dtype
) -> None:
    draw = drawer(0, dtype)
    channels, out = shape[-1], 5
    x, weight, bias = draw(*shape), draw(out, 2 * channels, 3, 3) / channels, draw(out)
    past = draw(shape[0], 1, *shape[2:4], out)
    mask = mask_of(shape[0], masked)
    exact, ours = past.double(), past.clone()
    wanted = memory_conv_reference(x.double(), weight.double(), bias.double(), exact, mask)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        found = memory_conv(x, weight, bias, ours, mask)
    assert_near(found, wanted)
    assert_near(ours, exact)


def test_what_does_not_fit_is_named() -> None:
    draw = drawer(0, torch.float32)
    x, past = draw(2, 2, 3, 3, 4), draw(2, 2, 3, 3, 4)
    for told, call in (
        (
            "past has shape .2, 2, 3, 3, 2.; expected .2, 2, 3, 3, 4.",
            (x, past[..., :2], None, None, 0.0),
        ),
        ("past is torch.float16", (x, past.half(), None, None, 0.0)),
        ("norm has shape .3,.", (x, past, None, draw(3), 0.0)),
        ("x has strides", (x.transpose(2, 3), past, None, None, 0.0)),
        (
            "mask is torch.int64",
            (x, past, torch.ones(2, dtype=torch.int64, device=DEVICE), None, 0.0),
        ),
        ("past keeps 5 frames", (x, draw(2, 5, 3, 3, 4), None, None, 0.0)),
    ):
        with pytest.raises(ValueError, match=told):
            causal_clip(*call)
    with pytest.raises(ValueError, match="weight has shape .5, 4, 3, 3.; expected .5, 8, 3, 3."):
        memory_conv(x, draw(5, 4, 3, 3), draw(5), draw(2, 1, 3, 3, 5), None)
    with pytest.raises(ValueError, match="past has shape"):
        memory_conv(x, draw(5, 8, 3, 3), draw(5), draw(2, 2, 3, 3, 5), None)
