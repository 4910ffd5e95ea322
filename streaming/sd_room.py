"""Whether a UNet model and its streams fit into the memory that is free, told with the numbers."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

from ..models.loaders import WeightsError
from ..models.sd.parts import Additions
from ..models.sd.room import Extra, estimate
from ..models.sd.specs import SDSpec
from ..models.sources import open_source
from .room import check_fits
from .sd import Size
from .sd_info import STRIDE

PARTS = ("unet", "vae", "text_encoder")
_COUNTED = (
    "block_out_channels",
    "cross_attention_dim",
    "down_block_types",
    "in_channels",
    "layers_per_block",
    "up_block_types",
)
"""Settings of a UNet that say how much memory it takes."""


@dataclass(frozen=True, slots=True)
class SDRoom:
    """What a model and its streams take on their device."""

    spec: SDSpec
    device: str
    dtype: str
    streams: int
    frames: int
    extra: Extra

    def check(self, size: Size, loaded: bool = True) -> None:
        """Whether streams of a size (height and width) fit.

        Args:
            loaded: the weights are there already.

        Raises:
            RuntimeError: they do not; with the numbers and what would help.
        """
        height, width = (-(-side // STRIDE) * STRIDE for side in size)
        asked = (self.streams, self.frames, self.dtype, self.spec.steps, self.extra)
        parts = estimate(self.spec, (width, height), *asked)
        if loaded:
            del parts["weights"]
        streams = "one stream" if self.streams == 1 else f"{self.streams} streams"
        what = f"{self.spec.name} with {streams} of {width}x{height}"
        fewer = ["fewer --max-sessions"] if self.streams > 1 else []
        check_fits(what, parts, self.device, [*fewer, "a smaller --size"])


def sizes(spec: SDSpec, folder: Path) -> SDSpec:
    """The spec with the sizes of what lies in a folder, told without reading a tensor.

    Raises:
        FileNotFoundError, WeightsError: a file is missing or damaged; it is named.
    """
    file = folder / "unet" / "config.json"
    count = sum(_parameters(folder / part) for part in PARTS)
    try:
        config = json.loads(file.read_text("utf-8"))
        unet = {**spec.unet, **{name: config[name] for name in _COUNTED}}
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{file}: no sizes of a UNet: {error}") from error
    return replace(spec, parameters=count, unet=unet)


def extra(additions: Additions) -> Extra:
    """What is added to a model, told without reading a tensor.

    Raises:
        FileNotFoundError, WeightsError: a file is missing or damaged; it is named.
    """
    given = (additions.lora, additions.controlnet)
    count = sum(_parameters(path) for path in given if path is not None)
    return Extra(count, additions.controlnet is not None)


def _parameters(path: Path) -> int:
    return sum(map(math.prod, open_source(path).shapes.values()))
