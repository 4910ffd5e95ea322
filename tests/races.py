"""Queues that run nothing at once but know what could: whoever reads or writes memory without
having waited for those who wrote or read it before is found, however they would have been timed.

Each queue has a vector clock (Lamport 1978; Fidge 1988): how far it knows every queue to have come.
Waiting for a queue takes over what that one knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from millrace.streaming.queues import AFTER, Queue
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

CALLER = "caller"


class Race(AssertionError):
    """Two queues that meet at the same memory and do not wait for each other."""


class ClockedQueues:
    """The rules of `SideBySide`, as clocks.

    Attributes:
        now: the queue that work goes to.
        waits: who waited for whom, in order.
        handed: memory that a queue besides its own may read, by its number.
    """

    def __init__(self) -> None:
        names = (CALLER, *AFTER)
        self.clocks: dict[str, dict[str, int]] = {name: dict.fromkeys(names, 0) for name in names}
        self.now: str = CALLER
        self.waits: list[tuple[str, str]] = []
        self.handed: dict[int, set[str]] = {}

    def wait(self, who: str, whom: str) -> None:
        self.waits.append((who, whom))
        own, other = self.clocks[who], self.clocks[whom]
        self.clocks[who] = {name: max(own[name], other[name]) for name in own}

    @contextmanager
    def on(self, name: Queue, *reads: Tensor) -> Iterator[None]:
        for before in AFTER[name]:
            self.wait(name, before)
        for tensor in reads:
            self.handed.setdefault(tensor.untyped_storage()._cdata, set()).add(name)
        outer, self.now = self.now, name
        try:
            yield
        finally:
            self.now = outer

    def settle(self, *made: Tensor) -> None:
        for name in AFTER:
            self.wait(name, self.now)
        for tensor in made:
            self.handed.setdefault(tensor.untyped_storage()._cdata, set()).update(AFTER)

    def join(self) -> None:
        for name in AFTER:
            self.wait(self.now, name)


@dataclass
class History:
    """Who touched a piece of memory, and when by their own clock.

    Attributes:
        storage: held, so that no other memory gets its number.
        made: the queue that it was taken on; None for what was there before.
        wrote: by queue, the last write; read: the last read.
    """

    storage: torch.UntypedStorage
    made: str | None
    wrote: dict[str, int] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)


class RaceDetector(TorchDispatchMode):
    """Looks at every operation of the model while it is on."""

    def __init__(self, queues: ClockedQueues) -> None:
        super().__init__()
        self._queues = queues
        self._known: dict[int, History] = {}
        self.crossings = 0
        """Reads of what another queue has made or written."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given = _tensors((args, kwargs))
        numbers = {tensor.untyped_storage()._cdata for tensor in given}
        made = [t for t in _tensors(result) if t.untyped_storage()._cdata not in numbers]
        if not made and not func._schema.is_mutable:
            return result  # a view: nothing is read
        name = self._queues.now
        self._queues.clocks[name][name] += 1
        written = _written(func, args, kwargs)
        for tensor in given:
            self._touch(func, tensor, tensor.untyped_storage()._cdata in written)
        for tensor in made:
            self._history(tensor, name).wrote[name] = self._queues.clocks[name][name]
        return result

    def _history(self, tensor: Tensor, made: str | None = None) -> History:
        storage = tensor.untyped_storage()
        return self._known.setdefault(storage._cdata, History(storage, made))

    def _touch(self, func: Any, tensor: Tensor, writes: bool) -> None:
        queues, name = self._queues, self._queues.now
        history, clock = self._history(tensor), queues.clocks[name]
        shape = tuple(tensor.shape)
        for other, time in history.wrote.items():
            self.crossings += other != name
            if clock[other] < time:
                raise Race(f"{name}: {func} on {shape}, which {other} writes")
        if writes:
            for other, time in history.read.items():
                if clock[other] < time:
                    raise Race(f"{name}: {func} writes {shape}, which {other} reads")
            history.wrote[name] = clock[name]
        else:
            history.read[name] = clock[name]
        handed = queues.handed.get(tensor.untyped_storage()._cdata, set())
        if history.made not in (None, name) and name not in handed:
            raise Race(f"{name}: {func} on {shape} of {history.made}, which may give it away")


def _tensors(tree: Any) -> list[Tensor]:
    return [value for value in pytree.tree_leaves(tree) if isinstance(value, Tensor)]


def _written(func: Any, args: Any, kwargs: dict[str, Any]) -> set[int]:
    """Numbers of the storages that an operation writes."""
    found: set[int] = set()
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            found |= {tensor.untyped_storage()._cdata for tensor in _tensors(value)}
    return found
