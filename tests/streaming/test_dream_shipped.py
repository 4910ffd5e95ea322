"""The shipped weights of the embedded text-to-video model: that words show."""

from __future__ import annotations

import pytest
import torch
from millrace.models.scene_file import WEIGHTS, shipped
from millrace.streaming.dream import build
from millrace.streaming.pipeline import PipelineContext

from .dream_models import SIZE, drawn, wishes

pytestmark = pytest.mark.skipif(not shipped(), reason=f"{WEIGHTS} is not shipped yet")


def test_what_the_words_name_is_seen_in_the_colours() -> None:
    """The sea at sunset is redder than blue, light in water bluer than red, and both move."""
    dreaming = build(PipelineContext(options={"max_sessions": 2}))
    warm = {}
    for prompt in ("waves at sunset", "light under water"):
        frames = torch.cat(drawn(dreaming, dreaming.open(SIZE), wishes(prompt=prompt), 3))
        red, _, blue = frames.mean((0, 2, 3)).tolist()
        warm[prompt] = red - blue
        assert float((frames[-1] - frames[0]).abs().mean()) > 0.005
    assert warm["waves at sunset"] > 0.05 > -0.05 > warm["light under water"]
