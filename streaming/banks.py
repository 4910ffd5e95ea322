"""A bank: slots for streams of one picture size, with all that a model remembers of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.nn.functional as functional
from torch import Tensor

from ..models.state import State
from ..models.steady import steady, steady_state
from ..models.video import VideoModel
from .lanes import Finished, Lanes

Memory = TypeVar("Memory", bound=State)


class Bank:
    """Lanes, noise filters and decoders' memory of `slots` streams.

    Joining and leaving takes and gives back a slot: nothing is allocated, moved or compiled.

    Args:
        size: height and width of the pictures.
        passed: see `Lanes`.
    """

    def __init__(
        self,
        model: VideoModel,
        slots: int,
        size: tuple[int, int],
        sigmas: tuple[float, ...],
        passed: Callable[[int, int | None], None],
    ) -> None:
        weight = model.bank
        height, width = size
        latent = (1, height // 8, width // 8)
        self.size, self._autoencoder = size, model.autoencoder
        self.lanes = Lanes(model.dit, slots, sigmas, latent, fresh_noise=False, passed=passed)
        shape = (model.spec.autoencoder.channels, *latent[1:])
        self.steady = steady_state(slots, shape, weight.device, weight.dtype)
        self.memory = model.autoencoder.init_state(
            slots, height, width, weight.device, weight.dtype
        )
        self._free = list(range(slots))

    @property
    def idle(self) -> bool:
        """Whether no stream has a slot."""
        return len(self._free) == len(self.steady.seen)

    def take(self) -> int | None:
        """A slot, as new; None when all are taken."""
        if not self._free:
            return None
        slot = self._free.pop(0)
        self.lanes.clear(slot)
        self.forget(slot)
        return slot

    def give_back(self, slot: int) -> None:
        self.lanes.clear(slot)
        # Lowest first: slots in use then tend to lie together, and need no gathering.
        self._free.append(slot)
        self._free.sort()

    def forget(self, slot: int) -> None:
        """Let the stream in this slot begin anew; chunks in flight go on."""
        self.lanes.reset(slot)
        mask = torch.zeros(len(self.steady.seen), dtype=torch.bool, device=self.steady.seen.device)
        mask[slot] = True
        self.steady.reset(mask)
        self.memory.reset(mask)

    def encode(self, slots: Sequence[int], frames: Sequence[Tensor]) -> Tensor:
        """Live frames, [T, 3, H, W] for each slot, to latents without their sensor noise,
        [slots, c, C, h, w]. Frames of another size are scaled."""
        pictures = torch.stack([self._fitted(part) for part in frames])
        latents = self._autoencoder.encode(pictures.to(self.steady.past.dtype))
        with borrowed(self.steady, slots) as memory:
            return steady(latents, memory)

    def decode(self, finished: Sequence[Finished]) -> Tensor:
        """Latents of different slots to pictures, [slots, T, 3, H, W] in 0..1."""
        latents = torch.cat([done.latent for done in finished])
        latents = latents.unflatten(0, (len(finished), -1))
        with borrowed(self.memory, [done.slot for done in finished]) as memory:
            return self._autoencoder.decode(latents, memory).clamp_(0, 1)

    def _fitted(self, frames: Tensor) -> Tensor:
        if tuple(frames.shape[-2:]) == self.size:
            return frames
        return functional.interpolate(frames, size=self.size, mode="bilinear", antialias=True)


@contextmanager
def borrowed(state: Memory, rows: Sequence[int]) -> Iterator[Memory]:
    """Some rows of a state, to be written: a view where they lie together, else copied out and
    back (small memories only; a ring is never copied)."""
    if rows[-1] - rows[0] + 1 == len(rows) and list(rows) == sorted(rows):
        yield state.rows(rows[0], rows[-1] + 1)
        return
    part = state.gather(rows)
    yield part
    device = next(state.tensors()).device
    index = torch.tensor(list(rows), device=device)
    state.copy_rows(torch.arange(len(rows), device=device), index, part)
