"""What the calls of a model are sized by, and how operations are given samples of theirs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .rope import turns


@dataclass(frozen=True, slots=True)
class Work:
    """One pass of a transformer over a chunk, and the picture that it belongs to.

    Attributes:
        rows: streams in the batch.
        frames: latent frames of a chunk.
        grid: height and width of a frame in tokens.
        dim, inner, heads: width of the transformer, of its MLP, and number of heads.
        texts: tokens of a prompt.
        sinks, slots: of the ring; a chunk's own slots among them.
        channels: of a convolution at the resolution of the latents.
        latent: channels, height and width of a latent frame.
        picture: height and width in pixels.
        dtype, device: of weights and activations.
    """

    rows: int
    frames: int
    grid: tuple[int, int]
    dim: int
    inner: int
    heads: int
    texts: int
    sinks: int
    slots: int
    channels: int
    latent: tuple[int, int, int]
    picture: tuple[int, int]
    dtype: torch.dtype
    device: torch.device

    @property
    def tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads


@dataclass(frozen=True, slots=True)
class Sample:
    """One call.

    Attributes:
        op: the operation.
        label: which of the calls of a pass this is.
        arguments: of the reference, by position.
        flops: two for each multiplication and its addition in products; 0 where there are none.
        moved: least bytes over the memory bus; None: all arguments once and all results once.
    """

    op: str
    label: str
    arguments: tuple[Any, ...]
    flops: int = 0
    moved: int | None = None


class Draw:
    """Numbers of a stated seed, in the type and on the device of some work."""

    def __init__(self, work: Work, seed: int = 0) -> None:
        self._dtype, self._device = work.dtype, work.device
        # Drawn on the processor, so that every device is given the same.
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Normal values."""
        values = torch.randn(shape, generator=self._generator)
        return values.to(self._device, dtype or self._dtype)

    def weight(self, *shape: int) -> Tensor:
        """Normal values that keep the length of what they are multiplied with."""
        return self(*shape) / math.sqrt(math.prod(shape[1:]))

    def numbers(self, stop: int, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        """Whole numbers below `stop`."""
        drawn = torch.randint(stop, shape, generator=self._generator)
        return drawn.to(self._device, dtype)

    def turns(self, *shape: int) -> Tensor:
        """Rotations [*shape, 2] by any angle."""
        return turns(self(*shape, dtype=torch.float32), torch.float32)


Maker = Callable[[Work, Draw], Iterator[tuple[str, tuple[Any, ...], int, int | None]]]
MAKERS: dict[str, Maker] = {}


def samples(op: str) -> Callable[[Maker], Maker]:
    """Register the decorated function as what gives the samples of an operation.

    It yields label, arguments, FLOPs and bytes, see `Sample`.
    """

    def register(maker: Maker) -> Maker:
        MAKERS[op] = maker
        return maker

    return register


def nbytes(*tensors: Tensor) -> int:
    """Of all of them."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
