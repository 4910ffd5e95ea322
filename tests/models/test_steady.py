"""The noise filter: steadier where nothing moves, transparent where something does."""

from __future__ import annotations

import torch
from millrace.models.steady import STILL_GAIN, steady, steady_state
from torch import Tensor


def run(clip: Tensor) -> Tensor:
    return steady(clip[None], steady_state(1, tuple(clip.shape[1:]), "cpu", clip.dtype))[0]  # type: ignore[arg-type]


def scene(frames: int, noise: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    still = torch.randn(48, 8, 8, generator=generator)
    return still + noise * torch.randn(frames, 48, 8, 8, generator=generator)


def test_the_first_frame_passes_as_it_is() -> None:
    clip = scene(3, 0.06)
    assert torch.equal(run(clip)[0], clip[0])


def test_noise_on_a_still_picture_changes_a_third_as_much() -> None:
    clip = scene(40, 0.06)
    before = (clip[1:] - clip[:-1]).std()
    after = (run(clip)[5:] - run(clip)[4:-1]).std()
    # An exponential mean of gain g leaves g sqrt(2 / (2 - g)) of the noise between two frames.
    expected = STILL_GAIN * (2 / (2 - STILL_GAIN)) ** 0.5 * 0.06
    assert abs(after / expected - 1) < 0.1
    assert after < 0.33 * before


def test_what_moves_passes_as_it_is() -> None:
    generator = torch.Generator().manual_seed(1)
    clip = torch.randn(6, 48, 8, 8, generator=generator)
    torch.testing.assert_close(run(clip), clip)


def test_a_still_picture_is_kept_exactly() -> None:
    clip = scene(5, 0.0)
    torch.testing.assert_close(run(clip), clip)
