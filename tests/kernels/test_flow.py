"""The denoising update."""

from __future__ import annotations

import torch
from millrace.kernels import flow_step


def test_it_undoes_the_noise() -> None:
    clean, noise, fresh = torch.randn(3, 2, 3, 4, 5, 6, dtype=torch.float64)
    sigma = torch.tensor([[0.9, 0.5, 0.1], [0.3, 1.0, 0.7]], dtype=torch.float64)
    later = sigma / 2
    wide = sigma[..., None, None, None]
    x, flow = (1 - wide) * clean + wide * noise, noise - clean
    found, following = flow_step(x, flow, sigma, later, fresh)
    torch.testing.assert_close(found, clean)
    half = later[..., None, None, None]
    torch.testing.assert_close(following, (1 - half) * clean + half * fresh)


def test_one_sigma_per_row() -> None:
    x, flow, noise = torch.randn(3, 2, 3, 4)
    clean, following = flow_step(x, flow, torch.tensor([0.0, 0.5]), torch.tensor([0.0, 1.0]), noise)
    assert torch.equal(clean[0], x[0]) and torch.equal(following[0], x[0])
    torch.testing.assert_close(clean[1], x[1] - 0.5 * flow[1])
    torch.testing.assert_close(following[1], noise[1])
