"""`VideoModel`: turns pictures and a mixture of styles into pictures, as one set of weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .autoencoder import PatchAutoencoder
from .bring import bring
from .dit import CausalDiT
from .specs import AutoencoderSpec, DiTSpec


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """Sizes of the parts, and the styles in the order of the bank; the first is the camera."""

    autoencoder: AutoencoderSpec
    dit: DiTSpec
    styles: tuple[str, ...]


class VideoModel(nn.Module):
    """Autoencoder, causal DiT and the bank of styles that the DiT is conditioned on."""

    def __init__(self, spec: VideoSpec) -> None:
        super().__init__()
        self.spec = spec
        self.autoencoder = PatchAutoencoder(spec.autoencoder)
        self.dit = CausalDiT(spec.dit)
        shape = (len(spec.styles), spec.dit.text_len, spec.dit.text_dim)
        self.bank = nn.Parameter(torch.randn(shape))

    def context(self, weights: Tensor, strength: float) -> Tensor:
        """Text embedding [text_len, text_dim] of a mixture of styles.

        Args:
            weights: [K] over the styles, summing to 1.
            strength: 0..1; what it leaves goes to the plain camera.
        """
        mixture = bring(weights, self.bank.device, self.bank.dtype) * strength
        mixture[0] += 1 - strength
        return (mixture @ self.bank.flatten(1)).unflatten(0, self.bank.shape[1:])

    def optimise_layout(self) -> VideoModel:
        """Lay convolution weights out as their inputs are (channels last); returns itself."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self
