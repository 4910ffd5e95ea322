"""Convolutions of cuDNN with what comes after them, in one call."""

from __future__ import annotations

import torch
from torch import Tensor

from .conv import ConvActivation, steps
from .dispatch import candidate


def fits_relu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    kernel: tuple[int, int],
    patches: bool,
    activation: ConvActivation,
    residual: Tensor | None,
) -> str:
    """cuDNN adds a residual and takes the larger of the sum and zero, and no other activation."""
    if activation != "relu":
        return f"activation is {activation}; cuDNN fuses relu"
    if weight.dtype != x.dtype:
        return f"weight is {weight.dtype}, x is {x.dtype}"
    if residual is not None and residual.dtype != x.dtype:
        return f"residual is {residual.dtype}, x is {x.dtype}"
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"x is {x.dtype}; cuDNN takes float32, float16 and bfloat16"
    return ""


@candidate("conv2d", "cuda", "cudnn-relu", fits_relu, library=True)
def conv2d_relu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    kernel: tuple[int, int],
    patches: bool,
    activation: ConvActivation,
    residual: Tensor | None,
) -> Tensor:
    whole = weight.reshape(weight.shape[0], -1, *kernel)
    shape = (*steps(kernel, patches), (1, 1), 1)
    if residual is None:
        return torch.cudnn_convolution_relu(x, whole, bias, *shape)
    return torch.cudnn_convolution_add_relu(x, whole, residual, 1.0, bias, *shape)
