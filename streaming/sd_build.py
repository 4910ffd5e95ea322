"""From the options of the UNet models to a pipeline: weights, additions, and whether it all fits.

Nothing is fetched here; a model that is not there is an error that says how to get it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..models.checkpoints import open_source
from ..models.estimate import told
from ..models.loaders import WeightsError
from ..models.sd.control import CONDITIONS
from ..models.sd.parts import Additions, MissingPackage, SDModel, load_sd, random_sd
from ..models.sd.room import estimate
from ..models.sd.specs import SPECS, SDSpec
from .config import ConfigError, whole_number
from .pipeline import PipelineContext
from .room import free_bytes
from .sd import Size, UNetStylizer
from .sd_info import SIZE, sd_info

MOST_FRAMES = 16
PARTS = ("unet", "vae", "text_encoder")


@dataclass(frozen=True, slots=True)
class SDRoom:
    """What a model and its streams take on their device."""

    spec: SDSpec
    device: str
    dtype: str
    streams: int
    frames: int

    def check(self, size: Size, loaded: bool = True) -> None:
        """Whether streams of a size (height and width) fit.

        Args:
            loaded: the weights are there already.

        Raises:
            RuntimeError: they do not; with the numbers and what would help.
        """
        parts = estimate(
            self.spec, size[::-1], self.streams, self.frames, self.dtype, self.spec.steps
        )
        if loaded:
            del parts["weights"]
        free = free_bytes(self.device)
        if free is None or sum(parts.values()) <= free:
            return
        fewer = "fewer --max-sessions, " if self.streams > 1 else ""
        raise RuntimeError(
            f"{self.spec.name} with {self.streams} stream{'s' * (self.streams > 1)} of "
            f"{size[1]}x{size[0]} takes {told(parts)} on {self.device}, where {free / 1e9:.1f} GB "
            f"are free; please use {fewer}a smaller --size or a device with more memory"
        )


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
    `frame_buffer` (frames taken at once), `schedule`, `size` and `max_sessions`.

    Raises:
        ConfigError: no weights, or they do not fit, or a package is missing.
    """
    options = context.options
    chunk = whole_number("frame_buffer", options.get("frame_buffer", 1), MOST_FRAMES)
    streams = int(options.get("max_sessions", 4))
    additions, random = _additions(options), bool(options.get("random_weights"))
    width, height = options.get("size", SIZE)
    try:
        folder = None if random else _folder(name, options)
        spec = SPECS[name] if folder is None else _sizes(SPECS[name], folder)
        room = SDRoom(spec, context.device, context.dtype, streams, chunk)
        room.check((height, width), loaded=False)
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
    return UNetStylizer(model, info, streams=streams, sequential=sequential, check=room.check)


def _model(
    spec: SDSpec, folder: Path | None, context: PipelineContext, additions: Additions
) -> SDModel:
    dtype = getattr(torch, context.dtype)
    if folder is not None:
        return load_sd(spec, folder, context.device, dtype, additions)
    if additions.lora or additions.controlnet:
        raise WeightsError("a LoRA or a ControlNet means nothing beside random weights")
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


def _sizes(spec: SDSpec, folder: Path) -> SDSpec:
    """The spec with the sizes of what lies in a folder, told without reading a tensor."""
    count = 0
    for part in PARTS:
        count += sum(map(math.prod, open_source(folder / part).shapes.values()))
    file = folder / "unet" / "config.json"
    try:
        config = json.loads(file.read_text("utf-8"))
        unet = {**spec.unet, "block_out_channels": config["block_out_channels"]}
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{folder / 'unet' / 'config.json'}: no sizes of a UNet: {error}"
        ) from error
    return replace(spec, parameters=count, unet=unet)


def _additions(options: Mapping[str, Any]) -> Additions:
    lora, controlnet = options.get("lora"), options.get("controlnet")
    condition = str(options.get("condition", "edges"))
    if condition not in CONDITIONS:
        raise ConfigError(f"condition: {condition!r} is not one of {', '.join(CONDITIONS)}")
    return Additions(
        Path(os.fspath(lora)) if lora else None,
        Path(os.fspath(controlnet)) if controlnet else None,
        condition,
    )
