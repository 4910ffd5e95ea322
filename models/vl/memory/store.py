"""`ArchiveStore`: what left the cache, within a number of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .archive import Entry
from .sizes import ArchiveSizes


class Index(Protocol):
    """What is known of an entry for finding it again."""

    @property
    def nbytes(self) -> int: ...


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """An entry of the archive.

    Attributes:
        number: how many came before it.
        entry: with keys and values of its own memory.
        index: what the store's `index` made of it, or None.
        nbytes: all that it holds.
    """

    number: int
    entry: Entry
    index: Index | None
    nbytes: int

    @property
    def time(self) -> float:
        return self.entry.segment.time

    @property
    def picture(self) -> bool:
        return self.entry.segment.kind == "vision"

    @property
    def length(self) -> int:
        return self.entry.segment.length


def in_order(kept: Iterable[Kept]) -> list[Entry]:
    """Entries as they stood in the stream, whenever each of them arrived."""

    def place(item: Kept) -> tuple[float, int, int, int]:
        segment = item.entry.segment
        return segment.time, segment.turn, segment.index, item.number

    return [item.entry for item in sorted(kept, key=place)]


class ArchiveStore:
    """Keeps entries within `max_bytes`.

    What leaves when it is full: pictures thin out, the one first that leaves the smallest gap for
    its age, so that the past gets coarser the further back it lies; the first and the newest stay.
    Words are small and say more: they leave only once they take more than `words_share` of all
    bytes or no picture is left, the oldest first. An entry that is larger than the store is not
    taken.
    """

    def __init__(
        self,
        sizes: ArchiveSizes,
        index: Callable[[Entry], Index | None] | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        """
        Args:
            index: made of each entry as it comes, and counted.
            dtype: of the stored keys and values of models that have a wider one (bfloat16 or
                float16 halve a float32 model's); None for the model's own.
            device: where they lie; None for the model's own.
        """
        self.sizes = sizes
        self._make_index = index
        self._dtype, self._device = dtype, device
        self._pictures: list[Kept] = []
        self._words: list[Kept] = []
        self._arrived = 0
        self._picture_bytes = self._word_bytes = 0
        self.dropped = 0
        """Entries that had to leave, or were too large to come."""

    @property
    def nbytes(self) -> int:
        return self._picture_bytes + self._word_bytes

    @property
    def kept(self) -> Sequence[Kept]:
        """All that is there, by time."""
        return sorted([*self._pictures, *self._words], key=lambda item: (item.time, item.number))

    @property
    def pictures(self) -> Sequence[Kept]:
        """By time."""
        return self._pictures

    @property
    def words(self) -> Sequence[Kept]:
        """By time."""
        return self._words

    def add(self, entries: Sequence[Entry]) -> None:
        """Take what left the cache, and let go of what no longer fits."""
        for entry in entries:
            if entry.segment.length:
                self._take(entry)
        while self.nbytes > self.sizes.max_bytes:
            self._drop()

    def _take(self, entry: Entry) -> None:
        # A copy even in the same type: a slice would keep alive whatever it was cut from.
        own = replace(entry, keys=self._own(entry.keys), values=self._own(entry.values))
        index = None if self._make_index is None else self._make_index(own)
        segment = own.segment
        host = segment.slots.nbytes + segment.ids.nbytes + segment.offsets.nbytes
        size = own.keys.nbytes + own.values.nbytes + host + (index.nbytes if index else 0)
        item = Kept(self._arrived, own, index, size)
        self._arrived += 1
        if size > self.sizes.max_bytes:
            self.dropped += 1
            return
        _insert(self._pictures if item.picture else self._words, item)
        if item.picture:
            self._picture_bytes += size
        else:
            self._word_bytes += size

    def _own(self, tensor: Tensor) -> Tensor:
        narrow = self._dtype is not None and self._dtype.itemsize < tensor.dtype.itemsize
        dtype = self._dtype if narrow else tensor.dtype
        return tensor.to(device=self._device, dtype=dtype, copy=True)

    def _drop(self) -> None:
        self.dropped += 1
        crowded = self._word_bytes > self.sizes.words_share * self.sizes.max_bytes
        if self._words and (crowded or not self._pictures):
            self._word_bytes -= self._words.pop(0).nbytes
            return
        item = self._pictures.pop(_least_missed([item.time for item in self._pictures]))
        self._picture_bytes -= item.nbytes


def _insert(items: list[Kept], item: Kept) -> None:
    """Put `item` where it stands in time; nearly always at the end."""
    place = len(items)
    while place and items[place - 1].time > item.time:
        place -= 1
    items.insert(place, item)


def _least_missed(times: Sequence[float]) -> int:
    """Which of the sorted times leaves the smallest gap in proportion to its age."""
    if len(times) < 3:
        return 0
    seconds = np.array(times)
    gaps = seconds[2:] - seconds[:-2]
    ages = seconds[-1] - seconds[1:-1]
    return 1 + int(np.argmin(gaps / (ages + 1.0)))
