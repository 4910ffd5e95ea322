"""A bank: slots for streams of one picture size, with all that a model remembers of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch
import torch.nn.functional as functional
from torch import Tensor

from ..models.graphs import Call, Graphs
from ..models.state import State
from .brought import numbers_on
from .entries import Finished
from .parts import Parts, Size
from .queues import InOrder, Queues

Memory = TypeVar("Memory", bound=State)


class Bank:
    """Lanes and the autoencoder's memory of `slots` streams.

    Joining and leaving takes and gives back a slot: nothing is allocated, moved or compiled.

    Args:
        size: height and width of the pictures.
        passed: see `Lanes`.
        graphs: where what runs over this memory is recorded; None runs it as it is.
        queues: where the parts of a tick go; memory is written on the queue that it belongs to.
    """

    def __init__(
        self,
        parts: Parts,
        slots: int,
        size: Size,
        passed: Callable[[int, int | None], None],
        graphs: Graphs | None = None,
        queues: Queues | None = None,
    ) -> None:
        self.graphs, self.queues = graphs, queues or InOrder()
        self.size, self.slots, self._codec = size, slots, parts.codec
        frames, _, height, width = parts.codec.latent_shape(size)
        levels, shape = parts.noise.levels, (frames, height, width)
        self.lanes = parts.lanes(
            parts.dit,
            slots,
            levels.nominal,
            shape,
            parts.noise.fresh,
            passed,
            levels.shift,
            graphs,
        )
        self.memory = parts.codec.memory(slots, size)
        self._kind = parts.dit.patch_embedding.weight.dtype
        self._free = list(range(slots))

    @property
    def idle(self) -> bool:
        """Whether no stream has a slot."""
        return len(self._free) == self.slots

    def tensors(self) -> Iterator[Tensor]:
        """All memory."""
        yield from self.lanes.forward.tensors()
        yield from self.memory.tensors()

    def take(self) -> int | None:
        """A slot, as new; None when all are taken."""
        if not self._free:
            return None
        slot = self._free.pop(0)
        with self.queues.on("denoise"):
            self.lanes.clear(slot)
        self.forget(slot)
        return slot

    def give_back(self, slot: int) -> None:
        with self.queues.on("denoise"):
            self.lanes.clear(slot)
        # Lowest first: slots in use then tend to lie together, and need no gathering.
        self._free.append(slot)
        self._free.sort()

    def forget(self, slot: int) -> None:
        """Let the stream in this slot begin anew; chunks in flight go on."""
        with self.queues.on("denoise"):
            self.lanes.reset(slot)
        self.forget_source([slot])
        with self.queues.on("decode"):
            self.memory.decoder.reset(self._mask([slot]))

    def forget_source(self, slots: Sequence[int]) -> None:
        """Let the encoder of these slots begin anew."""
        with self.queues.on("encode"):
            self.memory.encoder.reset(self._mask(slots))

    def _mask(self, slots: Sequence[int]) -> Tensor:
        device = self.lanes.x.device
        mask = torch.zeros(self.slots, dtype=torch.bool, device=device)
        return mask.index_fill_(0, numbers_on(device).of(tuple(slots)), True)

    def encode(self, slots: Sequence[int], frames: Sequence[Tensor], lead: bool = False) -> Tensor:
        """Live frames, [T, 3, H, W] for each slot, to latents, [slots, c, C, h, w]. Frames of
        another size are scaled. A `lead` is of one frame each."""

        def encode(part: Tensor, memory: State) -> Tensor:
            return self._codec.encode(part, memory, lead)

        name = "encode lead" if lead else "encode"
        with self.queues.on("encode", *frames):
            pictures = torch.stack([self._fitted(part) for part in frames]).to(self._kind)
            encoded = self._each(name, encode, pictures, self.memory.encoder, slots)
        with self.queues.on("denoise", encoded):
            return encoded

    def decode(self, finished: Sequence[Finished]) -> Tensor:
        """Latents of different slots to pictures, [slots, T, 3, H, W] in 0..1."""
        slots = [done.slot for done in finished]
        with self.queues.on("decode"):
            return self._decode(slots, [done.latent for done in finished], False).clamp_(0, 1)

    def decode_leads(self, slots: Sequence[int], latents: Sequence[Tensor]) -> None:
        """Let the decoder see the leads of new streams, [1, C, h, w] each."""
        self._decode(slots, latents, True)

    def _decode(self, slots: Sequence[int], latents: Sequence[Tensor], lead: bool) -> Tensor:

        def decode(part: Tensor, memory: State) -> Tensor:
            return self._codec.decode(part, memory, lead)

        name = "decode lead" if lead else "decode"
        with self.queues.on("decode", *latents):
            given = torch.cat(list(latents)).to(self._kind).unflatten(0, (len(slots), -1))
            return self._each(name, decode, given, self.memory.decoder, slots)

    def _each(
        self,
        name: str,
        call: Callable[[Tensor, State], Tensor],
        given: Tensor,
        state: State,
        slots: Sequence[int],
    ) -> Tensor:
        """`call` over the rows of these slots, see `over_rows`."""
        with over_rows(state, slots, self.graphs, self._codec.small) as run:
            return run(name, call, given)

    def _fitted(self, frames: Tensor) -> Tensor:
        if tuple(frames.shape[-2:]) == self.size:
            return frames
        return functional.interpolate(frames, size=self.size, mode="bilinear", antialias=True)


@contextmanager
def over_rows(
    state: State, slots: Sequence[int], graphs: Graphs | None, small: bool = True
) -> Iterator[Callable[..., Tensor]]:
    """What calls a function over the rows of these slots: at once, or for each run of rows where
    what they remember is too large to be copied, or is written by a graph, which knows its place.

    Args:
        small: whether rows may be copied.

    Yields:
        run(name, call, *given) -> `call(*given, memory)`, a tensor; `given` and it are by row, and
        the name says whatever else the call depends on.
    """
    if small and graphs is None:
        with borrowed(state, slots) as memory:
            yield lambda name, call, *given: call(*given, memory)
        return
    yield partial(_by_runs, state, slots, graphs)


def _by_runs(
    state: State,
    slots: Sequence[int],
    graphs: Graphs | None,
    name: Hashable,
    call: Callable[..., Tensor],
    *given: Tensor,
) -> Tensor:
    parts = []
    for first, last in runs(slots):
        rows = state.rows(slots[first], slots[last] + 1)
        part = tuple(tensor[first : last + 1] for tensor in given)
        if graphs is None:
            parts.append(call(*part, rows))
            continue
        sizes = (tuple(tensor.shape) for tensor in part)
        key = (name, slots[first], last - first + 1, *sizes)
        own = Call(partial(_over, call, rows), part, memory=tuple(rows.tensors()))
        parts.append(graphs.run(key, own))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _over(call: Callable[..., Tensor], memory: State, *given: Tensor) -> Tensor:
    return call(*given, memory)


def runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Where runs of neighbouring numbers begin and end: places of the first and the last."""
    starts = [i for i, n in enumerate(numbers) if i == 0 or n != numbers[i - 1] + 1]
    ends = [*(start - 1 for start in starts[1:]), len(numbers) - 1]
    return list(zip(starts, ends, strict=True))


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
    index = numbers_on(device).of(tuple(rows))
    state.copy_rows(torch.arange(len(rows), device=device), index, part)
