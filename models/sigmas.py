"""Noise schedules of flow matching, as pure functions and plain data.

A latent at sigma is (1 - sigma) clean + sigma noise; the model is told timestep = 1000 sigma.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cache

TRAIN_STEPS = 1000
WAN_SHIFT = 8.0
DISTILLED_TIMESTEPS = (700, 500, 400, 200)
"""Timesteps that the few-step video-to-video checkpoints were distilled for, noisiest first."""


def shift_sigma(sigma: float, shift: float) -> float:
    """Move a uniform noise level towards noise (Esser et al. 2024, SD3, equation 23)."""
    return shift * sigma / (1 + (shift - 1) * sigma)


@cache
def shifted_table(shift: float, steps: int = TRAIN_STEPS) -> tuple[float, ...]:
    """Sigmas of a shifted schedule, falling from 1 to just above 0."""
    return tuple(shift_sigma(1 - i / steps, shift) for i in range(steps))


def sigma_of(timestep: float, shift: float = WAN_SHIFT) -> float:
    """The sigma of the table entry nearest to `timestep` (0..1000).

    The distilled checkpoints look their timesteps up in this way, so 700 means 0.70023 and 0 means
    0.00794.

    Raises:
        ValueError: the timestep is outside 0..1000.
    """
    if not 0 <= timestep <= TRAIN_STEPS:
        raise ValueError(f"timestep {timestep} is outside 0..{TRAIN_STEPS}")
    rising = shifted_table(shift)[::-1]
    goal = timestep / TRAIN_STEPS
    after = bisect_left(rising, goal)
    near = rising[max(after - 1, 0) : after + 1]
    return min(near, key=lambda sigma: abs(sigma - goal))


@dataclass(frozen=True, slots=True)
class Level:
    """One noise level: share of noise 0..1, and the timestep 0..1000 that the model is told."""

    sigma: float
    timestep: float


def distilled_levels(steps: int) -> tuple[Level, ...]:
    """The first `steps` of the distilled timesteps with their sigmas.

    Raises:
        ValueError: there are only four.
    """
    if not 1 <= steps <= len(DISTILLED_TIMESTEPS):
        raise ValueError(f"{steps} steps; this schedule has 1 to {len(DISTILLED_TIMESTEPS)}")
    return tuple(Level(sigma_of(t), float(t)) for t in DISTILLED_TIMESTEPS[:steps])


def uniform_levels(steps: int, start: float = 1.0, shift: float = 1.0) -> tuple[Level, ...]:
    """`steps` levels from `start` down to above 0, evenly spaced, then shifted.

    Raises:
        ValueError: no step, or start outside (0, 1].
    """
    if steps < 1 or not 0 < start <= 1:
        raise ValueError(f"{steps} steps from {start}: at least one step, from above 0 to 1")
    sigmas = (shift_sigma(start * (1 - i / steps), shift) for i in range(steps))
    return tuple(Level(sigma, TRAIN_STEPS * sigma) for sigma in sigmas)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How noise levels lie over the chunks in flight (StreamDiT, section 3.1).

    A buffer holds `reference` finished frames as context and `chunks` chunks of `frames` latent
    frames, each at its own noise level; every chunk takes `micro_steps` denoising steps before all
    move one place towards clean and the cleanest leaves. A chunk so takes chunks x micro_steps
    steps, and `levels` gives the level that each of them starts from, noisiest first.

    Stream batch is frames = 1, micro_steps = 1: as many chunks in flight as there are steps, one
    leaves at each call. Sequential is chunks = 1: all steps on one chunk before the next begins.

    Attributes:
        reference: K, finished latent frames seen as context (the window of a ring).
        chunks: N, chunks in flight.
        frames: c, latent frames of a chunk.
        micro_steps: s, steps of a chunk at each place.
        levels: chunks x micro_steps noise levels, noisiest first.
    """

    reference: int
    chunks: int
    frames: int
    micro_steps: int
    levels: tuple[Level, ...]

    def __post_init__(self) -> None:
        if min(self.chunks, self.frames, self.micro_steps) < 1 or self.reference < 0:
            raise ValueError(f"chunks, frames and micro steps are at least 1: {self}")
        if len(self.levels) != self.steps:
            raise ValueError(
                f"{len(self.levels)} levels for {self.chunks} chunks x {self.micro_steps} micro "
                f"steps; give {self.steps}"
            )
        sigmas = [level.sigma for level in self.levels]
        if any(low >= high for high, low in zip(sigmas, sigmas[1:], strict=False)):
            raise ValueError(f"noise levels must fall strictly, got {sigmas}")

    @property
    def steps(self) -> int:
        """Denoising steps that one chunk takes in all."""
        return self.chunks * self.micro_steps

    @property
    def delay(self) -> int:
        """Chunks that enter after a chunk before it leaves."""
        return self.chunks - 1

    def lane(self, place: int) -> tuple[Level, ...]:
        """Levels of the micro steps at a place of the buffer, 0 the noisiest."""
        begin = place * self.micro_steps
        return self.levels[begin : begin + self.micro_steps]

    def sigma_after(self, step: int) -> float:
        """Share of noise after denoising step `step`: the next level's, 0 after the last."""
        return self.levels[step + 1].sigma if step + 1 < self.steps else 0.0


def stream_batch(reference: int, levels: tuple[Level, ...]) -> Schedule:
    """One latent frame per level in flight, one step each per call (StreamDiffusion)."""
    return Schedule(reference, len(levels), 1, 1, levels)


def sequential(reference: int, frames: int, levels: tuple[Level, ...]) -> Schedule:
    """All steps of a chunk of `frames` before the next chunk begins."""
    return Schedule(reference, 1, frames, len(levels), levels)
