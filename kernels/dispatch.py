"""One place that chooses which implementation of an operation runs on a device.

Every operation has a PyTorch reference that defines it. A better one for a device type is
registered beside it (`implementation`); where several may be the fastest, each is a `candidate`.
The choice by device type is made once, and `explain()` tells it. Tests iterate `TABLE` to hold
every implementation against its reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
Fits = Callable[..., str]
"""Takes a call's arguments; "" or the reason why this call cannot be taken."""


def fits_always(*arguments: Any) -> str:
    """Every call can be taken."""
    return ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to compute an operation on a device type.

    Attributes:
        name: "triton", "sdpa-cudnn": short, unique within (operation, device type).
        run: the same arguments as the reference, by position.
        fits: "" or the reason why a call cannot be taken (data type, stride, size).
        library: not a kernel of ours; of equally fast ones it is taken.
    """

    name: str
    run: Callable[..., Any]
    fits: Fits = fits_always
    library: bool = False


@dataclass
class Operation:
    """The definition of an operation and what else computes it, by device type."""

    reference: Callable[..., Any]
    implementations: dict[str, Callable[..., Any]] = field(default_factory=dict)
    candidates: dict[str, list[Candidate]] = field(default_factory=dict)


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
        fits: "" or the reason why this call cannot be taken, which `millrace bench kernels` shows.
            Asked before each call: it looks at types, sizes and strides, never at values.
        library: not a kernel of ours; of equally fast ones it is taken.
    """

    def register(function: Function) -> Function:
        rivals = TABLE[op].candidates.setdefault(device, [])
        assert name not in {rival.name for rival in rivals}, f"{op} has two candidates {name}"
        rivals.append(Candidate(name, function, fits, library))
        choose.cache_clear()
        return function

    return register


@cache
def choose(name: str, device: str) -> Callable[..., Any]:
    """The function that computes operation `name` on a device type ("cpu", "cuda")."""
    operation = TABLE[name]
    return operation.implementations.get(device, operation.reference)


def explain(device: str) -> dict[str, str]:
    """Operation -> name of the function that runs it on a device type, for `millrace doctor`."""
    return {name: choose(name, device).__name__ for name in sorted(TABLE)}
