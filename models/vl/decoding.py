"""One token of each of some streams: a function of device tensors alone, and its CUDA graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .arena import KVArena, Reach
from .decoder import Decoder
from .positions import Places
from .rotary import text_turns, wide
from .table import Slots

ROWS = (1, 2, 4, 8, 16, 32, 64)
"""Streams of a captured step; others take the next larger size."""
SHORTEST = 256
"""Keys of the smallest captured step; each further size is half as large again or so."""


@dataclass(frozen=True, slots=True)
class Feed:
    """What a step is told, in tensors of one device.

    Attributes:
        ids: int64 [rows].
        places: float64 [3, rows].
        new: int64 [rows], slot of each new token.
        keys: int64 [rows, keys], slots that each row sees, its new one last; then anything.
        lengths: int64 [rows], how many of them.
    """

    ids: Tensor
    places: Tensor
    new: Tensor
    keys: Tensor
    lengths: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        return self.ids, self.places, self.new, self.keys, self.lengths


def feed(
    ids: Sequence[int], places: Places, lines: Sequence[Slots], rows: int, keys: int, spare: int
) -> Feed:
    """A step of `rows` streams over at most `keys` keys, on the host; rows beyond the given ones
    write into slot `spare` and see nothing else.

    Args:
        places: [3, n].
        lines: slots of each stream, the new one last.
    """
    count = len(lines)
    table = np.full((rows, keys), spare, np.int64)
    for row, slots in enumerate(lines):
        table[row, : len(slots)] = slots
    lengths = np.ones(rows, np.int64)
    lengths[:count] = [len(slots) for slots in lines]
    new = np.full(rows, spare, np.int64)
    new[:count] = [slots[-1] for slots in lines]
    tokens, at = np.zeros(rows, np.int64), np.zeros((3, rows))
    tokens[:count], at[:, :count] = ids, places
    parts = (torch.from_numpy(part) for part in (tokens, at, new, table, lengths))
    return Feed(*parts)


def decode(text: Decoder, arena: KVArena, given: Feed) -> Tensor:
    """Write one token of each row and say what follows: logits [rows, vocab].

    Nothing is asked back from the device, so that a graph can hold it.
    """
    slots = torch.arange(given.keys.shape[1], device=given.ids.device)
    seen = slots < given.lengths[:, None]
    embeds = text.embed(given.ids)
    if arena.inputs is not None:
        arena.inputs.index_copy_(0, given.new, embeds)
    past = Reach(
        arena=arena,
        turn=text_turns(given.places, text.spec, wide(embeds.dtype)),
        new=given.new,
        keys=given.keys,
        mask=seen[:, None, None, :],
    )
    return text.logits(text.extend(embeds, past))


def bucket(keys: int) -> int:
    """The number of keys that a captured step for this many has: 2^k or 3 * 2^(k - 1)."""
    size = SHORTEST
    while size < keys:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size
