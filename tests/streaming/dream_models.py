"""A small scene model with random weights, and how the tests of its pipeline drive it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from millrace.models.autoencoder import PatchAutoencoder
from millrace.models.scene import TINY_SCENE, SceneModel, vocabulary_of
from millrace.models.specs import TINY_AUTOENCODER, ConvStemSpec
from millrace.streaming.controls import Controls
from millrace.streaming.dream_info import CONTROLS, HOLD, PICTURES
from millrace.streaming.dream_pipeline import Dreaming
from millrace.streaming.dream_streams import Stream
from millrace.streaming.pipeline import Result, StreamConfig, Work
from torch import Tensor

SIZE = StreamConfig(128, 128)
BLANK = torch.zeros(PICTURES * HOLD, 3, 128, 128)
WORDS = ("red", "waves", "fire", "snow", "sunset")
Both = tuple[SceneModel, PatchAutoencoder]


def small_parts(dtype: torch.dtype = torch.float64) -> Both:
    """A model that draws in milliseconds, and an autoencoder."""
    stem = ConvStemSpec(width=8, stem_blocks=1, head_blocks=1)
    spec = replace(TINY_SCENE, dim=32, ffn_dim=32, heads=1, layers=1, text_dim=16, stem=stem)
    torch.manual_seed(0)
    model = SceneModel(spec, vocabulary_of(WORDS))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.dit.parameters():
            parameter.normal_(0, 0.8 * max(parameter[0].numel(), 1) ** -0.5, generator=generator)
    for module in (model, autoencoder := PatchAutoencoder(TINY_AUTOENCODER)):
        module.to(dtype).eval().requires_grad_(False)
    return model, autoencoder


def wished(values: Mapping[str, str | int | float], resets: int = 0) -> Controls:
    return replace(Controls.defaults(CONTROLS).changed(CONTROLS, values), resets=resets)


def wishes(resets: int = 0, **values: str | int | float) -> Controls:
    """Guidance is off unless asked for, so that the plain buffer is what is compared with."""
    return wished({"guidance": 1.0, **values}, resets)


def drawn(
    dreaming: Dreaming, stream: Stream, controls: Controls, count: int, start: int = 0
) -> list[Tensor]:
    """From words alone: pictures for each of the chunks."""
    results: list[Result] = []
    for index in range(start, start + count):
        results += dreaming.step([Work(stream, index, BLANK, controls)])
    assert [result.index for result in results] == list(range(start, start + count))
    return [result.frames for result in results]


def lived(
    dreaming: Dreaming, stream: Stream, controls: Controls, chunks: Sequence[Tensor], start: int = 0
) -> list[Result]:
    """From live pictures, and all that is in flight afterwards."""
    results: list[Result] = []
    for index, frames in enumerate(chunks, start):
        results += dreaming.step([Work(stream, index, frames, controls)])
    while any(index is not None for index in stream.flight):
        oldest = next(index for index in stream.flight if index is not None)
        results += dreaming.step([Work(stream, oldest, None, controls)])
    return results
