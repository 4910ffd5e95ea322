"""Sizes of the autoencoders, as plain data, and which one serves where. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
