"""All steps of a chunk one after another, over one history."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..kernels import flow_step
from .dit import CausalDiT
from .dit_state import DiTState
from .policies import WanPolicy
from .sigmas import Level

Noise = Callable[[int], Tensor]
"""Fresh Gaussian noise of the chunk's shape for step n (0 is what the chunk began with)."""


@torch.no_grad()
def denoise_chunk(
    model: CausalDiT,
    state: DiTState,
    noisy: Tensor,
    levels: tuple[Level, ...],
    noise: Noise,
    policy: WanPolicy,
    first: bool = False,
) -> Tensor:
    """The clean latents of a chunk, which is then the past of every row.

    With a "clean" history what the chunk leaves behind is the keys and values of its finished
    frames (a further pass at timestep 0, as CausVid and Self-Forcing were trained); else those of
    its last denoising step (as the sequential mode of StreamDiffusionV2).

    Args:
        noisy: [rows, frames, channels, height, width], at the noise of the first level.
        levels: from `WanPolicy.steps`.
        first: the chunk begins its streams and may be longer than the others.
    """
    rows, frames = noisy.shape[:2]

    def run(x: Tensor, timestep: float) -> Tensor:
        t = torch.full((rows, frames), timestep, device=x.device)
        return model(x, t, state, first=first)

    def share(sigma: float) -> Tensor:
        return torch.full((rows,), sigma, device=noisy.device, dtype=torch.float64)

    x, clean = noisy, noisy
    for step, level in enumerate(levels):
        output = run(x, level.timestep)
        flow = model.to_flow(output, x, share(level.sigma)[:, None])
        last = step + 1 == len(levels)
        after = 0.0 if last else levels[step + 1].sigma
        fresh = x if last else noise(step + 1)
        clean, x = flow_step(x, flow, share(level.sigma), share(after), fresh)
    if policy.history == "clean":
        run(clean, 0.0)
    state.ring.commit(None, frames)
    return clean
