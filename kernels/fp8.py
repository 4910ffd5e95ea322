"""Linear layers whose products run in eight bits (e4m3), with a scale for each row and channel.

A layer is put into eight bits by replacing its weight with an `Fp8Weight`: whatever computes
`functional.linear` with it, computes `fp8_linear`. So models, and the operations that take their
weights, stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from .dispatch import choose, implementation, reference
from .quantise import dequantise, quantise

E4M3 = torch.float8_e4m3fn
GRAIN = 16
"""cuBLAS takes sides that are whole multiples of this."""
CAPABILITY = (8, 9)
"""Of a GPU whose matrix units know e4m3 (Ada, Hopper and later)."""


class Fp8Weight(Tensor):
    """The weight of a linear layer in e4m3, [out, in], with a scale for each output channel.

    It looks like a weight of the type that the layer computes in, and takes half its memory. It is
    for running only: it can be used, moved and looked at, but neither written nor differentiated.

    Attributes:
        codes: float8_e4m3fn [out, in].
        scale: float32 [out].
    """

    codes: Tensor
    scale: Tensor

    @staticmethod
    def __new__(cls, codes: Tensor, scale: Tensor, dtype: torch.dtype) -> Fp8Weight:
        size, device = codes.shape, codes.device
        weight = torch.Tensor._make_wrapper_subclass(cls, size, dtype=dtype, device=device)
        weight.codes, weight.scale = codes, scale
        return weight

    @classmethod
    def of(cls, weight: Tensor) -> Fp8Weight:
        """A layer's weight [out, in], rounded.

        Raises:
            ValueError: not a weight of two sides that are whole multiples of 16.
        """
        if weight.dim() != 2 or any(side % GRAIN for side in weight.shape):
            raise ValueError(
                f"weight {tuple(weight.shape)}: eight bits take two sides that are whole "
                f"multiples of {GRAIN}; leave this layer as it is"
            )
        codes, scale = quantise(weight.detach(), E4M3)
        return cls(codes, scale, weight.dtype)

    def wide(self) -> Tensor:
        """What the codes stand for, in the layer's own type."""
        return dequantise(self.codes, self.scale, self.dtype)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Fp8Weight({list(self.shape)}, {self.dtype}, {self.device})"

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is functional.linear:
            return _linear(*args, **(kwargs or {}))
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if func in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            return args[0].like(args[0].codes, args[0].scale)
        if func is torch.ops.aten._to_copy.default:
            own, device = args[0], given.get("device")
            dtype = given.get("dtype") or own.dtype
            return cls(own.codes.to(device), own.scale.to(device), dtype)
        raise TypeError(
            f"{func} takes no weight in eight bits; they multiply (`functional.linear`), and what "
            "they stand for is their `wide()`"
        )

    def product_with(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x weight^T + bias."""
        return fp8_linear(x, self.codes, self.scale, bias)

    def like(self, codes: Tensor, scale: Tensor) -> Fp8Weight:
        """Another of the same type."""
        return Fp8Weight(codes, scale, self.dtype)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if not isinstance(weight, Fp8Weight):
        raise TypeError("a weight in eight bits stands where a layer's input belongs")
    return weight.product_with(x, bias)


def fp8_linear(x: Tensor, codes: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x weight^T + bias` with x rounded to e4m3 row by row, and the weight rounded already.

    Sums are in float32; x's own type is what comes out.

    Args:
        x: [..., in].
        codes: float8_e4m3fn [out, in].
        scale: float32 [out].
        bias: [out].

    Returns:
        [..., out].
    """
    return choose("fp8_linear", x.device.type)(x, codes, scale, bias)


@reference("fp8_linear")
def fp8_linear_reference(x: Tensor, codes: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    narrow, rows = quantise(x, E4M3)
    out = functional.linear(narrow.float(), codes.float()) * rows[..., None] * scale
    return (out if bias is None else out + bias.float()).to(x.dtype)


@implementation("fp8_linear", "cuda")
def fp8_linear_scaled(x: Tensor, codes: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """The matrix units' own product. cuBLAS gives bfloat16 out of scales by row."""
    narrow, rows = quantise(x.reshape(-1, x.shape[-1]), E4M3)
    out = torch._scaled_mm(
        narrow,
        codes.t(),
        scale_a=rows[:, None],
        scale_b=scale[None],
        bias=None if bias is None else bias.bfloat16(),
        out_dtype=torch.bfloat16,
    )
    return out.to(x.dtype).view(*x.shape[:-1], len(codes))


def why_not(device: torch.device | str) -> str:
    """ "" or why a device has no products in eight bits. A processor has the reference's."""
    place = torch.device(device)
    if place.type != "cuda":
        return ""
    found = torch.cuda.get_device_capability(place)
    if found >= CAPABILITY:
        return ""
    name, (major, minor) = torch.cuda.get_device_name(place), found
    return (
        f"{name} has compute capability {major}.{minor}; products in eight bits need "
        f"{CAPABILITY[0]}.{CAPABILITY[1]}"
    )
