"""Sizes and policies of the models, as plain data. This file imports no torch.

Specs have no defaults: every number of an architecture is written down where the architecture is
named. A new size is `dataclasses.replace(...)` of a named spec, never a new class.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Positions = Literal["absolute", "relative"]
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
    """

    sinks: int
    window: int
    positions: Positions
    sink_threshold: float | None
    span: int | None = None

    def __post_init__(self) -> None:
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
class AutoencoderSpec:
    """Dimensions of the small streaming autoencoder (`PatchAutoencoder`, stride 8).

    Attributes:
        channels: channels of a latent frame.
        coarse_width, fine_width: channels at a stride of 8 and of 4 pixels.
        encoder_fine_blocks, encoder_coarse_blocks: residual blocks of the encoder.
        decoder_coarse_blocks, decoder_fine_blocks: residual blocks of the decoder, beside the one
            that remembers the previous frame.
        scale: factor on the latents that brings them near unit variance.
    """

    channels: int
    coarse_width: int
    fine_width: int
    encoder_fine_blocks: int
    encoder_coarse_blocks: int
    decoder_coarse_blocks: int
    decoder_fine_blocks: int
    scale: float


@dataclass(frozen=True, slots=True)
class TAEHVSpec:
    """Dimensions of a TAEHV autoencoder (tiny autoencoder for video, madebyollin/taehv).

    Attributes:
        image_channels, latent_channels: 3 and 16 for Wan 2.1.
        encoder_width: channels of all encoder stages.
        decoder_widths: channels of the four decoder stages, coarse to fine.
        blocks: memory blocks per stage.
        encoder_strides: frames merged at each of the three encoder stages.
        decoder_strides: frames made of one at each of the three decoder stages.
        latent_mean, latent_std: of the raw latents of the large autoencoder that it stands in for;
            its own are standardised.
    """

    image_channels: int
    latent_channels: int
    encoder_width: int
    decoder_widths: tuple[int, int, int, int]
    blocks: int
    encoder_strides: tuple[int, int, int]
    decoder_strides: tuple[int, int, int]
    latent_mean: tuple[float, ...]
    latent_std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class WanVAESpec:
    """Dimensions of a `WanVAE`.

    Attributes:
        image_channels, latent_channels: 3 and 16.
        width: channels at full resolution.
        multipliers: channels of each level as multiples of `width`, fine to coarse.
        blocks: residual blocks a level of the encoder; the decoder has one more.
        merges: for each step from a level to the next coarser one, whether it halves time too.
        latent_mean, latent_std: of each raw latent channel, over the data that it was trained on.
    """

    image_channels: int
    latent_channels: int
    width: int
    multipliers: tuple[int, ...]
    blocks: int
    merges: tuple[bool, ...]
    latent_mean: tuple[float, ...]
    latent_std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.merges) != len(self.multipliers) - 1:
            raise ValueError(f"{len(self.multipliers)} levels need one step fewer of `merges`")
        if not len(self.latent_mean) == len(self.latent_std) == self.latent_channels:
            raise ValueError(f"one mean and deviation for each of {self.latent_channels} channels")


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

TINY_AUTOENCODER = AutoencoderSpec(
    channels=48,
    coarse_width=128,
    fine_width=48,
    encoder_fine_blocks=0,
    encoder_coarse_blocks=1,
    decoder_coarse_blocks=1,
    decoder_fine_blocks=1,
    scale=1.0,
)
"""The embedded autoencoder: 8x8 pixels to 48 channels."""

# Statistics of the released weights, as their authors publish them.
WAN_VAE = WanVAESpec(
    image_channels=3,
    latent_channels=16,
    width=96,
    multipliers=(1, 2, 4, 4),
    blocks=2,
    merges=(False, True, True),
    latent_mean=(
        *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
        *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
    ),
    latent_std=(
        *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
        *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
    ),
)

TAEHV_WAN21 = TAEHVSpec(
    image_channels=3,
    latent_channels=16,
    encoder_width=64,
    decoder_widths=(256, 128, 64, 64),
    blocks=3,
    encoder_strides=(2, 2, 1),
    decoder_strides=(1, 2, 2),
    latent_mean=WAN_VAE.latent_mean,
    latent_std=WAN_VAE.latent_std,
)


AutoencoderName = Literal["wan", "taehv", "wan+taehv"]


@dataclass(frozen=True, slots=True)
class AutoencoderUse:
    """Which autoencoder serves a family of models where.

    "wan": the large one, "taehv": the tiny one, "wan+taehv": the large one encodes and the tiny one
    decodes.

    Attributes:
        live: for a viewer, who waits.
        export: for a file, which is looked at again.
    """

    live: AutoencoderName
    export: AutoencoderName


# At 480 x 832 the large one costs 21.6 TFLOP for four pictures both ways, the tiny one 0.8: more,
# and far less, than the transformer between them.
WAN_AUTOENCODERS = AutoencoderUse(live="taehv", export="wan")


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
