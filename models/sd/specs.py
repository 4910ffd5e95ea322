"""Released UNet models and their noise levels, as plain data. This file imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

Prediction = Literal["epsilon", "v_prediction", "flow"]
"""What the network's output is: the noise, the velocity a noise - b clean, or noise - clean."""
Boundary = Literal["constant", "lcm"]

LAST_INDEX = 45
"""Where the last of several levels lies: early enough to still draw detail (t = 99 of 1000)."""


@dataclass(frozen=True, slots=True)
class Betas:
    """A schedule of added noise: `steps` variances whose square roots are evenly spaced."""

    first: float
    last: float
    steps: int


@dataclass(frozen=True, slots=True)
class SDSpec:
    """One released model.

    Attributes:
        name: as on the command line.
        unet: configuration of diffusers' UNet2DConditionModel, as published beside the weights.
        parameters: of UNet, tiny autoencoder and text encoder together.
        prediction: what the UNet's output means.
        betas: of the schedule that it was trained with.
        indices: timesteps that one may start from; index 0 is the noisiest.
        max_steps: most denoising steps of a frame.
        boundary: "lcm" mixes a trace of the input into each result, as consistency models were
            trained (Luo et al. 2023, section 4.3); "constant" uses its limit, no trace at all,
            which differs by less than 1e-6 down to t = 99.
        tokens: length of a prompt.
        strength, steps: what a viewer begins with.
    """

    name: str
    unet: Mapping[str, Any]
    parameters: int
    prediction: Prediction
    betas: Betas
    indices: int
    max_steps: int
    boundary: Boundary
    tokens: int
    strength: float
    steps: int

    @property
    def text_dim(self) -> int:
        """Size of one vector of the prompt."""
        return int(self.unet["cross_attention_dim"])


@dataclass(frozen=True, slots=True)
class NoiseLevel:
    """A latent at this level is clean * x0 + noise * eps.

    Attributes:
        timestep: what the UNet is told.
        clean, noise: shares of the clean latent and of the noise.
        skip, out: of a step's result, the shares of its input and of the clean estimate.
    """

    timestep: float
    clean: float
    noise: float
    skip: float
    out: float


@cache
def clean_shares(betas: Betas) -> tuple[float, ...]:
    """sqrt of the cumulative product of (1 - beta), for timesteps 0, 1, ..."""
    first, last = math.sqrt(betas.first), math.sqrt(betas.last)
    product, shares = 1.0, []
    for step in range(betas.steps):
        root = first + (last - first) * step / (betas.steps - 1)
        product *= 1 - root * root
        shares.append(math.sqrt(product))
    return tuple(shares)


def levels(spec: SDSpec, indices: tuple[int, ...]) -> tuple[NoiseLevel, ...]:
    """The noise levels at some indices, noisiest first.

    Index i is timestep 999 - 20 i where there are 50 of 1000, which is what LCM sampling with 50
    steps makes of it.

    Raises:
        ValueError: none, too many, outside the schedule, or not rising.
    """
    if not 1 <= len(indices) <= spec.max_steps:
        raise ValueError(f"{len(indices)} levels; {spec.name} takes 1 to {spec.max_steps}")
    if indices[0] < 0 or indices[-1] >= spec.indices:
        raise ValueError(f"levels {indices} lie outside 0 to {spec.indices - 1}")
    if any(one >= after for one, after in zip(indices, indices[1:], strict=False)):
        raise ValueError(f"levels {indices} must rise: each step has less noise than the last")
    return tuple(_level(spec, index) for index in indices)


def level_indices(spec: SDSpec, strength: float, steps: int) -> tuple[int, ...]:
    """Where a frame begins and how it goes on, from how much of it should change.

    The first index is the strength: 1 begins at nearly pure noise, 0 at nearly none. The others
    are evenly spaced up to index 45; a weak change has room for few steps, then there are fewer.

    Args:
        strength: 0..1.
        steps: at least 1.
    """
    top = spec.indices - 1
    first = min(top, max(0, round(spec.indices * (1 - strength))))
    steps = min(steps, spec.max_steps, top - first + 1)
    if steps == 1:
        return (first,)
    last = min(top, max(LAST_INDEX * spec.indices // 50, first + steps - 1))
    return tuple(first + round(i * (last - first) / (steps - 1)) for i in range(steps))


def _level(spec: SDSpec, index: int) -> NoiseLevel:
    train = spec.betas.steps
    timestep = (spec.indices - index) * (train // spec.indices) - 1
    if spec.prediction == "flow":
        clean, noise = 1 - timestep / train, timestep / train
    else:
        clean = clean_shares(spec.betas)[timestep]
        noise = math.sqrt(1 - clean * clean)
    skip, out = 0.0, 1.0
    if spec.boundary == "lcm":
        # sigma_data = 0.5, and timesteps are scaled by 10, as all LCM checkpoints have it.
        scaled, data = 10.0 * timestep, 0.5
        skip = data**2 / (scaled**2 + data**2)
        out = scaled / math.sqrt(scaled**2 + data**2)
    return NoiseLevel(float(timestep), clean, noise, skip, out)


_UNET: Mapping[str, Any] = {
    "act_fn": "silu",
    "block_out_channels": (320, 640, 1280, 1280),
    "center_input_sample": False,
    "down_block_types": (
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "DownBlock2D",
    ),
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": (
        "UpBlock2D",
        "CrossAttnUpBlock2D",
        "CrossAttnUpBlock2D",
        "CrossAttnUpBlock2D",
    ),
}
SD15_UNET = MappingProxyType({**_UNET, "attention_head_dim": 8, "cross_attention_dim": 768})
SD21_UNET = MappingProxyType(
    {
        **_UNET,
        "attention_head_dim": (5, 10, 20, 20),
        "cross_attention_dim": 1024,
        "use_linear_projection": True,
    }
)
TAESD = 2_445_063
"""Parameters of the tiny autoencoder."""
_BETAS = Betas(0.00085, 0.012, 1000)

SD_TURBO = SDSpec(
    name="sd-turbo",
    unet=SD21_UNET,
    parameters=865_910_724 + TAESD + 340_387_840,
    prediction="epsilon",
    betas=_BETAS,
    indices=50,
    max_steps=4,
    boundary="constant",
    tokens=77,
    strength=0.3,
    steps=2,
)
SD15_LCM = SDSpec(
    name="sd1.5-lcm",
    unet=SD15_UNET,
    parameters=859_520_964 + TAESD + 123_060_480,
    prediction="epsilon",
    betas=_BETAS,
    indices=50,
    max_steps=8,
    boundary="lcm",
    tokens=77,
    strength=0.56,
    steps=3,
)
SPECS: Mapping[str, SDSpec] = {spec.name: spec for spec in (SD_TURBO, SD15_LCM)}
