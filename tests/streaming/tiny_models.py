"""A small model of the embedded family, and a pipeline of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from millrace.models.graphs import Recorder
from millrace.models.specs import TINY, TINY_AUTOENCODER, ConvStemSpec, RingSpec
from millrace.models.text import PromptEncoder, Understanding
from millrace.models.video import VideoModel, VideoSpec
from millrace.streaming.controls import Controls
from millrace.streaming.diffusion import VideoDiffusion
from millrace.streaming.queues import Queues
from millrace.streaming.tiny import tiny_parts
from millrace.streaming.tiny_info import CONTROLS

SPEC = VideoSpec(
    autoencoder=replace(TINY_AUTOENCODER, channels=4, coarse_width=8, fine_width=8),
    dit=replace(
        TINY,
        dim=24,
        ffn_dim=32,
        freq_dim=16,
        text_dim=8,
        text_len=3,
        in_channels=4,
        out_channels=4,
        cond_channels=4,
        heads=2,
        layers=2,
        stem=ConvStemSpec(width=8, stem_blocks=1, head_blocks=1),
        ring=RingSpec(sinks=1, window=2, positions="relative", sink_threshold=None),
    ),
    styles=("camera", "noir", "neon"),
)
FRAMES = 8


class Prompts(PromptEncoder):
    """Understands exactly the style names; any other word is unknown."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def understand(self, prompt: str) -> Understanding:
        known = [word for word in prompt.split() if word in SPEC.styles]
        unknown = tuple(word for word in prompt.split() if word not in SPEC.styles)
        weights = tuple((word, 1 / len(known)) for word in known) or (("camera", 1.0),)
        return Understanding(weights, unknown, bool(known))

    def weights_of(self, understood: Understanding) -> torch.Tensor:
        row = torch.zeros(len(SPEC.styles))
        for name, weight in understood.weights:
            row[SPEC.styles.index(name)] = weight
        return row


def small_model() -> VideoModel:
    """In float64."""
    generator = torch.Generator().manual_seed(3)
    model = VideoModel(SPEC).double()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(noise * 0.3)
    return model.eval()


def pipeline(
    model: VideoModel,
    *,
    sequential: bool = True,
    streams: int = 2,
    recorder: Recorder | None = None,
    queues: Queues | None = None,
) -> VideoDiffusion:
    parts = tiny_parts(model, Prompts())
    return VideoDiffusion(
        parts, streams=streams, sequential=sequential, recorder=recorder, queues=queues
    )


def clip(seed: int, frames: int = FRAMES) -> torch.Tensor:
    """[frames, 1, 3, 32, 32]"""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(frames, 1, 3, 32, 32, generator=generator, dtype=torch.float64)


def controls(changes: Mapping[str, object]) -> Controls:
    return Controls.defaults(CONTROLS).changed(CONTROLS, {"prompt": "noir", **changes})
