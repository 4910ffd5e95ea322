"""`KVArena`: keys and values of all streams of a device, in slots of one token each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .grouped import grouped_attention
from .rotary import rotate, text_turns, wide
from .specs import TextSpec

Slots = NDArray[np.int64]


class ArenaFull(RuntimeError):
    """There are too few free slots; nothing was written. Evict or close something, or give more."""


class KVArena:
    """Memory for a fixed number of tokens, allocated once, of which streams share slots.

    A slot's key lies there twice: raw, which is never changed, and rotated to the place at which it
    stands now. Rotating always begins at the raw key, so that rounding does not add up. Slots are
    counted by the host; which are taken depends on the calls alone, in their order.

    Attributes:
        raw, rotated, value: [layers, slots + 1, kv_heads, head_dim]; the last slot is `spare`.
        inputs: [slots + 1, dim], what each token went in as; None unless asked for.
        places: float64 [3, slots], where each slot's rotated key stands; on the host.
        counts: int32 [slots], streams that hold each slot; on the host.
    """

    def __init__(
        self,
        spec: TextSpec,
        slots: int,
        device: torch.device | str,
        dtype: torch.dtype,
        inputs: bool = False,
    ) -> None:
        if slots < 1:
            raise ValueError(f"an arena of {slots} slots holds nothing")
        shape = (spec.layers, slots + 1, spec.kv_heads, spec.head_dim)
        # Zeros and not garbage: a slot that is masked out must still be finite.
        self.raw, self.rotated, self.value = (
            torch.zeros(shape, device=device, dtype=dtype) for _ in range(3)
        )
        self.inputs = (
            torch.zeros(slots + 1, spec.dim, device=device, dtype=dtype) if inputs else None
        )
        self.spec = spec
        self.slots = slots
        self.places = np.full((3, slots), np.nan)
        self.counts = np.zeros(slots, np.int32)
        self._stack = np.arange(slots, dtype=np.int64)[::-1].copy()
        self._left = slots

    @property
    def free(self) -> int:
        """Slots that nobody holds."""
        return self._left

    @property
    def spare(self) -> int:
        """A slot that belongs to nobody: for rows that only fill a batch."""
        return self.slots

    @property
    def device(self) -> torch.device:
        return self.value.device

    @property
    def nbytes(self) -> int:
        """Bytes of tensors and tables together; never changes."""
        pools = [self.raw, self.rotated, self.value]
        held = pools if self.inputs is None else [*pools, self.inputs]
        tables = (self.places, self.counts, self._stack)
        return sum(pool.nbytes for pool in held) + sum(part.nbytes for part in tables)

    def require(self, count: int) -> None:
        """Raise ArenaFull unless `count` slots are free."""
        if count > self._left:
            raise ArenaFull(
                f"{count} more tokens do not fit: {self._left} of {self.slots} slots are free; "
                "keep less of a stream, close one, or give the arena more slots"
            )

    def take(self, count: int) -> Slots:
        """Slots for `count` tokens, held once.

        Raises:
            ArenaFull: there are fewer.
        """
        self.require(count)
        self._left -= count
        taken = self._stack[self._left : self._left + count][::-1].copy()
        self.counts[taken] = 1
        return taken

    def share(self, slots: Slots) -> None:
        """One more stream holds these slots; no slot twice."""
        self.counts[slots] += 1

    def drop(self, slots: Slots) -> None:
        """One stream less holds these slots; those that nobody holds are free again."""
        self.counts[slots] -= 1
        empty = slots[self.counts[slots] == 0]
        self._stack[self._left : self._left + len(empty)] = empty[::-1]
        self._left += len(empty)

    def index(self, slots: Slots) -> Tensor:
        """Slots as a tensor that indexes the pools."""
        return torch.from_numpy(slots).to(self.device)

    def turns(self, places: NDArray[np.float64]) -> Tensor:
        """Rotation by places [3, ...]."""
        at = torch.from_numpy(np.ascontiguousarray(places)).to(self.device)
        return text_turns(at, self.spec, wide(self.value.dtype))

    def move(self, slots: Slots, places: NDArray[np.float64]) -> None:
        """Rotate the keys of slots anew, from raw, to stand at places [3, n]."""
        index = self.index(slots)
        turn = self.turns(places)
        for raw, rotated in zip(self.raw, self.rotated, strict=True):
            rotated.index_copy_(0, index, rotate(raw.index_select(0, index), turn))
        self.places[:, slots] = places

    def copy(self, source: Slots, target: Slots) -> None:
        """Give slots the tokens of others; their keys are not rotated yet."""
        old, new = self.index(source), self.index(target)
        for pool in (*self.raw, *self.value, *([] if self.inputs is None else [self.inputs])):
            pool.index_copy_(0, new, pool.index_select(0, old))
        self.places[:, target] = np.nan

    def read(self, slots: Slots) -> tuple[Tensor, Tensor]:
        """Copies of raw keys and values, [layers, n, kv_heads, head_dim]."""
        index = self.index(slots)
        return self.raw.index_select(1, index), self.value.index_select(1, index)

    def write(self, slots: Slots, keys: Tensor, values: Tensor) -> None:
        """Raw keys and values into slots; the keys are not rotated yet."""
        index = self.index(slots)
        self.raw.index_copy_(1, index, keys.to(self.raw))
        self.value.index_copy_(1, index, values.to(self.value))
        self.places[:, slots] = np.nan


@dataclass(frozen=True, slots=True)
class Reach:
    """What the tokens of one pass see of an arena (a `Past`).

    Attributes:
        turn: rotation of the new tokens, [n, 1, 2, head_dim].
        new: int64 [n], slots of the new tokens, stream after stream.
        keys: int64 [rows, keys], slots that each stream holds, its new ones last; then anything.
        mask: bool [rows, 1, queries, keys], which of them each new token sees.
        lines: int64 [rows, queries], each stream's new tokens; then anything. None where all have
            as many.
        back: int64 [n], where each new token is among rows * queries; None likewise.
    """

    arena: KVArena
    turn: Tensor
    new: Tensor
    keys: Tensor
    mask: Tensor
    lines: Tensor | None = None
    back: Tensor | None = None

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        arena, (rows, count) = self.arena, self.keys.shape
        turned = rotate(torch.cat((query, key), 1), self.turn)
        query, rotated = turned.split((query.shape[1], key.shape[1]), 1)
        arena.raw[layer].index_copy_(0, self.new, key)
        arena.rotated[layer].index_copy_(0, self.new, rotated)
        arena.value[layer].index_copy_(0, self.new, value)
        seen = self.keys.view(-1)
        keys = arena.rotated[layer].index_select(0, seen).unflatten(0, (rows, count))
        values = arena.value[layer].index_select(0, seen).unflatten(0, (rows, count))
        if self.lines is None:
            queries = query.unflatten(0, (rows, -1))
        else:
            queries = query[self.lines]
        out = grouped_attention(queries, keys, values, self.mask).flatten(0, 1)
        return out if self.back is None else out[self.back]


def reach(arena: KVArena, places: NDArray[np.float64], rows: Sequence[tuple[Slots, int]]) -> Reach:
    """What streams see that add tokens.

    Args:
        places: [3, n], of all new tokens, stream after stream.
        rows: all slots of each stream, the new ones last; and how many of them are new.
    """
    most_new = max(new for _, new in rows)
    most = max(len(slots) for slots, _ in rows)
    keys = np.zeros((len(rows), most), np.int64)
    lines = np.zeros((len(rows), most_new), np.int64)
    before = np.zeros(len(rows), np.int64)
    back, new_slots, first = [], [], 0
    for row, (slots, new) in enumerate(rows):
        keys[row, : len(slots)] = slots
        lines[row, :new] = np.arange(first, first + new)
        before[row] = len(slots) - new
        back.append(np.arange(new) + row * most_new)
        new_slots.append(slots[before[row] :])
        first += new
    even = all(new == most_new for _, new in rows)
    return Reach(
        arena=arena,
        turn=arena.turns(places),
        new=arena.index(np.concatenate(new_slots)),
        keys=arena.index(keys),
        mask=_mask(arena.index(before), most_new, most),
        lines=None if even else arena.index(lines),
        back=None if even else arena.index(np.concatenate(back)),
    )


def _mask(before: Tensor, queries: int, keys: int) -> Tensor:
    """Each new token sees what was there before and the new ones up to itself; the lines that only
    fill see something as well, as a softmax over nothing is no number. bool [rows, 1, q, keys]."""
    last = before[:, None] + torch.arange(queries, device=before.device)
    return torch.arange(keys, device=before.device) <= last[:, None, :, None]
