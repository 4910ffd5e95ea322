"""Linear layers whose products run in eight bits (e4m3), with a scale for each row and channel.

A layer is put into eight bits by replacing its weight with an `Fp8Weight`: whatever computes
`functional.linear` with it, computes `fp8_product`. So models, and the operations that take their
weights, stay as they are. What several layers read is rounded once (`Fp8Rows`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as functional
from torch import Tensor

from .fp8_ops import E4M3, fp8_product, quantise_rows
from .norm import modulated_layer_norm, modulated_layer_norm_e4m3
from .quantise import dequantise, quantise

GRAIN = 16
"""cuBLAS takes sides that are whole multiples of this."""


class _Codes(Tensor):
    """Codes in e4m3 that look like a tensor of the type that the layers compute in.

    They are for running only: they can be multiplied, moved and looked at, but neither written nor
    differentiated.

    Attributes:
        codes: float8_e4m3fn [..., in].
        scale: float32 [...].
    """

    codes: Tensor
    scale: Tensor

    @staticmethod
    def __new__(cls, codes: Tensor, scale: Tensor, dtype: torch.dtype) -> Self:
        size, device = codes.shape, codes.device
        made = torch.Tensor._make_wrapper_subclass(cls, size, dtype=dtype, device=device)
        made.codes, made.scale = codes, scale
        return made

    def wide(self) -> Tensor:
        """What the codes stand for, in the layers' own type."""
        return dequantise(self.codes, self.scale, self.dtype)

    def like(self, codes: Tensor, scale: Tensor, dtype: torch.dtype) -> Self:
        """Others of the same kind."""
        return type(self)(codes, scale, dtype)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"{type(self).__name__}({list(self.shape)}, {self.dtype}, {self.device})"

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
        given, own = kwargs or {}, args[0]
        if isinstance(own, _Codes):
            if func in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
                return own.like(own.codes, own.scale, own.dtype)
            if func is torch.ops.aten._to_copy.default:
                device, dtype = given.get("device"), given.get("dtype") or own.dtype
                return own.like(own.codes.to(device), own.scale.to(device), dtype)
        raise TypeError(
            f"{func} takes nothing in eight bits; codes multiply (`functional.linear`), and what "
            "they stand for is their `wide()`"
        )


class Fp8Weight(_Codes):
    """The weight of a linear layer, [out, in], with a scale for each output channel: half the
    memory of bfloat16.

    Attributes:
        takes_rows: inputs may come rounded already.
    """

    takes_rows = True

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
        return Fp8Weight(*quantise(weight.detach(), E4M3), weight.dtype)

    def product_with(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x weight^T + bias."""
        rows = (x.codes, x.scale) if isinstance(x, Fp8Rows) else quantise_rows(x)
        return fp8_product(rows, (self.codes, self.scale), bias, x.dtype)


class Fp8Rows(_Codes):
    """What one or more layers in eight bits read, [..., in], with a scale for each row."""


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if not isinstance(weight, Fp8Weight):
        raise TypeError(f"{x!r} is multiplied by a plain weight; a layer in eight bits takes it")
    if isinstance(x, Fp8Weight):
        raise TypeError("a weight in eight bits stands where a layer's input belongs")
    return weight.product_with(x, bias)


def rows_for(weight: Tensor, x: Tensor) -> Tensor:
    """x [..., in] as layers with such weights read it: rounded, once for all of them, if they are
    in eight bits; else as it is."""
    if takes_rows(weight):
        return Fp8Rows(*quantise_rows(x), x.dtype)
    return x


def takes_rows(weight: Tensor) -> bool:
    """Whether a layer with such a weight reads `Fp8Rows`."""
    return isinstance(weight, Fp8Weight) and weight.takes_rows


def gelu_rows(x: Tensor) -> Tensor:
    """gelu(x), the tanh form, rounded for a layer in eight bits, [..., in]."""
    return Fp8Rows(*quantise_rows(x, gelu=True), x.dtype)


def normed_for(weight: Tensor, x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """`modulated_layer_norm` as a layer with such a weight reads it; see `rows_for`."""
    if takes_rows(weight):
        return Fp8Rows(*modulated_layer_norm_e4m3(x, scale, shift, eps), x.dtype)
    return modulated_layer_norm(x, scale, shift, eps)
