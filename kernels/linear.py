"""Linear layers with what comes before and after them."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor

from .dispatch import choose, implementation, reference
from .prepared import fuses, prepared

LinearActivation = Literal["none", "gelu"]


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: LinearActivation = "none",
    residual: Tensor | None = None,
) -> Tensor:
    """`activation(x weight^T + bias) + residual`; gelu is the tanh approximation.

    Args:
        x: [..., in].
        weight: [out, in].
        bias: [out].
        residual: [..., out]; not together with an activation.
    """
    assert residual is None or activation == "none", "a residual follows a plain linear layer"
    return choose("linear", x.device.type)(x, weight, bias, activation, residual)


@reference("linear")
def linear_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: LinearActivation,
    residual: Tensor | None,
) -> Tensor:
    out = functional.linear(x, weight, bias)
    if activation == "gelu":
        out = functional.gelu(out, approximate="tanh")
    return out if residual is None else residual + out


@implementation("linear", "cpu")
def _linear_onednn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: LinearActivation,
    residual: Tensor | None,
) -> Tensor:
    """Activation and residual while the product is still in registers; weights packed once."""
    if not fuses(x, weight):
        return linear_reference(x, weight, bias, activation, residual)
    packed = prepared((weight,), pack_linear)
    native = torch.ops.mkldnn._linear_pointwise
    if residual is not None:
        return native.binary(x, residual, packed, bias, "add")
    return native(x, packed, bias, activation, [], "tanh" if activation == "gelu" else "")


def pack_linear(weight: Tensor) -> Tensor:
    """A weight [out, in] in the layout of the product's inner loop."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
