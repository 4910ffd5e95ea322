"""What every launcher does: look at its arguments, register itself, choose its blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
import triton
from torch import Tensor

from ..dispatch import candidate

Function = TypeVar("Function", bound=Callable[..., Any])

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
INTERPRETED: bool = triton.knobs.runtime.interpret
"""Whether kernels run in Triton's interpreter, on a CPU (TRITON_INTERPRET=1 at import)."""


class Needs:
    """What a kernel needs of its arguments, told name by name.

    Attributes:
        reason: the first need that is not met, naming the argument and the remedy; "" if all are.
    """

    def __init__(self, **tensors: Tensor | None) -> None:
        """All on one device, see `on_device`; the first of them says which."""
        self.reason = ""
        self._device = next(tensor.device for tensor in tensors.values() if tensor is not None)
        self.on_device(**tensors)

    def on_device(self, **tensors: Tensor | None) -> None:
        """On the device of the first tensor, which runs kernels; none to be differentiated."""
        place = self._device
        for name, tensor in tensors.items():
            if tensor is None:
                continue
            self.that(tensor.device == place, f"{name} is on {tensor.device}, not {place}; move it")
            told = f"{name} is on {place}; kernels need a CUDA device"
            self.that(place.type == ("cpu" if INTERPRETED else "cuda"), told)
            wants = tensor.requires_grad and torch.is_grad_enabled()
            self.that(not wants, f"{name} wants a gradient; kernels run under no_grad only")

    def that(self, holds: bool, reason: str) -> None:
        """Any other need."""
        if not holds and not self.reason:
            self.reason = reason

    def types(self, allowed: tuple[torch.dtype, ...], **tensors: Tensor | None) -> None:
        for name, tensor in tensors.items():
            if tensor is not None and tensor.dtype not in allowed:
                wanted = ", ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
                self.that(False, f"{name} is {tensor.dtype}; this kernel takes {wanted}")

    def shape(self, *expected: int, **tensors: Tensor | None) -> None:
        for name, tensor in tensors.items():
            if tensor is not None and tuple(tensor.shape) != expected:
                told = f"{name} has shape {tuple(tensor.shape)}; expected {expected}"
                self.that(False, told)

    def dims(self, count: int, **tensors: Tensor) -> None:
        for name, tensor in tensors.items():
            told = f"{name} has shape {tuple(tensor.shape)}; give {count} dimensions"
            self.that(tensor.dim() == count, told)

    def strides(self, like: Tensor, **tensors: Tensor | None) -> None:
        """Laid out as another tensor of the same shape."""
        for name, tensor in tensors.items():
            if tensor is not None:
                told = f"{name} has strides {tensor.stride()}, unlike its kin's {like.stride()}"
                self.that(tensor.stride() == like.stride(), told)

    def fills(self, *whole: int, **tensors: Tensor | None) -> None:
        """Each can be expanded to a shape."""
        for name, tensor in tensors.items():
            if tensor is None:
                continue
            own = tuple(tensor.shape)
            padded = (1,) * (len(whole) - len(own)) + own
            fits = len(own) <= len(whole) and all(
                size in (1, full) for size, full in zip(padded, whole, strict=True)
            )
            self.that(fits, f"{name} has shape {own}, which cannot be expanded to {whole}")

    def packed(self, dims: int | None = None, **tensors: Tensor | None) -> None:
        """The last `dims` dimensions lie in memory without gaps, in order; None for all."""
        for name, tensor in tensors.items():
            if tensor is None or self.reason:
                continue
            count = tensor.dim() if dims is None else dims
            inner = tensor[(0,) * (tensor.dim() - count)] if tensor.numel() else tensor
            which = "" if dims is None else f" in its last {dims} dimensions"
            told = f"{name} has strides {tensor.stride()}, not contiguous{which}; copy it first"
            self.that(inner.is_contiguous(), told)


def launcher(op: str, name: str, fits: Callable[..., str]) -> Callable[[Function], Function]:
    """Register the decorated launcher as a CUDA candidate of `op`.

    The dispatcher asks `fits` before it calls; whoever calls the launcher itself gets a ValueError
    with what `fits` says.
    """

    def register(function: Function) -> Function:
        candidate(op, "cuda", name, fits)(function)
        return checked(fits)(function)

    return register


def checked(fits: Callable[..., str]) -> Callable[[Function], Function]:
    """The decorated launcher, refusing with a ValueError what does not fit."""

    def wrap(function: Function) -> Function:
        @wraps(function)
        def run(*arguments: Any) -> Any:
            reason = fits(*arguments)
            if reason:
                raise ValueError(reason)
            return function(*arguments)

        return run  # type: ignore[return-value]

    return wrap


def power(size: int) -> int:
    """The power of two from `size` up: Triton's blocks have no other sizes."""
    return 1 << max(size - 1, 0).bit_length()


def block_rows(rows: int, width: int, elements: int) -> int:
    """How many rows of `width` a program takes at once, to have about `elements` in registers."""
    return max(1, min(power(rows), elements // power(width)))


def warps(elements: int) -> int:
    """Warps of a program that holds `elements`: 16 values a thread, 1 to 8 warps."""
    return max(1, min(8, elements // 512))
