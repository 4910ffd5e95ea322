"""The trial of the whole engine on rendered streams."""

from __future__ import annotations

import numpy as np
import torch
from millrace.kernels.color import i420_to_rgb
from millrace.models.training.vl.story import tell
from millrace.models.vl.tiny_vl import random_tiny_vl
from millrace.streaming.captions.host import CaptionOptions
from millrace.streaming.captions.registry import tiny_around
from millrace.streaming.captions.trial import Plan, frames, i420, run


def test_pictures_come_through_i420_as_they_were() -> None:
    coarse = np.random.default_rng(0).uniform(0.1, 0.9, (16, 16, 3))
    image = coarse.repeat(2, 0).repeat(2, 1)
    back = i420_to_rgb(torch.from_numpy(i420(image))[None])[0].movedim(0, -1).numpy()
    assert np.abs(back - image).max() < 0.02


def test_a_camera_gives_two_pictures_a_second() -> None:
    found = list(frames(tell(1, 3.0, (96, 128))))
    assert [frame.pts for frame in found] == [45_000 * n for n in range(6)]
    assert (found[0].width, found[0].height) == (128, 96)


def test_a_trial_runs_to_its_end() -> None:
    options = CaptionOptions("tiny-random", max_sessions=1)
    model = tiny_around(random_tiny_vl(), options, "cpu", "float32")
    sheet = run(model, seconds=5, streams=1, plan=Plan(alerts=1, every=2))
    assert sheet.quiet_turns <= 6 and "caption f1" in sheet.report()
    assert 1 <= sum(score.all for score in (*sheet.now.values(), *sheet.happened.values())) <= 4
