"""A fake pipeline whose streams can move to another device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fakes import FakePipeline, FakeStream, build_crashing
from millrace.streaming.pipeline import PipelineContext, StreamConfig


class MovingPipeline(FakePipeline):
    """A fake whose streams can be saved."""

    def save(self, stream: FakeStream) -> Mapping[str, npt.NDArray[Any]]:
        assert not stream.held
        numbers = np.array([stream.resets, stream.given])
        return {"memory": stream.memory.numpy().copy(), "numbers": numbers}

    def load(self, config: StreamConfig, saved: Mapping[str, npt.NDArray[Any]]) -> FakeStream:
        stream = self.open(config)
        stream.memory = torch.from_numpy(saved["memory"].copy())
        stream.resets, stream.given = (int(number) for number in saved["numbers"])
        return stream


def build_moving(context: PipelineContext) -> MovingPipeline:
    """For `moving_fakes:build_moving`; ends its process at the label "crash"."""
    return MovingPipeline(context, delay=1, on_step=build_crashing(context).on_step)
