"""What a `VideoDiffusion` is composed of: each model is one choice of these parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor

from ..models.dit import CausalDiT
from ..models.state import State
from .controls import Controls
from .lanes import Lanes
from .levels import Levels
from .pipeline import PipelineInfo
from .prompts import Prompt, PromptLibrary

Size = tuple[int, int]
"""Height and width."""


@dataclass(eq=False)
class CodecState(State):
    """What an autoencoder remembers of its streams, both ways."""

    encoder: State
    decoder: State


class Codec(Protocol):
    """An autoencoder for streams: T pictures a chunk to one latent frame, and back.

    Attributes:
        leads: whether a stream begins with a latent frame that stands for its first picture alone
            (as in Wan's autoencoder); the pictures that it is decoded to are not shown.
        small: whether its memory may be copied out and back, so that one call serves streams whose
            rows do not lie together. Else there is a call for each run of rows.
    """

    leads: bool
    small: bool

    def latent_shape(self, size: Size) -> tuple[int, int, int, int]:
        """(frames, channels, height, width) of a chunk's latent for pictures of `size`."""
        ...

    def memory(self, slots: int, size: Size) -> CodecState: ...

    def encode(self, pictures: Tensor, state: State, lead: bool) -> Tensor:
        """[rows, T, 3, H, W] in 0..1 -> [rows, 1, C, h, w]; a lead is of one picture."""
        ...

    def decode(self, latents: Tensor, state: State, lead: bool) -> Tensor:
        """[rows, 1, C, h, w] -> [rows, T, 3, H, W]; values a little outside 0..1 may occur. Of a
        lead the number of pictures is its own."""
        ...


class Wish(Protocol):
    """What one stream is to become, as its viewer steers it.

    Attributes:
        prompt: that of the last chunk; None before the first.
        notes: what was made of the words, for the viewer.
    """

    prompt: Prompt | None
    notes: dict[str, object]

    def heed(self, controls: Controls) -> bool:
        """Once for each chunk: renew `prompt`. Returns whether a new scene begins with it."""
        ...

    def facts(self) -> Any:
        """All that `recall` needs, as JSON knows it."""
        ...

    def recall(self, facts: Any) -> None: ...


class Conditioner(Protocol):
    """From words to what the model is conditioned on; prompts are shared by streams."""

    library: PromptLibrary

    def wish(self) -> Wish:
        """For a new stream."""
        ...


@dataclass(frozen=True, slots=True)
class Course:
    """How a chunk is drawn.

    Attributes:
        source: "video": from the live pictures. "text": from noise alone. "image": from noise too,
            but the stream begins with its first picture as it is.
        noise: share of noise that a still picture enters with ("video").
        ladder: nominal noise of the levels, the first included; empty for those of the lanes.
    """

    source: Literal["video", "text", "image"]
    noise: float
    ladder: tuple[float, ...] = ()


class NoisePolicy(Protocol):
    """How much noise chunks enter with, and what the model is told of it.

    Attributes:
        levels: of the lanes.
        fresh: new noise for each chunk, or the same for all chunks of a stream.
        still: share of noise that a still picture enters with, unless the viewer wants another.
    """

    @property
    def levels(self) -> Levels: ...

    @property
    def fresh(self) -> bool: ...

    @property
    def still(self) -> float: ...

    def course(self, controls: Controls) -> Course: ...

    def timestep(self, noise: Tensor) -> Tensor:
        """What the model is told (0..1000) of a live chunk that enters with `noise` (0..1)."""
        ...


class Room(Protocol):
    """Knows whether the memory of more streams fits on the device."""

    def check(self, slots: int, size: Size) -> None:
        """
        Raises:
            RuntimeError: it does not; the message has the numbers.
        """
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """A model as a pipeline runs it.

    Attributes:
        idle_banks: picture sizes without a stream whose memory is kept for the next one.
        lanes: how chunks go through the noise levels; `Lanes` or `CleanLanes`.
        room: asked before memory for streams of another size is made; None to try without asking.
    """

    info: PipelineInfo
    dit: CausalDiT
    codec: Codec
    conditioner: Conditioner
    noise: NoisePolicy
    idle_banks: int
    lanes: type[Lanes] = Lanes
    room: Room | None = None
