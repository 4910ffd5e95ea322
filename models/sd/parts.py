"""A model from a folder: UNet, small autoencoder, text encoder, LoRA and ControlNet, each strict.

The folder has a sub-folder for each part, with the files as published: unet/, vae/ (a TAESD),
text_encoder/, tokenizer/, lora/ where the model has its own, and scheduler/ if it was kept.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn

from ...kernels import gaussian_noise
from ..loaders import WeightsError, load_model
from .control import CONDITIONS
from .lora import Lora, merge, read_lora
from .network import Network, channels_last
from .specs import Betas, Prediction, SDSpec
from .text import ClipPrompts, Prompts, RandomPrompts

WEIGHTS = "diffusion_pytorch_model.safetensors"
NOISE_BLOCK = 999_983
"""A prime, so that rows of no weight are alike."""
EXTRA = "pip install 'millrace[sd]'"


class MissingPackage(RuntimeError):
    """A package of the extra is not installed; the message says how to install it."""


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
    unet = _load(diffusers.UNet2DConditionModel, folder / "unet", device, dtype)
    spec = replace(spec, unet=dict(unet.config))  # type: ignore[arg-type]
    vae = _load(diffusers.AutoencoderTiny, folder / "vae", device, dtype)
    encoder, tokenizer = _load_text(folder, device, dtype)
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
        controlnet = _load(diffusers.ControlNetModel, additions.controlnet, device, dtype)
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
    return _frozen(network)


def require(package: str) -> ModuleType:
    """A package of the extra, imported.

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackage(
            f"this model needs the package {package} ({error}); install it with {EXTRA}"
        ) from error


def _load(kind: Any, folder: Path, device: str, dtype: torch.dtype) -> nn.Module:
    """A network of diffusers, built from config.json without allocating, with exactly its keys."""
    config = _read_json(folder / "config.json")
    named = config.get("_class_name", kind.__name__)
    if named != kind.__name__:
        raise WeightsError(
            f"{folder / 'config.json'} is of a {named}, expected {kind.__name__}; "
            "choose the folder of the right part"
        )
    try:
        with torch.device("meta"):
            kind.from_config(config)
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"{folder / 'config.json'} describes no {kind.__name__} that can be built: {error}"
        ) from error
    network: nn.Module = load_model(
        lambda: kind.from_config(config), folder / WEIGHTS, device, dtype
    )
    return network


def _load_text(folder: Path, device: str, dtype: torch.dtype) -> tuple[nn.Module, Any]:
    transformers = require("transformers")
    place, words = folder / "text_encoder", folder / "tokenizer"
    for file in (place / "config.json", words / "vocab.json", words / "merges.txt"):
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file; check the folder or pull the model")
    with _quiet():
        try:
            encoder, report = transformers.CLIPTextModel.from_pretrained(
                str(place), local_files_only=True, output_loading_info=True, dtype=dtype
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise WeightsError(
                f"{place}: cannot be read as a CLIP text encoder: {error}"
            ) from error
        tokenizer = transformers.CLIPTokenizer.from_pretrained(str(words), local_files_only=True)
    faults = [
        f"{kind}: {', '.join(sorted(map(str, report[key]))[:5])}"
        for kind, key in (("missing", "missing_keys"), ("unknown", "unexpected_keys"))
        if report[key]
    ]
    if faults:
        raise WeightsError(f"{place} does not fit CLIPTextModel: {'; '.join(faults)}")
    return _frozen(encoder.to(device)), tokenizer


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the loader's own report, which `_load_text` turns into an error."""
    logger = logging.getLogger("transformers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


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
    config = _read_json(file)
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


def _read_json(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{file}: no such file; check the folder or pull the model"
        ) from None
    except ValueError as error:
        raise WeightsError(f"{file}: is no JSON ({error}); please fetch it again") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{file}: holds no settings by name")
    return content


def _frozen(module: Any) -> nn.Module:
    frozen: nn.Module = module.eval().requires_grad_(False)
    return frozen
