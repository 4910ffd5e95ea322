"""FLOPs and bytes of the stages of a built-in pipeline, so that times can be held against them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

from ...models.autoencoder import PatchAutoencoder
from ...models.flops import Cost, buffer_pass, dit_pass
from ...models.flops_coders import (
    Size,
    patch_decode,
    patch_encode,
    taehv_decode,
    taehv_encode,
    wan_decode,
    wan_encode,
)
from ...models.scene import CHUNK, PICTURES
from ...models.sd.flops import coding, unet_pass
from ...models.taehv import TAEHV
from ...models.video_autoencoder import Pair
from ...models.wan_vae import WanVAE
from ..diffusion import VideoDiffusion
from ..dream_info import drawn_size
from ..dream_pipeline import Dreaming
from ..pipeline import Pipeline
from ..sd import UNetStylizer
from .launches import Launch
from .rivals import quiet


class NotCounted(LookupError):
    """Nobody wrote down what this pipeline computes; the message says whose."""


@dataclass(frozen=True, slots=True)
class StageCosts:
    """Of one chunk of one stream, in the middle of the stream.

    Attributes:
        encode, decode: of the autoencoder.
        one_pass: of a forward over so many rows that look so far back (None: all).
    """

    encode: Cost
    decode: Cost
    one_pass: Callable[[int, int | None], Cost]

    def launch(self, launch: Launch) -> Cost:
        """Of everything that there was in a launch: words alone are not encoded, and a stream
        batch that fills brings out nothing yet."""
        costs = [self.one_pass(one.rows, one.window) for one in launch.passes]
        ends = ((self.encode, launch.encode), (self.decode, launch.decode))
        return Cost.total([*costs, *(cost for cost, seconds in ends if seconds)])


def costs_of(pipeline: Pipeline, size: Size, dtype: torch.dtype) -> StageCosts:
    """What a pipeline computes for pictures of a size (height and width).

    Raises:
        NotCounted: it is not one of those that are counted.
    """
    if isinstance(pipeline, VideoDiffusion):
        return _video(pipeline, size, dtype.itemsize)
    if isinstance(pipeline, UNetStylizer):
        return _unet(pipeline, size, dtype.itemsize)
    if isinstance(pipeline, Dreaming):
        return _buffer(pipeline, size, dtype.itemsize)
    raise NotCounted(f"what {pipeline.info.name} computes is not counted")


def _video(pipeline: VideoDiffusion, size: Size, each: int) -> StageCosts:
    spec = pipeline.parts.dit.spec
    frames, _, *latent = pipeline.parts.codec.latent_shape(size)
    coder = getattr(pipeline.parts.codec, "autoencoder", None)
    ends = _ends(coder, size, frames, each)
    if ends is None:
        raise NotCounted(f"what the autoencoder of {pipeline.info.name} computes is not counted")

    @cache
    def one_pass(rows: int, window: int | None) -> Cost:
        whole = spec.ring.sinks + spec.ring.window
        past = whole if window is None else min(window, whole)
        return dit_pass(spec, (latent[0], latent[1]), frames, each, rows=rows, past=past)

    return StageCosts(*ends, one_pass)


def _buffer(pipeline: Dreaming, size: Size, each: int) -> StageCosts:
    """Of the text-to-video model; a look after the comma is not counted."""
    spec, coder, drawn = pipeline.model.spec, pipeline.autoencoder.spec, drawn_size(size)
    latent = (drawn[0] // 8, drawn[1] // 8)

    @cache
    def one_pass(rows: int, window: int | None) -> Cost:
        return buffer_pass(spec, latent, PICTURES, each, rows=rows)

    given = (coder, drawn, CHUNK, each)
    return StageCosts(patch_encode(*given), patch_decode(*given), one_pass)


def _ends(coder: object, size: Size, frames: int, each: int) -> tuple[Cost, Cost] | None:
    """Encode and decode of an autoencoder."""
    given = (size, frames, each)
    if isinstance(coder, TAEHV):
        return taehv_encode(coder.spec, *given), taehv_decode(coder.spec, *given)
    if isinstance(coder, WanVAE):
        return wan_encode(coder.spec, *given), wan_decode(coder.spec, *given)
    if isinstance(coder, PatchAutoencoder):
        return patch_encode(coder.spec, *given), patch_decode(coder.spec, *given)
    if isinstance(coder, Pair):
        first, second = (_ends(half, *given) for half in (coder.encoder, coder.decoder))
        return None if first is None or second is None else (first[0], second[1])
    return None


def _unet(pipeline: UNetStylizer, size: Size, each: int) -> StageCosts:
    model, pictures = pipeline.model, pipeline.info.chunk

    @cache
    def one_pass(rows: int, window: int | None) -> Cost:
        return unet_pass(model.spec, (size[0] // 8, size[1] // 8), each, rows * pictures)

    with quiet("diffusers"):
        ends = coding(model.autoencoder.vae, size, each, pictures)
    return StageCosts(*ends, one_pass)
