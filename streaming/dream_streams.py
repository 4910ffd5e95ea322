"""What the embedded text-to-video pipeline remembers of its streams, and where."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..models.autoencoder import AutoencoderState, PatchAutoencoder
from ..models.buffer import BufferState, MovingBuffer

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
    """Memory for streams that are drawn in one way."""

    def __init__(
        self, way: Way, buffer: MovingBuffer, autoencoder: PatchAutoencoder, slots: int
    ) -> None:
        weight = autoencoder.basis.weight
        kind, (height, width) = (weight.device, weight.dtype), way.size
        self.way, self.buffer, self.slots = way, buffer, slots
        self.chunks: BufferState = buffer.init_state(slots, height // 8, width // 8, *kind)
        self.pictures: AutoencoderState = autoencoder.init_state(slots, height, width, *kind)
        self.free = list(range(slots))

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
