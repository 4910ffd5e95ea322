"""A causal Wan model as it is run: transformer and autoencoder, from a folder or random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, get_args

import torch
from torch import nn

from .checkpoints import load_causal_wan, open_source, weight_files
from .dit import CausalDiT
from .loaders import assign_weights, read_weights
from .policies import WanPolicy
from .specs import TAEHV_WAN21, WAN_VAE, DiTSpec, TAEHVSpec, WanVAESpec
from .taehv import TAEHV, fit_released
from .video_autoencoder import Pair, VideoAutoencoder
from .wan_sizes import dit_sizes, vae_sizes
from .wan_vae import WanVAE

Coder = Literal["taehv", "mixed", "wan"]
"""Which autoencoder: the small one both ways (live), the large one to encode and the small one to
decode, or the large one both ways (best pictures; most of the time of the 1.3B model is then its).
"""
CODERS: tuple[Coder, ...] = get_args(Coder)
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class WanSizes:
    """Dimensions of all parts."""

    dit: DiTSpec
    vae: WanVAESpec = WAN_VAE
    taehv: TAEHVSpec = TAEHV_WAN21


@dataclass(frozen=True, slots=True, eq=False)
class WanModel:
    """Weights of a model, ready to run."""

    sizes: WanSizes
    dit: CausalDiT
    autoencoder: VideoAutoencoder


def sizes_of(folder: Path, named: DiTSpec, policy: WanPolicy, coder: Coder) -> WanSizes:
    """The dimensions that the files of a folder tell; what they do not tell is that of `named`.

    Raises:
        FileNotFoundError, WeightsError, ValueError: a file is missing or damaged.
    """
    dit = policy.spec(dit_sizes(folder, named))
    if coder == "taehv":
        return WanSizes(dit)
    return WanSizes(dit, vae_sizes(open_source(folder / "vae").shapes, WAN_VAE))


def load_wan(
    folder: Path,
    sizes: WanSizes,
    coder: Coder,
    device: torch.device | str,
    dtype: torch.dtype,
    ema: bool = False,
) -> WanModel:
    """The weights of a folder in the layout of a pulled model.

    Raises:
        FileNotFoundError: a part is not there.
        WeightsError: a file is damaged or of another model; names the file and what differs.
    """
    dit = load_causal_wan(sizes.dit, folder / "dit", device, dtype, ema)

    def loaded(build: Callable[[], Model], role: str) -> Model:
        (path,) = weight_files(folder / role)
        weights = read_weights(path)
        with torch.device("meta"):
            module = build()
        if isinstance(module, TAEHV):
            weights = fit_released(module, weights)
        return assign_weights(module, weights, str(path), device, dtype)

    return WanModel(
        sizes,
        dit,
        _coder(
            coder,
            lambda: loaded(lambda: WanVAE(sizes.vae), "vae"),
            lambda: loaded(lambda: TAEHV(sizes.taehv), "taehv"),
        ),
    )


def random_wan(
    sizes: WanSizes, coder: Coder, device: torch.device | str, dtype: torch.dtype, seed: int = 0
) -> WanModel:
    """The same networks with random weights: their speed, not their looks."""
    generator = torch.Generator(device).manual_seed(seed)

    def filled(build: Callable[[], Model]) -> Model:
        with torch.device("meta"):
            module = build()
        # One tensor after another in its final type, so that no second copy is ever made.
        module.to(dtype).to_empty(device=device)
        for name, parameter in module.named_parameters():
            _fill(name, parameter.data, generator)
        return module.eval().requires_grad_(False)

    dit = filled(lambda: CausalDiT(sizes.dit))
    autoencoder = _coder(
        coder, lambda: filled(lambda: WanVAE(sizes.vae)), lambda: filled(lambda: TAEHV(sizes.taehv))
    )
    return WanModel(sizes, dit, autoencoder)


def _fill(name: str, tensor: torch.Tensor, generator: torch.Generator) -> None:
    if "norm" in name and name.endswith("weight") or name.endswith("gamma"):
        tensor.fill_(1)
        return
    fan_in = tensor[0].numel() if tensor.ndim > 1 and len(tensor) > 1 else 2500
    bound = (3 / fan_in) ** 0.5  # of deviation 1 / sqrt(fan in), which keeps the scale
    tensor.uniform_(-bound, bound, generator=generator)


def _coder(
    coder: Coder, large: Callable[[], WanVAE], small: Callable[[], TAEHV]
) -> VideoAutoencoder:
    if coder == "taehv":
        return small().optimise_layout()
    encoder = large().optimise_layout()
    return encoder if coder == "wan" else Pair(encoder, small().optimise_layout())
