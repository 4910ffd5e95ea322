"""A chunk on its way through the lanes: what enters, and what has left."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .prompts import Prompt


@dataclass(frozen=True, slots=True)
class Entry:
    """A chunk that enters the lanes.

    Attributes:
        index: running number of the chunk in its stream.
        cond: [c, C, h, w], latent of the live frames.
        sigma: noise that it enters with, a scalar tensor.
        timestep: what the model is told of it, a scalar tensor (0..1000).
        steps: noise levels that it passes.
        seed: of the stream's noise.
        prompt: what it is to become.
        new_scene: whether it should replace the sinks (the prompt changed).
        past: most latent frames of the past that it looks at; None for all that are kept.
        ladder: nominal noise of its levels, where those are not the lanes' own.
        commit: see `Effort`.
    """

    index: int
    cond: Tensor
    sigma: Tensor
    timestep: Tensor
    steps: int
    seed: int
    prompt: Prompt
    new_scene: bool = False
    past: int | None = None
    ladder: tuple[float, ...] = ()
    commit: bool = True

    @property
    def frames(self) -> int:
        """Latent frames: those of the lanes, or fewer where it begins a stream."""
        return len(self.cond)


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A chunk that has left the lanes: its clean latent [c, C, h, w]."""

    slot: int
    index: int
    latent: Tensor
