"""How released causal Wan checkpoints want to be streamed, as plain data. Imports no torch.

The released weights share one architecture (`specs.WAN_1_3B`, `WAN_14B`); what differs from project
to project is how they were distilled, and weights only work as they were distilled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from .sigmas import DISTILLED_TIMESTEPS, TRAIN_STEPS, WAN_SHIFT, Level, shift_sigma, sigma_of
from .specs import DiTSpec, Positions, RingSpec

TRAINED_FRAMES = 21
"""Latent frames of the clips that Wan 2.1 and its causal offspring were trained on."""

Source = Literal["video", "noise"]
History = Literal["levels", "clean"]


@dataclass(frozen=True, slots=True)
class WanPolicy:
    """How one family of checkpoints is streamed.

    Attributes:
        about: whose weights, and where the numbers are from.
        ring: sinks, window, sink renewal and positions.
        frames: latent frames of a chunk.
        levels: noise levels of its denoising steps, noisiest first.
        source: what a chunk begins from: a live picture under noise, or noise alone.
        noise: share of noise that a still live picture enters with; 1 for noise alone.
        told_less: timesteps by which the model is told less of that noise than there is. With live
            pictures the released weights were made so, and get sharper for it.
        history: "levels": every noise level has a history of its own, of what it wrote itself, and
            no pass is spent on it (stream batch). "clean": one history, written by a further pass
            over each finished chunk at timestep 0.
        normalise: bring encoded live pictures to the unit variance that the decoder undoes. The
            released video-to-video weights were made without, by an oversight that they now need.
        ema: take the averaged weights where a file holds both kinds.
    """

    about: str
    ring: RingSpec
    frames: int
    levels: tuple[Level, ...]
    source: Source
    noise: float
    told_less: float
    history: History
    normalise: bool
    ema: bool

    def __post_init__(self) -> None:
        if self.frames < 1 or not self.levels:
            raise ValueError(f"a chunk has at least one latent frame and one level: {self}")
        if not 0 <= self.told_less < TRAIN_STEPS * self.noise <= TRAIN_STEPS:
            raise ValueError(f"a noise of {self.noise} told less by {self.told_less} timesteps")
        if self.history == "clean" and self.ring.sinks + self.ring.window == 0:
            raise ValueError("a clean pass is for a memory, and this ring has none")

    def spec(self, size: DiTSpec) -> DiTSpec:
        """The model of one size with this memory."""
        return replace(size, ring=self.ring)

    def steps(self, count: int) -> tuple[Level, ...]:
        """The first `count` levels.

        Raises:
            ValueError: there are fewer, or none is asked for.
        """
        if not 1 <= count <= len(self.levels):
            raise ValueError(f"{count} steps; this checkpoint has 1 to {len(self.levels)}")
        return self.levels[:count]

    def entry_timestep(self, noise: float) -> float:
        """What the model is told of a live picture under `noise` (0..1)."""
        return TRAIN_STEPS * noise - self.told_less


def placed(policy: WanPolicy, positions: Positions) -> WanPolicy:
    """The same with other positions; absolute ones end with the trained range."""
    span = TRAINED_FRAMES - policy.frames if positions == "absolute" else None
    return replace(policy, ring=replace(policy.ring, positions=positions, span=span))


def _looked_up(*timesteps: float) -> tuple[Level, ...]:
    """Timesteps as they stand; noise from the nearest entry of the shifted table."""
    return tuple(Level(sigma_of(t, WAN_SHIFT), float(t)) for t in timesteps)


def _warped(*timesteps: float, shift: float) -> tuple[Level, ...]:
    """Timesteps of an even schedule, moved towards noise by the shift."""
    sigmas = (shift_sigma(t / TRAIN_STEPS, shift) for t in timesteps)
    return tuple(Level(sigma, TRAIN_STEPS * sigma) for sigma in sigmas)


# Six frames in all: three sinks, two before the current one, and the current one.
STREAMDIFFUSION_V2 = WanPolicy(
    about="StreamDiffusionV2 (arXiv 2511.07399), configs wan_causal_dmd_v2v and _v2v_14b",
    ring=RingSpec(sinks=3, window=2, positions="relative", sink_threshold=0.2),
    frames=1,
    levels=_looked_up(*DISTILLED_TIMESTEPS),
    source="video",
    noise=0.8,
    told_less=100.0,
    history="levels",
    normalise=False,
    ema=False,
)

STREAMDIFFUSION_V2_FAST = replace(
    STREAMDIFFUSION_V2,
    about="StreamDiffusionV2 (arXiv 2511.07399), config wan_causal_dmd_v2v_fast",
    ring=RingSpec(sinks=2, window=2, positions="relative", sink_threshold=None),
)

# A memory of 21 frames, three of them the chunk's own; nothing is kept from the beginning.
SELF_FORCING = WanPolicy(
    about="Self-Forcing (arXiv 2506.08009), config self_forcing_dmd",
    ring=RingSpec(sinks=0, window=TRAINED_FRAMES - 3, positions="relative", sink_threshold=None),
    frames=3,
    levels=_warped(1000, 750, 500, 250, shift=5.0),
    source="noise",
    noise=1.0,
    told_less=0.0,
    history="clean",
    normalise=True,
    ema=True,
)

CAUSVID = replace(
    SELF_FORCING,
    about="CausVid (arXiv 2412.07772), config wan_causal_dmd",
    levels=_looked_up(1000, 757, 522),
    ema=False,
)

POLICIES: Mapping[str, WanPolicy] = MappingProxyType(
    {
        "streamdiffusionv2": STREAMDIFFUSION_V2,
        "streamdiffusionv2-fast": STREAMDIFFUSION_V2_FAST,
        "self-forcing": SELF_FORCING,
        "causvid": CAUSVID,
    }
)


def policy_named(name: str) -> WanPolicy:
    """The policy of that name.

    Raises:
        ValueError: there is none; the message lists those that are.
    """
    if name not in POLICIES:
        raise ValueError(f"no checkpoint policy {name!r}; there are {', '.join(POLICIES)}")
    return POLICIES[name]
