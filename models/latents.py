"""The one place that converts between raw and standardised latents.

An autoencoder's raw latents have a mean and a deviation of their own in each channel; diffusion
models of the Wan family are trained on (and TAEHV makes and takes) standardised ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


class LatentSpace:
    """Mean and deviation of each channel; latents are [rows, frames, channels, height, width]."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError("a latent space has one mean and one positive deviation a channel")
        self.mean, self.std = tuple(mean), tuple(std)
        self._made: dict[object, tuple[Tensor, Tensor]] = {}

    def standardise(self, raw: Tensor) -> Tensor:
        """Raw latents to mean 0 and deviation 1."""
        mean, std = self._like(raw)
        return (raw - mean) / std

    def restore(self, standardised: Tensor) -> Tensor:
        """The way back."""
        mean, std = self._like(standardised)
        return standardised * std + mean

    def _like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # Made once a device and type: a host-to-device copy a chunk would be a sync.
        key = (x.device, x.dtype)
        if key not in self._made:
            shape = (-1, 1, 1)
            self._made[key] = (
                x.new_tensor(self.mean).view(shape),
                x.new_tensor(self.std).view(shape),
            )
        return self._made[key]
