"""A pipeline for the browser tests that draws from all three sources, told apart by colour.

The live picture comes back rose, words alone give the colour that they name with a bar that moves,
and a first picture stays as it was when the stream began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from millrace.streaming.controls import Control
from millrace.streaming.pipeline import (
    PipelineContext,
    PipelineInfo,
    Result,
    StreamConfig,
    Work,
)

COLOURS = {"lime": (0.2, 0.8, 0.2), "sky": (0.2, 0.4, 0.9)}
ROSE = (1.0, 0.4, 0.5)
MODES = ("video-to-video", "text-to-video", "image-to-video")


@dataclass(eq=False)
class Stream:
    size: tuple[int, int]
    first: torch.Tensor | None = None
    resets: int = 0
    mode: str = ""
    count: int = 0


def colour(values: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


class ThreeModes:
    """Rose, words or the first picture."""

    def __init__(self, context: PipelineContext) -> None:
        self.info = PipelineInfo(
            "three-modes",
            "Three modes",
            "A model for tests.",
            controls=(
                Control("prompt", "Prompt", "text", "lime", help="lime or sky"),
                Control("mode", "From", "choice", MODES[0], choices=MODES),
                Control("seed", "Seed", "int", 0, 0, 2**31 - 1, 1),
            ),
            size_multiple=16,
            draws_from=("video", "text", "image"),
        )

    def open(self, config: StreamConfig) -> Stream:
        return Stream((config.height, config.width))

    def step(self, batch: Sequence[Work]) -> list[Result]:
        return [self._drawn(work, work.frames) for work in batch if work.frames is not None]

    def close(self, stream: Stream) -> None: ...

    def _drawn(self, work: Work, frames: torch.Tensor) -> Result:
        stream: Stream = work.stream
        mode = work.controls.text("mode")
        if (work.controls.resets, mode) != (stream.resets, stream.mode):
            stream.resets, stream.mode, stream.first = work.controls.resets, mode, None
        stream.count += 1
        if mode == "video-to-video":
            return work.done(frames * colour(ROSE))
        if mode == "image-to-video":
            stream.first = frames[:1].clone() if stream.first is None else stream.first
            return work.done(stream.first)
        words = work.controls.text("prompt").split()
        named = [COLOURS[word] for word in words if word in COLOURS]
        drawn = colour(named[0] if named else (0.5, 0.5, 0.5)).expand(1, 3, *stream.size).clone()
        left = stream.count * 4 % stream.size[1]
        drawn[..., : stream.size[0] // 8, left : left + 32] = 1
        return work.done(drawn)
