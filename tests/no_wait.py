"""Stands in for a GPU where there is none: what would make the host wait for it raises.

Meta tensors have a device of their own, which runs the references, and no values: whatever reads
one raises already. What is left are copies between the host and the device, and tensors that are
made of the host's numbers on the device, which PyTorch copies from pageable memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("meta")
MAKERS = {torch.tensor, torch.as_tensor, torch.asarray, torch.scalar_tensor, Tensor.new_tensor}
READERS = {"_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal", "_unique2"}


class Waits(AssertionError):
    """Something that would wait for the device."""


def _flat(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _flat(value)
    elif isinstance(values, Sequence) and not isinstance(values, str):
        for value in values:
            yield from _flat(value)


class _Operations(TorchDispatchMode):
    """Refuses copies that wait, and reads of values."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, kwargs = func._schema.name.removeprefix("aten::"), kwargs or {}
        given = list(_flat((args, kwargs)))
        there = [tensor for tensor in given if tensor.device == DEVICE]
        if name in READERS and there:
            raise Waits(f"{name} reads a value of the device")
        if name.startswith("index") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8)
            for index in (args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ())
            if isinstance(index, Tensor)
        ):
            raise Waits(f"{name} by a mask asks how many entries are true")
        result = func(*args, **kwargs)
        self._check_copy(name, given, args, kwargs, result)
        return result

    def _check_copy(
        self, name: str, given: list[Tensor], args: Any, kwargs: dict[str, Any], result: Any
    ) -> None:
        if name not in ("_to_copy", "copy_"):
            return
        target = result if name == "_to_copy" else given[0]
        source = given[0] if name == "_to_copy" else given[1]
        waits = not (kwargs.get("non_blocking") or (name == "copy_" and True in args[2:]))
        if source.device != target.device and DEVICE in (source.device, target.device):
            if target.device != DEVICE or waits:
                raise Waits(f"a copy from {source.device} to {target.device} waits")


class _Makers(TorchFunctionMode):
    """Refuses tensors that are made of the host's numbers on the device."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in MAKERS and isinstance(result, Tensor) and result.device == DEVICE:
            data = args[1] if func is Tensor.new_tensor else args[0]
            if not isinstance(data, Tensor):
                raise Waits(f"{func.__name__} copies numbers of the host")
        return result


@contextmanager
def no_wait() -> Iterator[None]:
    """While this lasts, nothing may wait for the device."""
    with _Makers(), _Operations():
        yield
