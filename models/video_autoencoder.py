"""`VideoAutoencoder`: what a pipeline asks of an autoencoder with a stream's memory, and where one
comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from .loaders import assign_weights, load_model, read_weights
from .specs import TAEHV_WAN21, WAN_VAE, AutoencoderName, TAEHVSpec, WanVAESpec
from .state import State
from .taehv import TAEHV, fit_released
from .wan_vae import WanVAE


class VideoAutoencoder(Protocol):
    """Pictures [rows, T, 3, H, W] in 0..1 <-> latents [rows, c, channels, h, w], as a stream.

    Latent frame k of a stream stands for pictures 4 k - 3 .. 4 k, and the first one for picture 0
    alone (4 being `frames_per_latent`). So the first chunk of a stream is marked `first` and has
    1 + 4 k pictures and 1 + k latent frames, both ways; every other one has 4 k and k. A pipeline
    that wants four pictures a chunk from the start shows the first picture twice.

    Rows of one call are all at their beginning or all past it; `mask` leaves out the others. Chunks
    may be cut in any way. Memory is written in place, and `State.reset` makes a row new.
    """

    @property
    def channels(self) -> int:
        """Of a latent frame."""

    @property
    def stride(self) -> int:
        """Pixels of a side that make one cell of a latent frame."""

    @property
    def frames_per_latent(self) -> int:
        """Pictures that make one latent frame."""

    @property
    def lag(self) -> int:
        """By how many pictures what comes out of `decode` shows something older than what went into
        `encode` for the same place. Counts and shapes are as described above all the same."""

    def init_state(
        self,
        rows: int,
        height: int,
        width: int,
        device: torch.device | str,
        dtype: torch.dtype,
        *,
        encode: bool = True,
        decode: bool = True,
    ) -> State:
        """Memory for `rows` streams of pictures height x width.

        Args:
            encode, decode: which of the two will be run; memory of the other is left out.

        Raises:
            ValueError: a side is no multiple of `stride`.
        """

    def encode(
        self,
        pictures: Tensor,
        state: Any,
        mask: Tensor | None = None,
        *,
        first: bool = False,
        normalise: bool = True,
    ) -> Tensor:
        """Pictures of a chunk to latents.

        Args:
            mask: bool [rows], rows that run; None for all. Others keep their memory, and their
                output means nothing.
            first: the chunk begins the streams of the rows that run, which are new or reset.
            normalise: standardise each channel. False gives the raw latents of the large
                autoencoder, as the released StreamDiffusionV2 feeds its model.

        Raises:
            ValueError: the chunk has another number of pictures.
        """

    def decode(
        self,
        latents: Tensor,
        state: Any,
        mask: Tensor | None = None,
        *,
        first: bool = False,
    ) -> Tensor:
        """Standardised latents of a chunk to pictures; `mask` and `first` as in `encode`."""


@dataclass(eq=False)
class _PairState(State):
    encoder: State
    decoder: State


class Pair:
    """Encodes with one autoencoder and decodes with another one of the same latents."""

    def __init__(self, encoder: VideoAutoencoder, decoder: VideoAutoencoder) -> None:
        for name in ("channels", "stride", "frames_per_latent"):
            one, other = getattr(encoder, name), getattr(decoder, name)
            if one != other:
                raise ValueError(f"the encoder's {name} is {one}, the decoder's {other}")
        self.encoder, self.decoder = encoder, decoder
        self.channels, self.stride = encoder.channels, encoder.stride
        self.frames_per_latent = encoder.frames_per_latent
        # It is the encoder's groups of pictures that make the lag.
        self.lag = encoder.lag

    def init_state(
        self,
        rows: int,
        height: int,
        width: int,
        device: torch.device | str,
        dtype: torch.dtype,
        *,
        encode: bool = True,
        decode: bool = True,
    ) -> State:
        """See `VideoAutoencoder`."""
        size = (rows, height, width, device, dtype)
        return _PairState(
            self.encoder.init_state(*size, encode=encode, decode=False),
            self.decoder.init_state(*size, encode=False, decode=decode),
        )

    def encode(
        self,
        pictures: Tensor,
        state: Any,
        mask: Tensor | None = None,
        *,
        first: bool = False,
        normalise: bool = True,
    ) -> Tensor:
        """See `VideoAutoencoder`."""
        return self.encoder.encode(pictures, state.encoder, mask, first=first, normalise=normalise)

    def decode(
        self,
        latents: Tensor,
        state: Any,
        mask: Tensor | None = None,
        *,
        first: bool = False,
    ) -> Tensor:
        """See `VideoAutoencoder`."""
        return self.decoder.decode(latents, state.decoder, mask, first=first)


def load_wan_vae(
    path: Path | str,
    device: torch.device | str,
    dtype: torch.dtype,
    spec: WanVAESpec = WAN_VAE,
) -> WanVAE:
    """The VAE of Wan 2.1 from `Wan2.1_VAE.pth`, or safetensors of the same names.

    Raises:
        FileNotFoundError, WeightsError: no such file, or it is damaged or does not fit.
    """
    return load_model(lambda: WanVAE(spec), path, device, dtype).optimise_layout()


def load_taehv(
    path: Path | str,
    device: torch.device | str,
    dtype: torch.dtype,
    spec: TAEHVSpec = TAEHV_WAN21,
) -> TAEHV:
    """A TAEHV from `taew2_1.pth`, or safetensors of the same names.

    Raises:
        FileNotFoundError, WeightsError: no such file, or it is damaged or does not fit.
    """
    weights = read_weights(path)
    with torch.device("meta"):
        module = TAEHV(spec)
    fitted = fit_released(module, weights)
    return assign_weights(module, fitted, str(path), device, dtype).optimise_layout()


def load_autoencoder(
    name: AutoencoderName,
    files: Mapping[str, Path],
    device: torch.device | str,
    dtype: torch.dtype,
    vae: WanVAESpec = WAN_VAE,
    taehv: TAEHVSpec = TAEHV_WAN21,
) -> VideoAutoencoder:
    """An autoencoder by name.

    Args:
        files: by role, "vae" and "taehv"; only those that the name needs.

    Raises:
        KeyError: a file that the name needs is not given.
        FileNotFoundError, WeightsError: see `load_wan_vae`.
    """
    if name == "wan":
        return load_wan_vae(files["vae"], device, dtype, vae)
    tiny = load_taehv(files["taehv"], device, dtype, taehv)
    if name == "taehv":
        return tiny
    return Pair(load_wan_vae(files["vae"], device, dtype, vae), tiny)
