"""What eight bits would cost a model: its layers one by one, and its past."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...kernels import i420_to_rgb
from ...models.dit_state import DiTState
from ...models.quantise import Fp8Choice
from ...models.quantise_error import (
    Distance,
    Inputs,
    Progress,
    Runner,
    calibrate,
    random_inputs,
)
from ...models.sigmas import TRAIN_STEPS, Level
from ...models.specs import STORES, Store
from ..config import ConfigError
from ..controls import Controls
from ..diffusion import VideoDiffusion
from ..eight_bits import OPTIONS
from ..parts import Parts, Size
from ..pipeline import PipelineContext
from ..registry import build_pipeline


@dataclass(frozen=True, slots=True)
class Asked:
    """What to measure.

    Attributes:
        model: name of a pipeline with a ring.
        context: what it is built with.
        size: height and width of the pictures.
        chunks: how many a stream has.
        prompt: in words; "" for the model's usual one.
        seed: of the noise, and of latents where there are no pictures.
        limit: relative error that is allowed with all chosen layers.
    """

    model: str
    context: PipelineContext
    size: Size
    chunks: int
    prompt: str
    seed: int
    limit: float


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured: the layers, and the error with a past stored in each narrow way."""

    layers: Fp8Choice
    past: dict[Store, Distance]


def measure(asked: Asked, pictures: Sequence[Any], told: str, progress: Progress) -> Found:
    """Build the model and measure it.

    Args:
        pictures: I420 arrays of `asked.size`, in order; none for random latents.
        told: where they come from, in words.

    Raises:
        ConfigError: the model cannot be built or has no ring, or the pictures are too few.
    """
    if narrow := sorted({*OPTIONS} & {*asked.context.options}):
        told = "errors are measured against the plain model; leave it out"
        raise ConfigError(f"{', '.join(narrow)}: {told}")
    built = build_pipeline(asked.model, asked.context)
    if not isinstance(built, VideoDiffusion):
        raise ConfigError(
            f"{asked.model}: eight bits are for models with a ring: tiny, wan2.1-1.3b, wan2.1-14b"
        )
    with torch.inference_mode():
        inputs = _inputs(built.parts, asked, pictures, told)
        runner = Runner(built.parts.dit, inputs)
        past = dict(_past_errors(runner))
        return Found(calibrate(runner, asked.limit, asked.model, progress), past)


def _inputs(parts: Parts, asked: Asked, pictures: Sequence[Any], told: str) -> Inputs:
    dit, levels = parts.dit, _levels(parts)
    wish = parts.conditioner.wish()
    schema = parts.info.controls
    controls = Controls.defaults(schema)
    wish.heed(controls.changed(schema, {"prompt": asked.prompt}) if asked.prompt else controls)
    assert wish.prompt is not None, "a wish has a prompt once it was heeded"
    reading = wish.prompt.reading(dit)
    frames, _, height, width = parts.codec.latent_shape(asked.size)
    made = random_inputs(dit, (1, frames, height, width), asked.chunks, levels, reading, asked.seed)
    if not pictures:
        return made
    latents = torch.stack(list(_encoded(parts, asked, pictures)))
    what = f"{asked.chunks} chunks of {told}, noise of seed {asked.seed}"
    return replace(made, latents=latents.to(made.noise.dtype), told=what)


def _levels(parts: Parts) -> tuple[Level, ...]:
    """What the lanes' passes are at; the model is told of them in its own way."""
    shares = parts.noise.levels
    return tuple(Level(shares.sigma(share), TRAIN_STEPS * share) for share in shares.nominal)


def _encoded(parts: Parts, asked: Asked, pictures: Sequence[Any]) -> Iterator[Tensor]:
    """Latents of each chunk, [1, frames, channels, height, width]."""
    weight, codec, each = parts.dit.patch_embedding.weight, parts.codec, parts.info.chunk
    if len(pictures) < each * asked.chunks:
        raise ConfigError(
            f"{len(pictures)} pictures; {asked.chunks} chunks of {asked.model} take "
            f"{each * asked.chunks}: give a longer clip or fewer --chunks"
        )
    memory = codec.memory(1, asked.size).encoder

    def shown(first: int, count: int) -> Tensor:
        i420 = torch.stack([torch.from_numpy(one) for one in pictures[first : first + count]])
        return i420_to_rgb(i420.to(weight.device), weight.dtype)[None]

    if codec.leads:
        codec.encode(shown(0, 1), memory, True)
    for chunk in range(asked.chunks):
        yield codec.encode(shown(chunk * each, each), memory, False)


def _past_errors(runner: Runner) -> Iterator[tuple[Store, Distance]]:
    dit, inputs = runner.dit, runner.inputs
    weight, wanted = dit.patch_embedding.weight, runner()
    rows, frames, height, width = inputs.size
    for store in STORES:
        if store == "plain":
            continue
        spec = replace(dit.spec, ring=replace(dit.spec.ring, store=store))
        size = (rows, frames, height, width)
        state = DiTState.allocate(spec, size, weight.device, weight.dtype, False)
        yield store, Distance.of(Runner(dit, inputs, state)(), wanted)
