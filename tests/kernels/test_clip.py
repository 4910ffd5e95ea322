"""Convolutions in time: against the whole clip, however it is cut, and against joined channels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as functional
from millrace.kernels import causal_clip, memory_conv, per_chunk, per_frame, rms_norm
from torch import Tensor

F64 = torch.float64


def joined(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """As the released block has it: each frame joined with the one before along channels."""
    before = torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), 1)
    both = torch.cat((x, before), -1)
    hidden = functional.conv2d(per_frame(both), weight, bias, padding=1)
    return per_chunk(functional.relu(hidden), len(x))


@pytest.mark.parametrize("sizes", [[6], [1] * 6, [4, 2], [1, 5]])
def test_the_split_convolution_equals_the_joined_one(sizes: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=F64, generator=generator)

    x, weight, bias = draw(2, 6, 5, 4, 3), draw(7, 6, 3, 3), draw(7)
    past = torch.zeros(2, 1, 5, 4, 7, dtype=F64)
    parts = [memory_conv(part, weight, bias, past) for part in x.split(sizes, 1)]
    torch.testing.assert_close(torch.cat(parts, 1), joined(x, weight, bias), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fused_form_in_the_types_that_run(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 3, 6, 5, 16), torch.randn(24, 32, 3, 3) / 12, torch.randn(24)
    x, weight, bias = (part.to(dtype) for part in (x, weight, bias))
    past = torch.zeros(2, 1, 6, 5, 24, dtype=dtype)
    with torch.no_grad():
        parts = [memory_conv(part, weight, bias, past) for part in x.split([1, 2], 1)]
    exact = joined(x.double(), weight.double(), bias.double())
    within = 1e-5 if dtype == torch.float32 else 5e-2
    torch.testing.assert_close(torch.cat(parts, 1).double(), exact, rtol=0, atol=within)


def test_masked_rows_remember_what_they_had() -> None:
    x, weight, bias = torch.randn(2, 2, 3, 3, 2), torch.randn(2, 4, 3, 3), torch.randn(2)
    only = torch.tensor([True, False])
    made, clip = torch.randn(2, 1, 3, 3, 2), torch.randn(2, 2, 3, 3, 2)
    before = made.clone(), clip.clone()
    memory_conv(x, weight, bias, made, only)
    causal_clip(x, clip, only)
    for memory, old in zip((made, clip), before, strict=True):
        assert torch.equal(memory[1], old[1]) and not torch.equal(memory[0], old[0])
    assert torch.equal(clip[0], x[0])


@pytest.mark.parametrize("kept", [1, 2])
@pytest.mark.parametrize("sizes", [[5], [1] * 5, [3, 2], [1, 4]])
def test_clips_of_any_cutting_are_windows_of_the_whole(kept: int, sizes: list[int]) -> None:
    x, norm = torch.randn(2, 5, 2, 3, 4, dtype=F64), torch.rand(4, dtype=F64) + 0.5
    past = torch.zeros(2, kept, 2, 3, 4, dtype=F64)
    whole = torch.cat((past, functional.silu(rms_norm(x, norm, 1e-6))), 1)
    first = 0
    for part in x.split(sizes, 1):
        clip = causal_clip(part, past, None, norm, 1e-6)
        stop = first + part.shape[1]
        torch.testing.assert_close(clip, whole[:, first : stop + kept])
        torch.testing.assert_close(past, whole[:, stop : stop + kept])
        first = stop
