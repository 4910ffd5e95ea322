"""A recorder that treats a CPU as CUDA graphs treat a GPU.

It writes down the operations of one run and their tensors. A replay runs the same operations on the
same memory, and none of the Python around them: whatever the run had decided by a value, a list or
a condition is frozen, so that a stage which depends on any of them comes out wrong. Reading a value
while recording raises, as it does on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from millrace.kernels.dispatch import TABLE, choose
from millrace.models.graphs import Recording
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal")


@dataclass(frozen=True)
class Step:
    """One operation: what it was given, and the tensors that its results lie in (None: views)."""

    func: Any
    args: Any
    kwargs: dict[str, Any]
    results: tuple[Tensor | None, ...]

    def again(self) -> None:
        made = pytree.tree_leaves(self.func(*self.args, **self.kwargs))
        for place, value in zip(self.results, made, strict=True):
            if place is not None:
                place.copy_(value)


class Tape(TorchDispatchMode):
    """Writes down what runs while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func._schema.name in READS:
            raise RuntimeError(f"{func._schema.name} is not permitted while recording")
        result = func(*args, **kwargs)
        given = {
            value.untyped_storage()._cdata
            for value in pytree.tree_leaves((args, kwargs))
            if isinstance(value, Tensor)
        }
        leaves = pytree.tree_leaves(result)
        own = tuple(
            value
            if isinstance(value, Tensor) and value.untyped_storage()._cdata not in given
            else None
            for value in leaves
        )
        if any(place is not None for place in own) or func._schema.is_mutable:
            self.steps.append(Step(func, args, kwargs, own))
        return result


@dataclass
class TapeRecorder:
    """See the module. `inside` is true while a recording runs, be it the first time or again."""

    inside: bool = False
    recorded: int = 0
    replays: int = 0
    steps: list[int] = field(default_factory=list)

    def record(self, run: Callable[[], Tensor]) -> Recording:
        run()
        tape = Tape()
        with self._within(), tape:
            output = run()
        self.recorded += 1
        self.steps.append(len(tape.steps))

        def replay() -> None:
            self.replays += 1
            with self._within():
                for step in tape.steps:
                    step.again()

        return Recording(output, replay, tape)

    @contextmanager
    def _within(self) -> Iterator[None]:
        self.inside = True
        try:
            yield
        finally:
            self.inside = False


@contextmanager
def references_only() -> Iterator[None]:
    """Let a CPU compute as a GPU does: by the definitions, which read no value of a tensor. What a
    CPU computes with otherwise does, since there nothing waits."""
    own = {name: operation.implementations.pop("cpu", None) for name, operation in TABLE.items()}
    choose.cache_clear()
    try:
        yield
    finally:
        for name, function in own.items():
            if function is not None:
                TABLE[name].implementations["cpu"] = function
        choose.cache_clear()
