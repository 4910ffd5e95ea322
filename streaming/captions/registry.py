"""From a model's name to a model that is ready to tell. Loads torch."""

from __future__ import annotations

import importlib
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...models.loaders import WeightsError
from ...models.sources import open_source
from ...models.vl import tiny_vl
from ...models.vl.checkpoint import fetch, load_checkpoint, read_spec
from ...models.vl.memory.policies import policy_named
from ...models.vl.memory.policy import Memory
from ...models.vl.memory.sizes import POLICIES, RELEASED_SIZES, TINY_SIZES, MemorySizes
from ...models.vl.model import VLModel
from ...models.vl.qwen_dialect import load_dialect
from ...models.vl.specs import TextSpec, VisionSpec, VLSpec
from ...models.vl.stream import StreamingVL
from ...models.vl.tiny_dialect import TinyDialect
from ..config import DTYPES, ConfigError
from ..room import free_bytes
from . import habits
from .answering import MAX_ANSWERING
from .host import CaptionInfo, CaptionOptions
from .looks import LookSpec
from .model import CaptionModel, MemoryFactory, TextRule

BUILT_IN = ("tiny", "tiny-random")
OFFERED = tuple(name for name in POLICIES if name != "group")
"""Memory policies for viewers. Group positions mean nothing to a model not trained with them."""
PINNED = 256
"""Tokens of an opening with a long standing wish."""
RELEASED_TEXT = TextRule(caption_tokens=24, answer_tokens=256, penalty=1.05, recent=512, ngram=4)
FORK_WORDS = 512
"""Tokens of a question, those before it, an answer, and the alerts of a turn."""


def build(options: CaptionOptions) -> CaptionModel:
    """Load a model and make room for its viewers. Takes seconds.

    Args:
        options: `vlm` is a built-in name ("tiny-random": the embedded model's speed, not its
            words), a folder or hub id of a released checkpoint, or "module:Name" of a function
            that takes these options and gives a `CaptionModel`.

    Raises:
        ConfigError: no such model or device, or it does not fit; the message says what to do.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    device, why = device_for(options.device)
    name = options.vlm
    if name in BUILT_IN:
        return _tiny(options, device, why)
    if ":" in name and not Path(name).exists():
        return _own(name, options)
    try:
        return _released(options, device, why)
    except (FileNotFoundError, WeightsError, ImportError, ValueError) as error:
        raise ConfigError(
            f"vlm {name}: {error} (built in: {', '.join(BUILT_IN)}; or a folder, or a hub id such "
            "as Qwen/Qwen2.5-VL-3B-Instruct)"
        ) from error


def device_for(asked: str) -> tuple[str, str]:
    """The device, and a sentence on why.

    Raises:
        ConfigError: it is not there.
    """
    gpus = torch.cuda.device_count()
    if asked == "auto":
        if gpus:
            return "cuda:0", f"Captions run on cuda:0 ({torch.cuda.get_device_name(0)})."
        return "cpu", "Captions run on the CPU, as there is no CUDA GPU."
    kind, _, number = asked.partition(":")
    if asked == "cpu":
        return "cpu", "Captions run on the CPU, as asked."
    if kind != "cuda" or not (number or "0").isdigit():
        raise ConfigError(f"captions device: {asked!r} is not one of auto, cpu, cuda, cuda:N")
    if int(number or "0") >= gpus:
        raise ConfigError(
            f"captions device: {asked} is not there, this machine has {gpus} CUDA GPUs; use cpu"
        )
    return f"cuda:{number or 0}", f"Captions run on cuda:{number or 0}, as asked."


# ---- the embedded model ------------------------------------------------------------------------


def _tiny(options: CaptionOptions, device: str, why: str) -> CaptionModel:
    # So small that bfloat16 saves nothing anywhere.
    dtype = _dtype(options, "float32")
    load = tiny_vl.random_tiny_vl if options.vlm == "tiny-random" else tiny_vl.load_tiny_vl
    return tiny_around(load(device, dtype), options, device, dtype, why)


def tiny_around(
    model: VLModel, options: CaptionOptions, device: str, dtype: str, why: str = ""
) -> CaptionModel:
    """The embedded model with these weights, and its habits."""
    random = options.vlm == "tiny-random"
    spec, text = model.spec, TextRule(caption_tokens=24, answer_tokens=96)
    info = CaptionInfo(
        name=options.vlm,
        title=f"{tiny_vl.TITLE}{' (random weights)' if random else ''}",
        limits=("Its weights are random: it has the real speed and talks nonsense.",)
        if random
        else tiny_vl.LIMITS,
        examples=tiny_vl.EXAMPLES,
        alerts=tiny_vl.ALERTS,
        device=device,
        dtype=dtype,
        period=1 / spec.vision.per_second,
        memory=tiny_vl.MEMORY_S,
        choices=(why,),
        look=look_of(spec.vision),
        policies=OFFERED,
        wishes=habits.TINY_WISHES,
    )
    slots = slots_for(TINY_SIZES, spec, text, options.max_sessions, habits.TINY_AROUND)
    return CaptionModel(
        StreamingVL(model, slots),
        TinyDialect(),
        info,
        memories(TINY_SIZES, device),
        device=device,
        gate=habits.TINY_GATE,
        speak=habits.TINY_SPEAK,
        alert=habits.TINY_ALERT,
        text=text,
    )


# ---- released checkpoints ----------------------------------------------------------------------


def _released(options: CaptionOptions, device: str, why: str) -> CaptionModel:
    folder = fetch(options.vlm)
    spec, dialect = read_spec(folder), load_dialect(str(folder))
    dtype = _dtype(options, "bfloat16")
    text = RELEASED_TEXT
    slots = slots_for(RELEASED_SIZES, spec, text, options.max_sessions)
    _check_room(spec, folder, slots, device, dtype)
    model = load_checkpoint(folder, device, getattr(torch, dtype), spec)
    info = CaptionInfo(
        name=options.vlm,
        title=folder.name,
        limits=habits.RELEASED_LIMITS,
        examples=habits.RELEASED_EXAMPLES,
        alerts=habits.RELEASED_ALERTS,
        device=device,
        dtype=dtype,
        period=1 / spec.vision.per_second,
        memory=habits.RELEASED_MEMORY_S,
        choices=(why,),
        look=look_of(spec.vision),
        policies=OFFERED,
        wishes=habits.RELEASED_WISHES,
    )
    return CaptionModel(
        StreamingVL(model, slots),
        dialect,
        info,
        memories(RELEASED_SIZES, device),
        device=device,
        text=text,
    )


def _check_room(spec: VLSpec, folder: Path, slots: int, device: str, dtype: str) -> None:
    """Raises:
    ConfigError: the weights and the arena are larger than what is free.
    """
    # Counted, as files may be of another type than what they are loaded as.
    weights = sum(map(math.prod, open_source(folder).shapes.values())) * _BYTES[dtype]
    memory = slots * token_bytes(spec.text, dtype)
    free = free_bytes(device)
    if free is not None and weights + memory > free:
        raise ConfigError(
            f"vlm {folder.name} does not fit: its weights take {weights / 1e9:.1f} GB and the "
            f"memory of its viewers {memory / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free on "
            f"{device}; use a smaller model, fewer viewers, or another device"
        )


_BYTES = {"float32": 4, "bfloat16": 2}


def token_bytes(text: TextSpec, dtype: str) -> int:
    """Of one token in an arena: its key, raw and rotated, and its value in each layer."""
    return 3 * text.layers * text.kv_heads * text.head_dim * _BYTES[dtype]


def _dtype(options: CaptionOptions, best: str) -> str:
    if options.dtype not in (*DTYPES, "auto"):
        raise ConfigError(f"captions dtype: {options.dtype!r} is not one of {', '.join(DTYPES)}")
    return best if options.dtype == "auto" else options.dtype


# ---- a user's own ------------------------------------------------------------------------------


def _own(path: str, options: CaptionOptions) -> CaptionModel:
    module_name, _, attribute = path.partition(":")
    if (here := os.getcwd()) not in sys.path:
        # A console script does not look in the current folder. Last, so that it hides nothing.
        sys.path.append(here)
    try:
        factory: Any = getattr(importlib.import_module(module_name), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ConfigError(f"vlm {path}: {error}; give module:function, or a folder") from error
    model = factory(options)
    if not isinstance(model, CaptionModel):
        raise ConfigError(f"vlm {path}: it gave a {type(model).__name__}, not a CaptionModel")
    return model


# ---- sizes -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Named:
    """Makes the memories of one model by their names."""

    sizes: MemorySizes
    device: str

    def __call__(self, name: str) -> Memory:
        return policy_named(name, self.sizes, self.device)


def memories(sizes: MemorySizes, device: str) -> MemoryFactory:
    """The memory policies of one model."""
    return _Named(sizes, device)


def slots_for(
    sizes: MemorySizes, spec: VLSpec, text: TextRule, viewers: int, around: int = habits.AROUND
) -> int:
    """Tokens that an arena must hold for so many viewers: what their streams keep, and as much
    again for forks, which hold what the streams let go meanwhile. A fork has of its own what comes
    back, copies of what stood before that and moves (all but pictures: those in the cache are
    younger than whatever comes back), the question and the answer.

    Args:
        around: words of a turn beside its caption.
    """
    vision = spec.vision.max_pixels // spec.vision.factor**2
    words = text.caption_tokens + around
    kept = sizes.window.bound(PINNED, words, vision)
    moved = sizes.window.bound(PINNED, words, 0)
    fork = sizes.recalled + moved + text.answer_tokens + FORK_WORDS
    return viewers * (2 * kept + MAX_ANSWERING * fork)


def look_of(vision: VisionSpec) -> LookSpec:
    """How pictures are taken for a tower."""
    return LookSpec(
        factor=vision.factor,
        min_pixels=vision.min_pixels,
        max_pixels=vision.max_pixels,
        frames=vision.frames - vision.carried,
        period=1 / vision.per_second,
        carried=vision.carried,
    )
