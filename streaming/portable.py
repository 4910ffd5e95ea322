"""What the built-in pipeline remembers of one stream, as plain arrays and back.

All rows of the stream's slot in every state of its bank, and the few numbers beside them. What can
be made again from the viewer's wishes, the prompt's embedding, is not among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..models.state import State
from .banks import Bank

Arrays = Mapping[str, npt.NDArray[Any]]


def to_array(tensor: Tensor) -> npt.NDArray[Any]:
    """A copy in the host's memory, bit for bit; bfloat16, which numpy lacks, as whole numbers."""
    own = tensor.detach().cpu()
    if own.dtype == torch.bfloat16:
        own = own.view(torch.int16)
    # In the order of its dimensions, whatever its layout in memory was.
    return np.array(own.numpy(), order="C", copy=True)


def put_array(array: npt.NDArray[Any], tensor: Tensor) -> None:
    """Write what `to_array` gave into a tensor of the same shape and type.

    Raises:
        ValueError: the shapes differ: it was another model.
    """
    if array.shape != tuple(tensor.shape):
        raise ValueError(f"saved {list(array.shape)}, this model has {list(tensor.shape)}")
    given = torch.from_numpy(array)
    tensor.copy_(given.view(torch.bfloat16) if tensor.dtype == torch.bfloat16 else given)


def rows_of(bank: Bank, slot: int) -> Iterator[tuple[str, Tensor]]:
    """All that a bank holds of one slot with nothing in flight, by name; views to be written."""
    levels = bank.lanes.levels
    parts: tuple[tuple[str, State], ...] = (
        ("lanes", bank.lanes.state.rows(slot * levels, (slot + 1) * levels)),
        ("codec", bank.memory.rows(slot, slot + 1)),
    )
    for name, state in parts:
        for number, tensor in enumerate(state.tensors()):
            yield f"{name}/{number}", tensor


def save_rows(bank: Bank, slot: int) -> dict[str, npt.NDArray[Any]]:
    """The slot's rows, and which chunks its lanes have passed."""
    arrays = {name: to_array(tensor) for name, tensor in rows_of(bank, slot)}
    levels = bank.lanes.levels
    recent = bank.lanes.recent[slot * levels : (slot + 1) * levels]
    return {**arrays, "recent": np.array(recent, np.int64)}


def load_rows(bank: Bank, slot: int, arrays: Arrays) -> None:
    """Put back what `save_rows` gave, into any slot of a bank of the same size."""
    for name, tensor in rows_of(bank, slot):
        put_array(arrays[name], tensor)
    first = slot * bank.lanes.levels
    for level, (before, last) in enumerate(arrays["recent"].tolist()):
        bank.lanes.recent[first + level] = (before, last)
