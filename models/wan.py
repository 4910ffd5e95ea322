"""A causal Wan model as it is run: transformer and autoencoder, from a folder or random."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from .checkpoints import load_causal_wan, random_causal_wan
from .dit import CausalDiT
from .loaders import random_model
from .policies import WanPolicy
from .sources import open_source
from .specs import TAEHV_WAN21, WAN_VAE, AutoencoderName, DiTSpec, TAEHVSpec, WanVAESpec
from .taehv import TAEHV
from .video_autoencoder import Pair, VideoAutoencoder, load_autoencoder
from .wan_sizes import dit_sizes, vae_sizes
from .wan_vae import WanVAE
from .weight_files import weight_files

FOLDERS = {"wan": ("vae",), "taehv": ("taehv",), "wan+taehv": ("vae", "taehv")}
"""The parts of a folder of weights that each autoencoder is of."""


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


def sizes_of(folder: Path, named: DiTSpec, policy: WanPolicy, coder: AutoencoderName) -> WanSizes:
    """The dimensions that the files of a folder tell; what they do not tell is that of `named`.

    Raises:
        FileNotFoundError, WeightsError, ValueError: a file is missing or damaged.
    """
    for role in ("dit", *FOLDERS[coder]):
        weight_files(folder / role)  # is it there?
    dit = policy.spec(dit_sizes(folder, named))
    if coder == "taehv":
        return WanSizes(dit)
    return WanSizes(dit, vae_sizes(open_source(folder / "vae").shapes, WAN_VAE))


def load_wan(
    folder: Path,
    sizes: WanSizes,
    coder: AutoencoderName,
    device: torch.device | str,
    dtype: torch.dtype,
    ema: bool = False,
) -> WanModel:
    """The weights of a folder in the layout of a pulled model.

    Raises:
        FileNotFoundError: a part is not there.
        WeightsError: a file is damaged or of another model; names the file and what differs.
    """
    files = {role: weight_files(folder / role)[0] for role in FOLDERS[coder]}
    dit = load_causal_wan(sizes.dit, folder / "dit", device, dtype, ema)
    given = (coder, files, device, dtype)
    return WanModel(sizes, dit, load_autoencoder(*given, sizes.vae, sizes.taehv))


def random_wan(
    sizes: WanSizes,
    coder: AutoencoderName,
    device: torch.device | str,
    dtype: torch.dtype,
    seed: int = 0,
) -> WanModel:
    """The same networks with random weights: their speed, not their looks."""

    def large() -> WanVAE:
        return random_model(lambda: WanVAE(sizes.vae), device, dtype, seed).optimise_layout()

    def small() -> TAEHV:
        return random_model(lambda: TAEHV(sizes.taehv), device, dtype, seed).optimise_layout()

    dit = random_causal_wan(sizes.dit, device, dtype, seed)
    if coder == "wan":
        return WanModel(sizes, dit, large())
    return WanModel(sizes, dit, small() if coder == "taehv" else Pair(large(), small()))
