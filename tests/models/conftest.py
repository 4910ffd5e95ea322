"""Small models for the tests of this folder."""

from __future__ import annotations

import torch
from millrace.models.specs import ConvStemSpec, DiTSpec, RingSpec
from torch import nn


def small_dit_spec(
    positions: str = "relative",
    *,
    stem: bool = True,
    sinks: int = 2,
    window: int = 2,
    sink_threshold: float | None = None,
    span: int | None = None,
) -> DiTSpec:
    """A DiT that runs in a millisecond; with a stem it is shaped as the embedded model."""
    return DiTSpec(
        dim=24,
        ffn_dim=40,
        freq_dim=16,
        text_dim=10,
        text_len=3,
        in_channels=4,
        out_channels=4,
        patch=(1, 2, 2),
        heads=2,
        layers=2,
        eps=1e-6,
        rope_theta=10_000.0,
        prediction="x0" if stem else "flow",
        cond_channels=4 if stem else 0,
        stem=ConvStemSpec(width=8, stem_blocks=1, head_blocks=1) if stem else None,
        ring=RingSpec(sinks, window, positions, sink_threshold, span),  # type: ignore[arg-type]
    )


def randomize(module: nn.Module, seed: int = 0) -> None:
    """Weights large enough that every part of a module shows in its output."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        fan_in = max(parameter[0].numel(), 1)
        with torch.no_grad():
            parameter.normal_(0, 1.2 * fan_in**-0.5, generator=generator)
