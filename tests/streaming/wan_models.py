"""Small models of the causal Wan family, and ways to drive a pipeline of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from millrace.models.graphs import Recorder
from millrace.models.policies import STREAMDIFFUSION_V2, WanPolicy
from millrace.models.specs import TAEHV_WAN21, WAN_1_3B, WAN_VAE, AutoencoderName, DiTSpec
from millrace.models.wan import WanModel, WanSizes, random_wan
from millrace.streaming.controls import Controls
from millrace.streaming.diffusion import Stream, VideoDiffusion
from millrace.streaming.pipeline import Result, Work
from millrace.streaming.queues import Queues
from millrace.streaming.wan_info import controls as schema
from millrace.streaming.wan_info import wan_info
from millrace.streaming.wan_parts import wan_parts
from millrace.streaming.wan_text import RandomReader, WanPrompts

POLICY = replace(
    STREAMDIFFUSION_V2,
    ring=replace(STREAMDIFFUSION_V2.ring, sinks=2, window=2, sink_threshold=None),
)
DIT: DiTSpec = replace(
    WAN_1_3B,
    dim=64,
    ffn_dim=96,
    freq_dim=32,
    text_dim=16,
    text_len=6,
    heads=4,
    layers=2,
    ring=POLICY.ring,
)
SIZES = WanSizes(
    DIT,
    replace(WAN_VAE, width=8),
    replace(TAEHV_WAN21, encoder_width=8, decoder_widths=(16, 16, 8, 8), blocks=1),
)
SCHEMA = schema(POLICY)
SIDE = 32
CHUNK = 4


def model(coder: AutoencoderName = "taehv", dtype: torch.dtype = torch.float64) -> WanModel:
    return random_wan(SIZES, coder, "cpu", dtype, seed=3)


def pipeline(
    of: WanModel,
    *,
    sequential: bool = True,
    streams: int = 2,
    policy: WanPolicy = POLICY,
    recorder: Recorder | None = None,
    queues: Queues | None = None,
) -> VideoDiffusion:
    parts = wan_parts(
        wan_info("wan", "Wan", policy, True),
        of.dit,
        of.autoencoder,
        WanPrompts(RandomReader(of.sizes.dit)),
        policy,
    )
    return VideoDiffusion(
        parts, streams=streams, sequential=sequential, recorder=recorder, queues=queues
    )


def clip(seed: int, chunks: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """[chunks, 4, 3, H, W]"""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(chunks, CHUNK, 3, SIDE, SIDE, generator=generator).to(dtype)


def wishes(**changes: object) -> Controls:
    return Controls.defaults(SCHEMA).changed(SCHEMA, {"prompt": "a red fox", **changes})


def run(
    host: VideoDiffusion,
    stream: Stream,
    frames: torch.Tensor,
    changes: Mapping[int, Controls],
    start: int = 0,
) -> dict[int, Result]:
    """Step a stream alone, changes taking hold at their chunk; flush; results by index."""
    out: dict[int, Result] = {}
    now = changes.get(0, wishes())
    for index, chunk in enumerate(frames, start):
        now = changes.get(index, now)
        for result in host.step([Work(stream, index, chunk, now)]):
            assert result.index not in out
            out[result.index] = result
    while len(out) < len(frames):
        for result in host.step([Work(stream, start + len(out), None, now)]):
            out[result.index] = result
    return out


def apart(a: Mapping[int, Result], b: Mapping[int, Result]) -> float:
    """The largest difference between the pictures of two runs over the same chunks."""
    assert a and sorted(a) == sorted(b)
    return max(float((a[index].frames - b[index].frames).abs().max()) for index in a)
