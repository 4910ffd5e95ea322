"""Linear layers with what comes before and after them."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor

from .dispatch import candidate, choose, implementation, reference
from .fp8 import Fp8Weight
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


def _fits_epilogue(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: LinearActivation,
    residual: Tensor | None,
) -> str:
    if isinstance(weight, Fp8Weight):
        return "weight is in eight bits"
    if activation != "gelu":
        return f"activation is {activation}; this product ends with gelu"
    if bias is None:
        return "bias is missing; this product adds one"
    if x.dtype not in (torch.float16, torch.bfloat16) or {weight.dtype, bias.dtype} != {x.dtype}:
        return f"x is {x.dtype}, weight {weight.dtype}, bias {bias.dtype}; give one half precision"
    return "" if weight.is_contiguous() else "weight is not contiguous"


@candidate("linear", "cuda", "epilogue", _fits_epilogue, library=True)
def _linear_epilogue(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    activation: LinearActivation,
    residual: Tensor | None,
) -> Tensor:
    """Bias and gelu (the tanh form) while cuBLASLt has the product in registers: the wide
    activations of an MLP are written once and not read back for it."""
    flat = x.reshape(-1, x.shape[-1])
    out = torch._addmm_activation(bias, flat, weight.t(), use_gelu=True)
    return out.view(*x.shape[:-1], len(weight))


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
