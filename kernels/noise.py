"""Gaussian noise as a pure function of where it is used.

Counter-based random numbers have no state: nothing is drawn in order, so the noise of a chunk does
not depend on the device, the batch around it or what ran before it, and a chunk that is run again
gets the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .dispatch import choose, reference

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def gaussian_noise(
    seed: int | Tensor,
    chunk: int | Tensor,
    step: int | Tensor,
    shape: Sequence[int],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normal noise for one denoising step of one chunk, or of a batch of them.

    Args:
        seed: of the session, 64 bits count.
        chunk: index in the stream, 64 bits count.
        step: denoising step, 32 bits count.
        shape: of the noise of one row; element i of it (in row-major order) depends on i only.

    Returns:
        `shape`, or [rows, *shape] if seed, chunk or step is an int64 tensor [rows].
    """
    # A number is filled in on the device: copying it there would wait for the device.
    words = [
        value.to(device, torch.int64)
        if isinstance(value, Tensor)
        else torch.full((), value, dtype=torch.int64, device=device)
        for value in (seed, chunk, step)
    ]
    seeds, chunks, steps = torch.broadcast_tensors(*words)
    count = math.prod(shape)
    flat = choose("gaussian_noise", seeds.device.type)(
        seeds.reshape(-1), chunks.reshape(-1), steps.reshape(-1), count
    )
    lead = () if seeds.dim() == 0 else (len(seeds),)
    return flat.to(dtype).view(*lead, *shape)


@reference("gaussian_noise")
def gaussian_noise_reference(seeds: Tensor, chunks: Tensor, steps: Tensor, count: int) -> Tensor:
    """float32 [rows, count] from int64 [rows] each.

    The Box-Muller step runs in float64: devices differ in the last bits of a logarithm or a
    cosine, and rounding to float32 hides that.
    """
    blocks = torch.arange((count + 3) // 4, device=seeds.device)[None]
    low, high = chunks & _MASK, (chunks >> 32) & _MASK
    counter = (blocks, (steps & _MASK)[:, None], low[:, None], high[:, None])
    key = ((seeds & _MASK)[:, None], ((seeds >> 32) & _MASK)[:, None])
    first, second, third, fourth = philox(counter, key)
    # The middle of each step of 2^-32: never 0, whose logarithm is infinite.
    radius = torch.stack((first, third)).double().add_(0.5).mul_(2.0**-32)
    radius = radius.log_().mul_(-2).sqrt_()
    angle = torch.stack((second, fourth)).double().add_(0.5).mul_(2 * math.pi * 2.0**-32)
    across, along = (radius * angle.cos()).float(), (radius * angle.sin()).float()
    normal = torch.stack((across[0], along[0], across[1], along[1]), -1)
    return normal.flatten(1)[:, :count]


def philox(
    counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10 (Salmon et al., SC 2011, section 3.3): four random words per counter.

    All tensors are int64 that hold unsigned 32-bit words, broadcastable against each other. A
    product of two words wraps to the right 64 bits in int64; only its upper half must be cleared of
    the sign that the shift drags in.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (second >> 32 & _MASK) ^ c1 ^ k0,
            second & _MASK,
            (first >> 32 & _MASK) ^ c3 ^ k1,
            first & _MASK,
        )
        k0, k1 = k0 + _WEYL[0] & _MASK, k1 + _WEYL[1] & _MASK
    return c0, c1, c2, c3
