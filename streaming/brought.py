"""What a pass needs on the device, made there or brought there once: bringing a number to a device
waits for all that the device has to do."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache, partial
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ..kernels import gaussian_noise
from ..models.bring import bring
from .queues import queue_of

Key = TypeVar("Key", bound=Hashable)
COMBINATIONS = 256
"""Of row numbers that are kept; few come again and again."""


class Kept(Generic[Key]):
    """Tensors by key, at most so many; the oldest goes first."""

    def __init__(self, most: int) -> None:
        self.tensors: dict[Key, Tensor] = {}
        self._most = most

    def get(self, key: Key, make: Callable[[], Tensor]) -> Tensor:
        if key not in self.tensors:
            if len(self.tensors) >= self._most:
                self.tensors.pop(next(iter(self.tensors)))
            self.tensors[key] = make()
        return self.tensors[key]


class Numbers:
    """Tuples of whole numbers as int64 tensors."""

    def __init__(self, device: torch.device) -> None:
        self._kept = Kept[tuple[int, ...]](COMBINATIONS)
        self._device = device

    def of(self, numbers: tuple[int, ...]) -> Tensor:
        """[n], not to be written."""
        # Each queue its own: another one would not know when they have come.
        key = (queue_of(self._device), *numbers)
        return self._kept.get(key, lambda: self._bring(numbers))

    def _bring(self, numbers: tuple[int, ...]) -> Tensor:
        with torch.inference_mode(False):
            return bring(torch.tensor(numbers), self._device)


@lru_cache(maxsize=8)
def numbers_on(device: torch.device) -> Numbers:
    """The numbers that are kept on a device."""
    return Numbers(device)


class Shares:
    """Single numbers as scalar tensors: shares of noise, and what a model is told of them."""

    def __init__(self, device: torch.device) -> None:
        self._kept = Kept[tuple[int, float]](COMBINATIONS)
        self._device = device

    def of(self, number: float | Tensor) -> Tensor:
        """float64, not to be written; whoever computes with it takes it in the type of the rest.
        What is a tensor already stays as it is."""
        if isinstance(number, Tensor):
            return number
        key = (queue_of(self._device), number)
        return self._kept.get(key, lambda: self._bring(number))

    def _bring(self, number: float) -> Tensor:
        with torch.inference_mode(False):
            return bring(torch.tensor(number, dtype=torch.float64), self._device)


@lru_cache(maxsize=8)
def shares_on(device: torch.device) -> Shares:
    """The shares that are kept on a device."""
    return Shares(device)


class Noises:
    """Noise by (seed, chunk, level), channels last. One that does not change from chunk to chunk is
    worth keeping: it takes longer to make than a transformer block."""

    def __init__(self, most: int, device: torch.device) -> None:
        self.kept = Kept[tuple[int, int, int]](most)
        self._device = device

    def of(self, key: tuple[int, int, int], shape: tuple[int, ...]) -> Tensor:
        """float32 [c, C, h, w], not to be written."""
        return self.kept.get(key, lambda: self._make(key, shape))

    def _make(self, key: tuple[int, int, int], shape: tuple[int, ...]) -> Tensor:
        full = partial(torch.full, (), dtype=torch.int64, device=self._device)
        seed, chunk, level = (full(fill_value=word) for word in key)
        noise = gaussian_noise(seed, chunk, level, shape, self._device, torch.float32)
        return noise.contiguous(memory_format=torch.channels_last)
