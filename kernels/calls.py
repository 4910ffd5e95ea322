"""The arguments of a call: told apart, put into buckets, copied, widened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

HALVES = (torch.bfloat16, torch.float16)
EXACT = 8
"""Sizes up to this are told apart; larger ones that share their first three bits are alike."""


def signature(arguments: Sequence[Any]) -> tuple[Any, ...]:
    """All that tells one call from another without asking the device for a value."""
    return tuple(_told_apart(argument) for argument in arguments)


def _told_apart(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return argument.shape, argument.stride(), argument.dtype, special(argument)
    if isinstance(argument, tuple | list):
        return signature(argument)
    return None if isinstance(argument, float) else argument


def bucket(arguments: Sequence[Any]) -> str:
    """Calls of one bucket share a choice: "bfloat16[1,1792,1536] strided, gelu, -".

    Sizes above 8 are rounded up to their first three bits, so at most a quarter lies between two
    calls of a bucket. Floats are left out: no kernel's time depends on an epsilon.
    """
    return ", ".join(_described(a) for a in arguments if not isinstance(a, float))


def _described(argument: Any) -> str:
    if isinstance(argument, Tensor):
        sides = ",".join(str(rounded(side)) for side in argument.shape)
        layout = "" if argument.is_contiguous() else " strided"
        return f"{special(argument)}{type_name(argument.dtype)}[{sides}]{layout}"
    if isinstance(argument, tuple | list):
        return f"({bucket(argument)})"
    if isinstance(argument, bool) or not isinstance(argument, int):
        return "-" if argument is None else type_name(argument)
    return str(rounded(argument))


def special(tensor: Tensor) -> str:
    """ "" of a plain tensor; of one that computes in its own way, as `Fp8Weight`, its class."""
    kind = type(tensor)
    return "" if kind is Tensor or kind is torch.nn.Parameter else f"{kind.__name__} "


def type_name(value: Any) -> str:
    """ "bfloat16" of a data type; anything else as it is written."""
    return str(value).removeprefix("torch.")


def rounded(size: int) -> int:
    """The top of the bucket that a size lies in: 1560 -> 1792, 1536 -> 1536."""
    if size <= EXACT:
        return size
    step = 1 << (size.bit_length() - 3)
    return -(-size // step) * step


def each(change: Callable[[Tensor], Tensor], arguments: Sequence[Any]) -> tuple[Any, ...]:
    """The same arguments with every tensor changed, those within tuples too."""

    def changed(argument: Any) -> Any:
        if isinstance(argument, Tensor):
            return change(argument)
        return each(change, argument) if isinstance(argument, tuple | list) else argument

    return tuple(changed(argument) for argument in arguments)


def tensors(arguments: Any) -> Iterator[Tensor]:
    """Every tensor, in order; of one tensor, itself; of None, nothing."""
    if isinstance(arguments, Tensor):
        yield arguments
    elif isinstance(arguments, tuple | list):
        for argument in arguments:
            yield from tensors(argument)


def copied(tensor: Tensor) -> Tensor:
    """A tensor of its own with the same strides, so that what fits one fits the other.

    What is not written is kept: weights, which may have other forms by them (`prepared`), one that
    lies several times in the same place (`expand`), and one that computes in its own way.
    """
    repeated = 0 in tensor.stride() and tensor.numel() > 1
    if isinstance(tensor, torch.nn.Parameter) or special(tensor) or repeated:
        return tensor
    size, kind, device = tensor.shape, tensor.dtype, tensor.device
    # Not an inference tensor, even while inferring: those can be given no other form.
    with torch.inference_mode(False), torch.no_grad():
        own = torch.empty_strided(size, tensor.stride(), dtype=kind, device=device)
        return own.copy_(tensor)


def widened(tensor: Tensor) -> Tensor:
    """Half precision as float32; everything else copied. Quantised values keep their type, as it
    decides what the operation means."""
    return tensor.float() if tensor.dtype in HALVES and not special(tensor) else copied(tensor)
