"""The figures of the report, against a library's."""

from __future__ import annotations

import pytest
import torch
from millrace.models.training.evaluate import psnr, ssim
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.3])
def test_likeness_is_what_scikit_image_says(noise: float) -> None:
    generator = torch.Generator().manual_seed(3)
    one = torch.rand(2, 2, 3, 24, 40, generator=generator)
    other = (one + noise * torch.randn(one.shape, generator=generator)).clamp(0, 1)
    pairs = [
        (a.numpy(), b.numpy()) for a, b in zip(one.flatten(0, 1), other.flatten(0, 1), strict=True)
    ]
    expected = sum(
        structural_similarity(
            a,
            b,
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in pairs
    ) / len(pairs)
    assert ssim(one, other) == pytest.approx(expected, abs=1e-4)
    if noise:
        ratios = [peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in pairs]
        assert psnr(one, other) == pytest.approx(sum(ratios) / len(ratios), abs=1e-3)
