"""A pipeline for the browser tests: a look that leaves black and white blocks legible.

Chunks of four, one held back, like the embedded model; a colour for each word of the prompt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from millrace.streaming.controls import Control
from millrace.streaming.pipeline import (
    PipelineContext,
    PipelineInfo,
    Preset,
    Result,
    StreamConfig,
    Work,
)

CHUNK = 4
COLOURS = {"rose": (1.0, 0.45, 0.6), "lime": (0.6, 1.0, 0.35), "sky": (0.4, 0.7, 1.0)}


@dataclass
class Held:
    """Finished chunks that wait for the next one."""

    results: deque[Result] = field(default_factory=deque)


class Mild:
    """Tints the picture in the colour that the prompt names."""

    def __init__(self, context: PipelineContext) -> None:
        self.info = PipelineInfo(
            "mild",
            "Mild tint",
            "A look for tests.",
            chunk=CHUNK,
            controls=(
                Control("prompt", "Prompt", "text", "rose", help="rose, lime or sky"),
                Control("strength", "Strength", "float", 1.0, 0.0, 1.0, 0.05),
                Control("steps", "Steps", "int", 1, 1, 2, 1),
                Control("seed", "Seed", "int", 0, 0, 2**31 - 1, 1),
            ),
            presets=tuple(Preset(name.title(), {"prompt": name}) for name in COLOURS),
            size_multiple=16,
        )

    def open(self, config: StreamConfig) -> Held:
        return Held()

    def step(self, batch: Sequence[Work]) -> list[Result]:
        done = []
        for work in batch:
            held: Held = work.stream
            if work.frames is not None:
                held.results.append(self._tint(work, work.frames))
            if work.frames is None or len(held.results) > 1:
                done.append(held.results.popleft())
        return done

    def close(self, stream: Held) -> None: ...

    def _tint(self, work: Work, frames: torch.Tensor) -> Result:
        words = work.controls.text("prompt").lower().split()
        known = [word for word in words if word in COLOURS]
        colour = torch.tensor(COLOURS[known[0]] if known else (1.0, 1.0, 1.0)).view(1, 3, 1, 1)
        strength = work.controls.number("strength")
        tinted = frames * (1 - strength + strength * colour)
        unknown = [word for word in words if word not in COLOURS]
        return work.done(tinted, understood=[[word, 1.0] for word in known[:1]], unknown=unknown)
