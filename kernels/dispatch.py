"""One place that chooses which implementation of an operation runs on a device.

Every operation has a PyTorch reference that defines it. A better one for a device type is
registered beside it (`implementation`), and the choice by device type is made once. Where several
may be the fastest, each is a `candidate`; which one runs is measured while warming up, for each
bucket of calls (docs/kernels.md). Tests iterate `TABLE` to hold every way against its reference.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from . import providers
from .chosen import Chosen
from .operation import Candidate, Fits, Operation, fits_always

Function = TypeVar("Function", bound=Callable[..., Any])
TABLE: dict[str, Operation] = {}


def reference(name: str) -> Callable[[Function], Function]:
    """Register the decorated function as the definition of operation `name`."""

    def register(function: Function) -> Function:
        assert name not in TABLE, f"operation {name} is defined twice"
        TABLE[name] = Operation(function)
        return function

    return register


def implementation(name: str, device: str) -> Callable[[Function], Function]:
    """Register the decorated function as what computes `name` on devices of type `device`."""

    def register(function: Function) -> Function:
        TABLE[name].implementations[device] = function
        choose.cache_clear()
        return function

    return register


def candidate(
    op: str, device: str, name: str, fits: Fits = fits_always, library: bool = False
) -> Callable[[Function], Function]:
    """Register the decorated function as one that may turn out the fastest.

    It takes what the reference takes, by position, and must be right for every call that `fits`.
    It need not differentiate: while gradients are on, it is not asked.

    Args:
        fits: "" or the reason why a call cannot be taken, which `millrace bench kernels` shows. It
            looks at types, sizes, strides and options, never at values or addresses, and is asked
            once for all calls that are alike in these.
        library: not a kernel of ours; of equally fast ones it is taken.
    """

    def register(function: Function) -> Function:
        taken = {way.name for way in TABLE[op].ways(device)} | {"native"}
        assert name not in taken, f"{op} has two candidates {name} for {device}"
        rivals = TABLE[op].candidates.setdefault(device, [])
        rivals.append(Candidate(name, function, fits, library))
        choose.cache_clear()
        return function

    return register


@cache
def choose(name: str, device: str) -> Callable[..., Any]:
    """What computes operation `name` on a device type ("cpu", "cuda").

    A processor's is one function. Where there are candidates it chooses again for each bucket of
    calls, by what was measured.
    """
    providers.load(device)
    operation = TABLE[name]
    if device != "cpu" and operation.candidates.get(device):
        return Chosen(name, operation.reference, operation.ways(device))
    return operation.implementations.get(device, operation.reference)


def explain(device: str) -> dict[str, str]:
    """Operation -> name of what runs it on a device type, for `millrace doctor`."""
    return {name: choose(name, device).__name__ for name in sorted(TABLE)}
