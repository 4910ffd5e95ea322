"""Two-dimensional convolutions with what comes after them."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor

from .dispatch import choose, implementation, reference
from .prepared import fuses, prepared

ConvActivation = Literal["none", "silu", "relu"]
_NAMES = {"none": "none", "silu": "swish", "relu": "relu"}
"""Of activations, in oneDNN."""


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    kernel: tuple[int, int],
    *,
    patches: bool = False,
    activation: ConvActivation = "none",
    residual: Tensor | None = None,
) -> Tensor:
    """`activation(convolution + bias) + residual`; "relu" comes last, after the residual.

    Args:
        x: [B, in, H, W].
        weight: [out, ...], in row-major order the entries of [out, in, *kernel].
        bias: [out].
        kernel: height and width.
        patches: step by the kernel's size, so that patches do not overlap (this equals
            `pixel_unshuffle` and a kernel of 1); else step by 1, centred, with zeros around.
        residual: [B, out, H', W']; not together with "silu".
    """
    assert residual is None or activation != "silu", "no residual follows silu"
    function = choose("conv2d", x.device.type)
    return function(x, weight, bias, kernel, patches, activation, residual)


@reference("conv2d")
def conv2d_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    kernel: tuple[int, int],
    patches: bool,
    activation: ConvActivation,
    residual: Tensor | None,
) -> Tensor:
    whole = weight.reshape(weight.shape[0], -1, *kernel)
    out = functional.conv2d(x, whole, bias, *steps(kernel, patches))
    if activation == "silu":
        out = functional.silu(out)
    if residual is not None:
        out = residual + out
    return functional.relu(out) if activation == "relu" else out


@implementation("conv2d", "cpu")
def _conv2d_onednn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    kernel: tuple[int, int],
    patches: bool,
    activation: ConvActivation,
    residual: Tensor | None,
) -> Tensor:
    """Activation and residual while the sum is still in registers; weights packed once."""
    if not fuses(x, weight):
        return conv2d_reference(x, weight, bias, kernel, patches, activation, residual)
    packed = prepared((weight,), _pack, kernel, patches, (1, *x.shape[1:]))
    stride, padding = steps(kernel, patches)
    shape = (padding, stride, (1, 1), 1)
    native = torch.ops.mkldnn._convolution_pointwise
    if residual is not None:
        last = "relu" if activation == "relu" else None
        return native.binary(x, residual, packed, bias, *shape, "add", 1.0, last, [], None)
    return native(x, packed, bias, *shape, _NAMES[activation], [], "")


def _pack(weight: Tensor, kernel: tuple[int, int], patches: bool, shape: tuple[int, ...]) -> Tensor:
    """A weight in the layout of the convolution's inner loop, which the picture's size decides: a
    layout for another size can be six times slower. The number of pictures changes nothing."""
    whole = weight.reshape(weight.shape[0], -1, *kernel)
    stride, padding = steps(kernel, patches)
    return torch.ops.mkldnn._reorder_convolution_weight(
        whole.contiguous(memory_format=torch.channels_last), padding, stride, (1, 1), 1, shape
    )


def steps(kernel: tuple[int, int], patches: bool) -> tuple[tuple[int, int], tuple[int, int]]:
    """Stride and padding."""
    return (kernel, (0, 0)) if patches else ((1, 1), (kernel[0] // 2, kernel[1] // 2))
