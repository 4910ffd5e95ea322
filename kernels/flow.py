"""One denoising update of flow matching."""

from __future__ import annotations

from torch import Tensor

from .dispatch import choose, reference
from .noise import gaussian_noise


def flow_step(
    x: Tensor, flow: Tensor, sigma: Tensor, next_sigma: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """The clean latent that a flow points to, and the same at the next noise level.

    x0 = x - sigma flow; next = (1 - next_sigma) x0 + next_sigma noise (few-step sampling with fresh
    noise, as in consistency models, algorithm 1).

    Args:
        x, flow, noise: [rows, ...] of one shape.
        sigma, next_sigma: [rows] or [rows, frames], share of noise in 0..1 now and next.
    """
    return choose("flow_step", x.device.type)(x, flow, sigma, next_sigma, noise)


@reference("flow_step")
def flow_step_reference(
    x: Tensor, flow: Tensor, sigma: Tensor, next_sigma: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    now, later = (
        share.view(*share.shape, *[1] * (x.dim() - share.dim())).to(x.dtype)
        for share in (sigma, next_sigma)
    )
    clean = x - now * flow
    return clean, clean.lerp(noise, later)


def flow_step_noised(
    x: Tensor,
    flow: Tensor,
    sigma: Tensor,
    next_sigma: Tensor,
    seeds: Tensor,
    chunks: Tensor,
    steps: Tensor,
) -> tuple[Tensor, Tensor]:
    """`flow_step` with the `gaussian_noise` of each row, made where it is used.

    Args:
        x, flow, sigma, next_sigma: see `flow_step`.
        seeds, chunks, steps: int64 [rows], see `gaussian_noise`.
    """
    function = choose("flow_step_noised", x.device.type)
    return function(x, flow, sigma, next_sigma, seeds, chunks, steps)


@reference("flow_step_noised")
def flow_step_noised_reference(
    x: Tensor,
    flow: Tensor,
    sigma: Tensor,
    next_sigma: Tensor,
    seeds: Tensor,
    chunks: Tensor,
    steps: Tensor,
) -> tuple[Tensor, Tensor]:
    noise = gaussian_noise(seeds, chunks, steps, x.shape[1:], x.device, x.dtype)
    return flow_step(x, flow, sigma, next_sigma, noise)
