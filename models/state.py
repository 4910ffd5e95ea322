"""`State`: all memory that a stream has inside a model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import torch
from torch import Tensor


def row_tensor(dim: int = 0, reset: bool = True) -> Any:
    """A dataclass field that holds one tensor of a `State`.

    Args:
        dim: which dimension counts the rows.
        reset: zero the row when it is reset. False for memory that a counter makes invisible, and
            for what belongs to a viewer's wishes and not to the past (the prompt).
    """
    return field(metadata={"row_dim": dim, "reset": reset})


@dataclass(eq=False)
class State:
    """Per-stream memory as a tree of tensors: allocated once, written in place, never rebound.

    Subclasses are dataclasses whose tensor fields are declared with `row_tensor` and whose other
    fields may be nested States, lists or tuples of them, or plain settings. A row belongs to one
    stream (or one noise level of it); rows never read each other.
    """

    def children(self) -> Iterator[State]:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, State):
                yield value
            elif isinstance(value, (list, tuple)):
                yield from (entry for entry in value if isinstance(entry, State))

    def own_tensors(self) -> Iterator[tuple[str, Tensor, int, bool]]:
        """(name, tensor, row dimension, zeroed by reset) of this node alone."""
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Tensor):
                assert "row_dim" in item.metadata, f"declare {item.name} with row_tensor()"
                yield item.name, value, item.metadata["row_dim"], item.metadata["reset"]

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor of the tree, in a fixed order."""
        for _, tensor, _, _ in self.own_tensors():
            yield tensor
        for child in self.children():
            yield from child.tensors()

    @property
    def nbytes(self) -> int:
        """Bytes held by the whole tree."""
        return sum(tensor.nbytes for tensor in self.tensors())

    def reset(self, mask: Tensor) -> None:
        """Forget the past of the rows where `mask` (bool [rows]) is true; others stay as they are.

        Afterwards such a row behaves as a row of a new state.
        """
        for _, tensor, dim, zeroed in self.own_tensors():
            if zeroed:
                shape = [1] * tensor.dim()
                shape[dim] = -1
                tensor.masked_fill_(mask.view(shape), 0)
        for child in self.children():
            child.reset(mask)

    def rows(self, start: int, stop: int) -> Self:
        """Rows start .. stop - 1 as a state of their own that shares the memory of this one."""
        return self._mapped(lambda tensor, dim: tensor.narrow(dim, start, stop - start))

    def gather(self, rows: Sequence[int]) -> Self:
        """Copies of some rows as a state of their own; `copy_rows` brings them back."""
        # Joined and not indexed, because that keeps the layout (channels last, say).
        return self._mapped(
            lambda tensor, dim: torch.cat([tensor.narrow(dim, row, 1) for row in rows], dim)
        )

    def _mapped(self, change: Callable[[Tensor, int], Tensor]) -> Self:
        """A state of the same kind with each tensor changed, given it and its row dimension."""
        part = copy.copy(self)
        for name, tensor, dim, _ in self.own_tensors():
            setattr(part, name, change(tensor, dim))
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, State):
                setattr(part, item.name, value._mapped(change))
            elif isinstance(value, (list, tuple)):
                cut = (e._mapped(change) if isinstance(e, State) else e for e in value)
                setattr(part, item.name, type(value)(cut))
        return part

    def copy_rows(self, src: Tensor, dst: Tensor, source: State | None = None) -> None:
        """Copy rows `src` (int64 [n]) over rows `dst` (int64 [n]), of `source` or of this state.

        `source` is a state of the same kind and sizes, rows apart.
        """
        giver = self if source is None else source
        pairs = zip(giver.own_tensors(), self.own_tensors(), strict=True)
        for (_, old, dim, _), (_, new, _, _) in pairs:
            new.index_copy_(dim, dst, old.index_select(dim, src))
        for theirs, mine in zip(giver.children(), self.children(), strict=True):
            mine.copy_rows(src, dst, theirs)
