"""From the options of the UNet models to a pipeline: weights, additions, and whether it all fits.

Nothing is fetched here; a model that is not there is an error that says how to get it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..models.loaders import WeightsError
from ..models.sd.control import CONDITIONS
from ..models.sd.library import MissingPackage
from ..models.sd.parts import Additions, SDModel, load_sd, random_sd
from ..models.sd.specs import SPECS, SDSpec
from .config import ConfigError, whole_number
from .pipeline import PipelineContext
from .recorders import recorder_for
from .sd import Size, UNetStylizer
from .sd_info import SIZE, sd_info
from .sd_room import SDRoom, extra, sizes

MOST_FRAMES = 16
"""Of a chunk."""


def build_turbo(context: PipelineContext) -> UNetStylizer:
    """SD-Turbo; see `build`."""
    return build("sd-turbo", context)


def build_lcm(context: PipelineContext) -> UNetStylizer:
    """Stable Diffusion 1.5 with LCM; see `build`."""
    return build("sd1.5-lcm", context)


def build(name: str, context: PipelineContext) -> UNetStylizer:
    """A released UNet model.

    Options: `weights` (a folder with the model's parts, or one that holds such folders by name) or
    `random_weights`; `lora` (a file), `controlnet` (a folder) and `condition` (what it is shown);
    `frame_buffer` (frames taken at once), `graphs` (`recorders`), `schedule`, `size` and
    `max_sessions`.

    Raises:
        ConfigError: no weights, or they do not fit, or a package is missing.
    """
    options = context.options
    chunk = whole_number("frame_buffer", options.get("frame_buffer", 1), MOST_FRAMES)
    streams = int(options.get("max_sessions", 4))
    random = bool(options.get("random_weights"))
    additions = _additions(options, random)
    width, height = options.get("size", SIZE)
    try:
        folder = None if random else _folder(name, options)
        spec = SPECS[name] if folder is None else sizes(SPECS[name], folder)
        room = SDRoom(spec, context.device, context.dtype, streams, chunk, extra(additions))
        _check_fits(room, (height, width))
        model = _model(spec, folder, context, additions)
    except (MissingPackage, WeightsError, OSError, RuntimeError) as error:
        raise ConfigError(f"{name}: {error}") from error
    info = sd_info(
        model.spec,
        chunk=chunk,
        lora=additions.lora.stem if additions.lora else "",
        controlnet=additions.controlnet.name if additions.controlnet else "",
        random=random,
    )
    sequential = options.get("schedule", "sequential") != "stream"
    return UNetStylizer(
        model,
        info,
        streams=streams,
        sequential=sequential,
        check=room.check,
        recorder=recorder_for(context.device, options),
    )


def _check_fits(room: SDRoom, size: Size) -> None:
    try:
        room.check(size, loaded=False)
    except RuntimeError as error:  # it names the model
        raise ConfigError(str(error)) from error


def _model(
    spec: SDSpec, folder: Path | None, context: PipelineContext, additions: Additions
) -> SDModel:
    dtype = getattr(torch, context.dtype)
    if folder is not None:
        return load_sd(spec, folder, context.device, dtype, additions)
    return random_sd(spec, context.device, dtype)


def _folder(name: str, options: Mapping[str, Any]) -> Path:
    given = options.get("weights")
    if not given:
        raise ConfigError(
            f"{name} needs its weights: run `millrace models pull {name}`, name their folder with "
            "--weights, or measure speed with --random-weights"
        )
    folder = Path(os.fspath(given))
    if (folder / name / "unet").is_dir():
        folder = folder / name
    if not (folder / "unet").is_dir():
        raise ConfigError(
            f"{name}: {folder} has no folder unet; fill it with `millrace models pull {name}`, "
            "or name the folder that holds unet, vae, text_encoder and tokenizer"
        )
    return folder


def _additions(options: Mapping[str, Any], random: bool) -> Additions:
    condition = str(options.get("condition", "edges"))
    if condition not in CONDITIONS:
        raise ConfigError(f"condition: {condition!r} is not one of {', '.join(CONDITIONS)}")
    lora, controlnet = (
        Path(os.fspath(options[name])).expanduser() if options.get(name) else None
        for name in ("lora", "controlnet")
    )
    if random and (lora or controlnet):
        raise ConfigError(
            "a LoRA or a ControlNet means nothing beside random weights; leave it out"
        )
    if lora and not lora.is_file():
        raise ConfigError(f"lora: {lora} is no file; name a .safetensors or .pt file")
    if controlnet and not (controlnet / "config.json").is_file():
        raise ConfigError(
            f"controlnet: {controlnet} has no config.json; name a ControlNet's folder"
        )
    if "condition" in options and not controlnet:
        raise ConfigError(
            f"condition: {condition} is for a ControlNet; add --option controlnet=FOLDER"
        )
    return Additions(lora, controlnet, condition)
