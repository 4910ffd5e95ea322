"""Sizes and policies of the models, as plain data. This file imports no torch.

Specs have no defaults: every number of an architecture is written down where the architecture is
named. A new size is `dataclasses.replace(...)` of a named spec, never a new class. Those of the
autoencoders stand in `coder_specs`, and are found here too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from .coder_specs import (
    TAEHV_WAN21,
    TINY_AUTOENCODER,
    WAN_AUTOENCODERS,
    WAN_VAE,
    AutoencoderName,
    AutoencoderSpec,
    AutoencoderUse,
    TAEHVSpec,
    WanVAESpec,
)

__all__ = [
    "TAEHV_WAN21",
    "TINY",
    "TINY_AUTOENCODER",
    "UMT5_XXL",
    "WAN_1_3B",
    "WAN_14B",
    "WAN_AUTOENCODERS",
    "WAN_VAE",
    "AutoencoderName",
    "AutoencoderSpec",
    "AutoencoderUse",
    "ConvStemSpec",
    "DiTSpec",
    "Positions",
    "Prediction",
    "RingSpec",
    "TAEHVSpec",
    "UMT5Spec",
    "WanVAESpec",
]

Positions = Literal["absolute", "relative"]
Store = Literal["plain", "fp8", "int8"]
STORES: tuple[Store, ...] = get_args(Store)
Prediction = Literal["flow", "x0"]


@dataclass(frozen=True, slots=True)
class RingSpec:
    """What a stream remembers of its past, in latent frames.

    Attributes:
        sinks: first frames of the stream, kept for ever (attention sinks).
        window: frames just before the current chunk.
        positions: how keys are placed in time. "absolute": at their index in the stream.
            "relative": at their distance from the current chunk, so that an endless stream stays in
            the range of a short one; sinks stand just before the window once it has moved on.
        sink_threshold: a sink whose likeness to the newest frame falls below this cosine is
            replaced by that frame; None keeps the first frames for ever.
        span: with "absolute", how far before a chunk a sink may stand at most (the trained range);
            when the stream is older the sinks move along. None only for clips that end sooner.
        store: keys and values as they are, or in eight bits with scales (see `ring_store`).
    """

    sinks: int
    window: int
    positions: Positions
    sink_threshold: float | None
    span: int | None = None
    store: Store = "plain"

    def __post_init__(self) -> None:
        if self.store not in STORES:
            raise ValueError(f"a ring stores {', '.join(STORES)}, not {self.store!r}")
        if self.sinks < 0 or self.window < 0:
            raise ValueError(f"sinks and window must not be negative: {self.sinks}, {self.window}")
        if self.positions not in ("absolute", "relative"):
            raise ValueError(f"positions must be absolute or relative, not {self.positions!r}")
        if self.span is not None:
            if self.positions == "relative":
                raise ValueError("a span is for absolute positions; relative ones have their own")
            if self.span < self.sinks + self.window:
                raise ValueError(
                    f"a span of {self.span} frames is shorter than {self.sinks} sinks and a window "
                    f"of {self.window}"
                )

    @property
    def reach(self) -> int | None:
        """Frames before a chunk at which its furthest sink may stand; None without a limit."""
        return self.sinks + self.window if self.positions == "relative" else self.span


@dataclass(frozen=True, slots=True)
class ConvStemSpec:
    """Convolutions at latent resolution around the transformer (`CausalDiT` with a stem).

    Attributes:
        width: channels between the convolutions and the transformer.
        stem_blocks, head_blocks: residual blocks before and after the transformer.
        place: the first convolution is told where in the picture it stands. Attention knows
            distances alone; without a source to follow, the sky has to be known by its place.
    """

    width: int
    stem_blocks: int
    head_blocks: int
    place: bool = False


@dataclass(frozen=True, slots=True)
class DiTSpec:
    """Dimensions of a `CausalDiT`.

    Attributes:
        dim, ffn_dim, heads, layers: transformer width, MLP width, attention heads, blocks.
        freq_dim: size of the sinusoid of the timestep.
        text_dim, text_len: size and number of the prompt's context vectors.
        in_channels, out_channels: latent channels in and out.
        patch: (time, height, width) of one token; time is 1 in this family.
        eps: of all normalisations.
        rope_theta: base of the rotary frequencies.
        prediction: what the network's output means.
        cond_channels: channels of a condition latent joined to the input; 0 for plain Wan.
        stem: convolutions around the transformer, or None for the released architecture.
        ring: memory that the weights were trained with.
        windows: frames, height and width in tokens of the boxes that attention inside a moving
            buffer keeps to (see `Windows`); None for attention over all of it.
    """

    dim: int
    ffn_dim: int
    freq_dim: int
    text_dim: int
    text_len: int
    in_channels: int
    out_channels: int
    patch: tuple[int, int, int]
    heads: int
    layers: int
    eps: float
    rope_theta: float
    prediction: Prediction
    cond_channels: int
    stem: ConvStemSpec | None
    ring: RingSpec
    windows: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.dim % self.heads or (self.dim // self.heads) % 2:
            raise ValueError(f"dim {self.dim} does not split into {self.heads} heads of even size")
        if self.patch[0] != 1:
            raise ValueError(f"patch {self.patch}: a token spans one latent frame in this family")
        if self.prediction == "x0" and 0 < self.cond_channels < self.out_channels:
            raise ValueError(
                f"cond_channels {self.cond_channels} must be 0 or at least out_channels "
                f"{self.out_channels}: the output is a change of the condition latent"
            )

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    def tokens(self, height: int, width: int) -> int:
        """Tokens of one latent frame of `height` x `width`.

        Raises:
            ValueError: a side is not a multiple of the patch.
        """
        _, ph, pw = self.patch
        if height % ph or width % pw or height < ph or width < pw:
            raise ValueError(
                f"latent size {height}x{width} is not a multiple of the patch {ph}x{pw}; "
                "pad or crop the picture"
            )
        return (height // ph) * (width // pw)


@dataclass(frozen=True, slots=True)
class UMT5Spec:
    """Dimensions of a umT5 text encoder.

    Attributes:
        vocabulary, dim, heads, head_dim, ffn_dim, layers: of the encoder.
        buckets, distance: of its relative positions: how many, and beyond which they are one.
        eps: of its normalisations.
        text_len: rows that a prompt is given, words or zeros.
    """

    vocabulary: int
    dim: int
    heads: int
    head_dim: int
    ffn_dim: int
    layers: int
    buckets: int
    distance: int
    eps: float
    text_len: int


TINY = DiTSpec(
    dim=256,
    ffn_dim=1024,
    freq_dim=128,
    text_dim=128,
    text_len=8,
    in_channels=48,
    out_channels=48,
    patch=(1, 2, 2),
    heads=4,
    layers=3,
    eps=1e-6,
    rope_theta=10_000.0,
    prediction="x0",
    cond_channels=48,
    stem=ConvStemSpec(width=128, stem_blocks=2, head_blocks=3),
    ring=RingSpec(sinks=1, window=3, positions="relative", sink_threshold=None),
)

# Six frames in all: three sinks, two before the current one, and the current one.
_WAN_RING = RingSpec(sinks=3, window=2, positions="relative", sink_threshold=0.2)

WAN_1_3B = DiTSpec(
    dim=1536,
    ffn_dim=8960,
    freq_dim=256,
    text_dim=4096,
    text_len=512,
    in_channels=16,
    out_channels=16,
    patch=(1, 2, 2),
    heads=12,
    layers=30,
    eps=1e-6,
    rope_theta=10_000.0,
    prediction="flow",
    cond_channels=0,
    stem=None,
    ring=_WAN_RING,
)

WAN_14B = replace(WAN_1_3B, dim=5120, ffn_dim=13_824, heads=40, layers=40)

UMT5_XXL = UMT5Spec(
    vocabulary=256_384,
    dim=4096,
    heads=64,
    head_dim=64,
    ffn_dim=10_240,
    layers=24,
    buckets=32,
    distance=128,
    eps=1e-6,
    text_len=512,
)
