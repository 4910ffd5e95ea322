"""What the embedded text-to-video pipeline remembers of its streams, and where."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as functional
from torch import Tensor

from ..models.autoencoder import AutoencoderState, PatchAutoencoder
from ..models.buffer import BufferState, MovingBuffer
from ..models.graphs import Graphs, recorded
from ..models.scene import SceneModel
from .banks import over_rows

Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a stream is drawn.

    Attributes:
        size: that it is drawn at.
        places: of the buffer that hold noise.
        live: whether given pictures enter at the first of them; else pure noise does.
    """

    size: Size
    places: int
    live: bool = False


class Bank:
    """Memory for streams that are drawn in one way, and what runs over it.

    Args:
        graphs: where steps, encoder and decoder are recorded; None runs them as they are.
    """

    def __init__(
        self,
        way: Way,
        model: SceneModel,
        buffer: MovingBuffer,
        autoencoder: PatchAutoencoder,
        slots: int,
        graphs: Graphs | None = None,
    ) -> None:
        weight = autoencoder.basis.weight
        kind, (height, width) = (weight.device, weight.dtype), way.size
        self.way, self.buffer, self.slots = way, buffer, slots
        self._model, self._autoencoder, self._graphs = model, autoencoder, graphs
        self.chunks: BufferState = buffer.init_state(slots, height // 8, width // 8, *kind)
        self.pictures: AutoencoderState = autoencoder.init_state(slots, height, width, *kind)
        self.free = list(range(slots))

    def encode(self, pictures: Tensor) -> Tensor:
        """[n, T, 3, H, W] in 0..1 to measured latents [n, T, channels, h, w]."""

        def measured(given: Tensor) -> Tensor:
            return self._model.measured(self._autoencoder.encode(given))

        return recorded(self._graphs, "encode", measured, pictures)

    def advance(
        self, slots: Sequence[int], steps: int, stepped: Callable[[], None], **given: Tensor | None
    ) -> Tensor:
        """The streams in these slots by some steps; the oldest chunk of each as it is then.

        Args:
            stepped: called after each step.
            given: of `MovingBuffer.step`, for each of the slots.
        """
        parts = {name: part for name, part in given.items() if part is not None}

        def step(*given: Any) -> Tensor:
            *tensors, memory = given
            tick = self.buffer.step(memory, **dict(zip(parts, tensors, strict=True)))
            return tick.latents

        with over_rows(self.chunks, slots, self._graphs) as run:
            for _ in range(steps):
                latents = run(("step", *parts), step, *parts.values())
                stepped()
        return latents

    def decode(self, slots: Sequence[int], latents: Tensor) -> Tensor:
        """Measured latents of the streams in these slots to pictures in 0..1."""

        def decode(given: Tensor, memory: AutoencoderState) -> Tensor:
            return self._autoencoder.decode(self._model.unmeasured(given), memory).clamp(0, 1)

        with over_rows(self.pictures, slots, self._graphs) as run:
            return run("decode", decode, latents)

    @property
    def idle(self) -> bool:
        return len(self.free) == self.slots

    def give_back(self, slot: int) -> None:
        # Lowest first: slots in use then tend to lie together, and need no gathering.
        self.free.append(slot)
        self.free.sort()

    def rows(self, slot: int) -> list[tuple[str, Tensor]]:
        """All tensors of a stream's past by name, as views to be written."""
        states = {"buffer": self.chunks, "pictures": self.pictures}
        return [
            (f"{name}/{number}", tensor)
            for name, state in states.items()
            for number, tensor in enumerate(state.rows(slot, slot + 1).tensors())
        ]


@dataclass(eq=False)
class Stream:
    """What the host remembers of one stream.

    Attributes:
        size: of its pictures.
        begun: whether its buffer is in its steady state.
        text: the prompt that it goes to: of a `scene`, and drawn in a `look` ("" for none).
        guidance: how strictly it is followed.
        context: what it is drawn from by now, [text_len, text_dim].
        since: what it was when the prompt changed; done, of `chunks` chunks, have passed since.
        flight: which chunks of a live picture the buffer holds, oldest first; None is one that
            only fills it.
        entered: latents of the last of them, [c, channels, h, w].
        styled: the look's own stream, while there is one.
    """

    size: Size
    bank: Bank
    slot: int
    begun: bool = False
    resets: int = 0
    seed: int = 0
    guidance: float = 1.0
    text: str | None = None
    scene: str = ""
    look: str = ""
    context: Tensor | None = None
    since: Tensor | None = None
    done: int = 0
    chunks: int = 0
    notes: dict[str, object] = field(default_factory=dict)
    flight: deque[int | None] = field(default_factory=deque)
    entered: Tensor | None = None
    styled: Any = None

    def move(self, bank: Bank) -> None:
        """To the first free slot of another bank, to begin anew there."""
        old, slot = self.bank, self.slot
        self.bank, self.slot = bank, bank.free.pop(0)
        old.give_back(slot)


def covering(pictures: Tensor, size: Size) -> Tensor:
    """Pictures [T, 3, h, w] scaled until they cover `size`, and cut around their middle."""
    height, width = pictures.shape[-2:]
    scale = max(size[0] / height, size[1] / width)
    wide = (max(size[0], round(height * scale)), max(size[1], round(width * scale)))
    if wide != (height, width):
        pictures = functional.interpolate(
            pictures, size=wide, mode="bicubic", antialias=scale < 1
        ).clamp(0, 1)
    top, left = (wide[0] - size[0]) // 2, (wide[1] - size[1]) // 2
    return pictures[:, :, top : top + size[0], left : left + size[1]]
