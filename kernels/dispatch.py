"""One place that chooses which implementation of an operation runs on a device.

Every operation has a PyTorch reference that defines it. Faster ones are registered beside it for a
device type; the choice is made once per (operation, device type) and `explain()` tells it.
Tests iterate `TABLE` to hold every implementation against its reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass
class Operation:
    """The definition of an operation and what else computes it, by device type."""

    reference: Callable[..., Any]
    implementations: dict[str, Callable[..., Any]] = field(default_factory=dict)


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
