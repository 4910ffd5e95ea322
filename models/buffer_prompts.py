"""The prompts of a moving buffer: one for all chunks in flight, or one for each chunk."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .block import Reading
from .specs import DiTSpec
from .state import State, row_tensor


@dataclass(eq=False)
class FlightPrompts(State):
    """What every chunk in flight is to become, as the network reads it. `slots` is 1, or chunks + 1
    where each chunk keeps the prompt that it entered with: the first is for the next one that
    enters, then from the newest to the oldest. Kept by `reset`: wishes are not the past.

    Attributes:
        text_k, text_v: [layers, rows, slots, text_len, heads, head_dim].
        pooled: [rows, slots, dim].
        last: [rows, slots, channels, width + 1], see `layers.Tail`.
    """

    text_k: Tensor = row_tensor(dim=1, reset=False)
    text_v: Tensor = row_tensor(dim=1, reset=False)
    pooled: Tensor = row_tensor(reset=False)
    last: Tensor = row_tensor(reset=False)

    @staticmethod
    def empty(
        spec: DiTSpec, rows: int, slots: int, device: torch.device | str, dtype: torch.dtype
    ) -> FlightPrompts:
        """Memory for `rows` streams of a network."""
        text = (spec.layers, rows, slots, spec.text_len, spec.heads, spec.head_dim)
        last = (0, 0) if spec.stem is None else (spec.out_channels, spec.stem.width + 1)
        shapes = (text, text, (rows, slots, spec.dim), (rows, slots, *last))
        return FlightPrompts(*(torch.zeros(s, device=device, dtype=dtype) for s in shapes))

    @property
    def slots(self) -> int:
        return self.pooled.shape[1]

    def put(self, rows: Tensor, prompt: Reading, everywhere: bool) -> None:
        """Give rows (int64 [r]) a prompt of r rows: in the first slot, or in all."""
        keys, values = (torch.stack(side) for side in zip(*prompt.text, strict=True))
        given = (keys, values, prompt.pooled, prompt.last)
        for (part, dim), new in zip(self._parts(), given, strict=True):
            slots = self.slots if everywhere else 1
            shape = [*new.shape[: dim + 1], slots, *new.shape[dim + 1 :]]
            wide = new.unsqueeze(dim + 1).expand(shape).to(part.dtype)
            part.narrow(dim + 1, 0, slots).index_copy_(dim, rows, wide)

    def spread(self, rows: Tensor) -> None:
        """Give all chunks of some rows (int64 [r]) the prompt that was put last."""
        for part, dim in self._parts():
            chosen = part.index_select(dim, rows)
            part.index_copy_(dim, rows, chosen.narrow(dim + 1, 0, 1).expand_as(chosen).clone())

    def pass_on(self, left: Tensor) -> None:
        """Where a chunk left (bool [rows]), the one that entered has the prompt of the first slot,
        and so on."""
        if self.slots == 1:
            return
        for part, dim in self._parts():
            older = part.narrow(dim + 1, 0, self.slots - 1)
            moved = torch.cat((part.narrow(dim + 1, 0, 1), older), dim + 1)
            shape = [1] * part.dim()
            shape[dim] = -1
            part.copy_(torch.where(left.view(shape), moved, part))

    def reading(self, slots: Tensor) -> Reading:
        """The prompts of these slots (int64 [n]) of every row, as rows * n rows."""
        key, value, pooled, last = (
            part.index_select(dim + 1, slots).flatten(dim, dim + 1) for part, dim in self._parts()
        )
        return Reading(list(zip(key.unbind(0), value.unbind(0), strict=True)), pooled, last)

    def _parts(self) -> tuple[tuple[Tensor, int], ...]:
        """The tensors, and which dimension counts the rows; the next one counts the slots."""
        return (self.text_k, 1), (self.text_v, 1), (self.pooled, 0), (self.last, 0)


def beside(prompts: Reading, one: Reading) -> Reading:
    """Prompts, and below each of them the `one` (of one row)."""

    def both(some: Tensor, other: Tensor) -> Tensor:
        return torch.cat((some, other.to(some.dtype).expand_as(some)))

    text = [
        (both(key, other_key), both(value, other_value))
        for (key, value), (other_key, other_value) in zip(prompts.text, one.text, strict=True)
    ]
    return Reading(text, both(prompts.pooled, one.pooled), both(prompts.last, one.last))
