"""The pipeline that changes nothing: shows what transport alone costs, and tests it."""

from __future__ import annotations

from collections.abc import Sequence

from .pipeline import PipelineContext, PipelineInfo, Result, StreamConfig, Work


class Passthrough:
    """Gives back what it gets. Needs no memory, takes any even size."""

    def __init__(self, context: PipelineContext) -> None:
        self.info = PipelineInfo(
            name="passthrough",
            title="Pass-through",
            description="Returns the picture unchanged, to see what the way there and back costs.",
            chunk=int(context.options.get("chunk", 1)),
            max_side=4096,
        )

    def open(self, config: StreamConfig) -> None:
        return None

    def step(self, batch: Sequence[Work]) -> list[Result]:
        return [work.done(work.frames) for work in batch if work.frames is not None]

    def close(self, stream: object) -> None:
        return None
