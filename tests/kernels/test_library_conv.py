"""cuDNN's fused convolutions: what they are asked for here, what they give on a GPU."""

from __future__ import annotations

import pytest
import torch
from millrace.kernels.conv import conv2d_reference
from millrace.kernels.library_conv import conv2d_relu, fits_relu


def test_each_says_what_it_cannot_take() -> None:
    x, weight = torch.zeros(1, 4, 5, 6), torch.zeros(3, 4, 3, 3)
    call = (x, weight, None, (3, 3), False)
    assert "activation is silu" in fits_relu(*call, "silu", None)
    assert "weight is torch.float16" in fits_relu(x, weight.half(), *call[2:], "relu", None)
    assert "residual is torch.float64" in fits_relu(*call, "relu", torch.zeros(1).double())
    assert "x is torch.float64" in fits_relu(x.double(), weight.double(), *call[2:], "relu", None)
    assert fits_relu(*call, "relu", None) == ""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="cuDNN runs on CUDA devices")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("summed", [False, True])
def test_it_equals_the_reference_on_a_gpu(summed: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 16, 9, 10).to(memory_format=torch.channels_last)
    given = [x, torch.randn(24, 16, 3, 3) / 12, torch.randn(24), torch.randn(2, 24, 9, 10)]
    x, weight, bias, residual = (part.to("cuda", dtype) for part in given)
    added = residual if summed else None
    exact = conv2d_reference(
        x.double(),
        weight.double(),
        bias.double(),
        (3, 3),
        False,
        "relu",
        None if added is None else added.double(),
    )
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        found = conv2d_relu(x, weight, bias, (3, 3), False, "relu", added)
    error = (found.double() - exact).abs().max() / exact.abs().max()
    assert error < (1e-5 if dtype == torch.float32 else 1e-2)
