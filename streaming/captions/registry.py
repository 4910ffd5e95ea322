"""From a model's name to a model that is ready to tell."""

from __future__ import annotations

from pathlib import Path

import torch

from ...models.vl.memory.policy import Recall, Window
from ...models.vl.memory.sizes import POLICIES, TINY_SIZES
from ...models.vl.memory.windows import VisionAndText
from ...models.vl.model import VLModel
from ...models.vl.specs import TINY_VL, VisionSpec
from ...models.vl.stream import StreamingVL
from ...models.vl.tiny_dialect import TinyDialect
from ..config import ConfigError
from .host import CaptionInfo, CaptionOptions
from .looks import LookSpec
from .model import CaptionModel

BUILT_IN = ("tiny",)


def build(options: CaptionOptions) -> CaptionModel:
    """Load a model and make room for its viewers. Takes seconds.

    Raises:
        ConfigError: no such model or device, or it does not fit; the message says what to do.
    """
    if options.vlm not in BUILT_IN and not Path(options.vlm).exists():
        raise ConfigError(f"vlm: there is no model {options.vlm!r}; use {', '.join(BUILT_IN)}")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    reader = StreamingVL(VLModel(TINY_VL).eval(), 8192)
    info = CaptionInfo(
        name="tiny",
        title="Tiny (untrained)",
        limits=("It is not trained yet.",),
        examples=("how many circles are there?",),
        alerts=("a red circle appears",),
        device="cpu",
        dtype="float32",
        period=1.0,
        memory=120.0,
        look=look_of(TINY_VL.vision),
        policies=POLICIES,
    )
    return CaptionModel(reader, TinyDialect(), info, _memory)


def _memory(name: str) -> tuple[Window, Recall | None]:
    if name not in POLICIES:
        raise ValueError(f"no memory policy is called {name!r}; there are {', '.join(POLICIES)}")
    return VisionAndText(TINY_SIZES.window), None


def look_of(vision: VisionSpec) -> LookSpec:
    """How pictures are taken for a tower."""
    return LookSpec(
        factor=vision.factor,
        min_pixels=vision.min_pixels,
        max_pixels=vision.max_pixels,
        frames=vision.frames,
        period=1 / vision.per_second,
    )
