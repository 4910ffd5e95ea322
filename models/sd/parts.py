"""A model from a folder: UNet, small autoencoder, text encoder, LoRA and ControlNet, each strict.

The folder has a sub-folder for each part, with the files as published: unet/, vae/ (a TAESD),
text_encoder/, tokenizer/, lora/ where the model has its own, and scheduler/ if it was kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

import torch
from torch import Tensor, nn

from ...kernels import gaussian_noise
from ..loaders import WeightsError
from .control import CONDITIONS
from .library import frozen, read_json, read_network, read_text, require
from .lora import Lora, merge, read_lora
from .network import Network, channels_last
from .specs import Betas, Prediction, SDSpec
from .text import ClipPrompts, Prompts, RandomPrompts

NOISE_BLOCK = 999_983
"""A prime, so that rows of no weight are alike."""


@dataclass(frozen=True, slots=True)
class Additions:
    """What may be added to a model.

    Attributes:
        lora: a file, or None.
        controlnet: a folder with config.json and weights, or None.
        condition: what the ControlNet is shown, a name of `control.CONDITIONS`.
    """

    lora: Path | None = None
    controlnet: Path | None = None
    condition: str = "edges"


class Autoencoder:
    """diffusers' AutoencoderTiny between pictures in 0..1 and latents as the UNet knows them."""

    def __init__(self, vae: nn.Module) -> None:
        self.vae = vae
        self._scale: float = vae.config.scaling_factor  # type: ignore[union-attr, assignment]
        self._dtype = next(vae.parameters()).dtype

    def encode(self, pictures: Tensor) -> Tensor:
        """[n, 3, H, W] in 0..1 to [n, 4, H/8, W/8]."""
        latents: Tensor = self.vae.encode(  # type: ignore[operator]
            (2 * pictures - 1).to(self._dtype), return_dict=False
        )[0]
        return latents * self._scale

    def decode(self, latents: Tensor) -> Tensor:
        """And back."""
        pictures: Tensor = self.vae.decode(  # type: ignore[operator]
            (latents / self._scale).to(self._dtype), return_dict=False
        )[0]
        return (pictures / 2 + 0.5).clamp(0, 1)


@dataclass(frozen=True, slots=True)
class SDModel:
    """All parts, ready to run."""

    spec: SDSpec
    network: Network
    autoencoder: Autoencoder
    prompts: Prompts


def load_sd(
    spec: SDSpec, folder: Path, device: str, dtype: torch.dtype, additions: Additions
) -> SDModel:
    """The model in a folder, for inference.

    The sizes are those of the folder's own configurations, so a smaller model of the same kind
    loads as well; what `spec` says of noise levels holds unless scheduler/ says otherwise.

    Raises:
        MissingPackage: diffusers or transformers is not installed.
        FileNotFoundError, WeightsError: a file is missing, damaged or does not fit.
    """
    diffusers = require("diffusers")
    spec = _scheduled(spec, folder / "scheduler" / "scheduler_config.json")
    unet = read_network(diffusers.UNet2DConditionModel, folder / "unet", device, dtype)
    spec = replace(spec, unet=dict(unet.config))  # type: ignore[arg-type]
    vae = read_network(diffusers.AutoencoderTiny, folder / "vae", device, dtype)
    encoder, tokenizer = read_text(folder, device, dtype)
    _check_together(spec, encoder, folder)
    own = folder / "lora" / "pytorch_lora_weights.safetensors"
    if own.is_file():
        merge(unet, read_lora(own, unet, None)[0])
    unet_lora, text_lora = None, None
    if additions.lora is not None:
        in_unet, in_text = read_lora(additions.lora, unet, encoder)
        unet_lora = Lora((unet, in_unet)) if in_unet else None
        text_lora = Lora((encoder, in_text)) if in_text else None
    controlnet, condition = None, None
    if additions.controlnet is not None:
        controlnet = read_network(diffusers.ControlNetModel, additions.controlnet, device, dtype)
        condition = CONDITIONS[additions.condition]
    network = Network(spec, channels_last(unet), unet_lora, controlnet, condition)
    prompts = ClipPrompts(tokenizer, encoder, spec.tokens, text_lora)
    return SDModel(spec, network, Autoencoder(channels_last(vae)), prompts)


def random_sd(spec: SDSpec, device: str, dtype: torch.dtype) -> SDModel:
    """The same networks with random weights: their speed, not their looks.

    Raises:
        MissingPackage: diffusers is not installed.
    """
    diffusers = require("diffusers")
    with torch.device("meta"):
        empty = diffusers.UNet2DConditionModel(**spec.unet), diffusers.AutoencoderTiny()
    unet, vae = (_filled(part, device, dtype) for part in empty)
    network = Network(spec, channels_last(unet))
    prompts = RandomPrompts(spec.tokens, spec.text_dim, network.device, dtype)
    return SDModel(spec, network, Autoencoder(channels_last(vae)), prompts)


def _filled(network: nn.Module, device: str, dtype: torch.dtype) -> nn.Module:
    """A network from the meta device with weights that keep the size of what runs through.

    One block of noise fills them all, over and over: drawing a billion numbers takes minutes.
    """
    network = nn.Module.to_empty(nn.Module.to(network, dtype), device=device)
    block = gaussian_noise(0, 0, 0, (NOISE_BLOCK,), device, torch.float32).to(dtype)
    for name, parameter in network.named_parameters():
        flat = parameter.data.view(-1)
        if parameter.dim() < 2:
            flat.fill_(1.0 if name.endswith("weight") else 0.0)
            continue
        scale = parameter[0].numel() ** -0.5
        whole = len(flat) - len(flat) % NOISE_BLOCK
        flat[:whole].view(-1, NOISE_BLOCK).copy_(block * scale)
        flat[whole:].copy_(block[: len(flat) - whole] * scale)
    return frozen(network)


def _check_together(spec: SDSpec, encoder: nn.Module, folder: Path) -> None:
    given = encoder.config.hidden_size  # type: ignore[union-attr]
    if given != spec.text_dim:
        raise WeightsError(
            f"{folder}: the text encoder gives vectors of {given}, the UNet reads {spec.text_dim}; "
            "they are of different models"
        )


def _scheduled(spec: SDSpec, file: Path) -> SDSpec:
    """The spec with what the model's own scheduler says, where that was kept: what the output
    means is otherwise a guess that nobody would notice but by the colours."""
    if not file.is_file():
        return spec
    config = read_json(file)
    if config.get("beta_schedule", "scaled_linear") != "scaled_linear":
        raise WeightsError(f"{file}: beta_schedule {config['beta_schedule']!r} is not known")
    prediction = str(config.get("prediction_type", spec.prediction))
    prediction = prediction.replace("flow_prediction", "flow")
    if prediction not in get_args(Prediction):
        known = ", ".join(get_args(Prediction))
        raise WeightsError(f"{file}: prediction_type {prediction!r} is not one of {known}")
    betas = Betas(
        config.get("beta_start", spec.betas.first),
        config.get("beta_end", spec.betas.last),
        config.get("num_train_timesteps", spec.betas.steps),
    )
    return replace(spec, prediction=cast(Prediction, prediction), betas=betas)
