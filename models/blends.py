"""Mixtures of prompts, and the way from one prompt to the next: pure functions of embeddings.

What a mixture is used for is exchanged in place where cross-attention reads it
(`CausalDiT.set_context`, or a `Reading` a chunk); the keys and values of the frames drawn so far
are not touched, so the picture goes over instead of being cut.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

Way = Literal["linear", "spherical"]
Pace = Literal["even", "smooth"]
WAYS: tuple[Way, ...] = get_args(Way)
PARALLEL = 1e-4
"""Sine of the angle between two rows below which the straight way is taken: rows of zeros, too."""


def blend(embeddings: Sequence[Tensor], weights: Sequence[float], way: Way = "linear") -> Tensor:
    """A weighted mixture of prompts.

    Args:
        embeddings: each [..., rows, dim], all of one shape.
        weights: not negative, not all zero; their sum does not matter.
        way: "linear": the weighted mean. "spherical": each row turns from one prompt's to the
            other's at even speed while its length changes evenly, so that half-way rows are not
            shorter than either; more than two prompts are joined one after another.

    Returns:
        The mixture. With one weight above zero it is that embedding, bit for bit.

    Raises:
        ValueError: the numbers of both differ, or the weights make no mixture.
    """
    if len(embeddings) != len(weights) or not embeddings:
        raise ValueError(f"{len(embeddings)} embeddings and {len(weights)} weights")
    if min(weights) < 0 or not math.isfinite(sum(weights)) or sum(weights) <= 0:
        raise ValueError(f"weights {list(weights)} make no mixture")
    if way not in WAYS:
        raise ValueError(f"{way!r} is not one of {', '.join(WAYS)}")
    parts = [(e, w) for e, w in zip(embeddings, weights, strict=True) if w > 0]
    mixed, total = parts[0]
    for embedding, weight in parts[1:]:
        total += weight
        share = weight / total
        mixed = (
            _turned(mixed, embedding, share)
            if way == "spherical"
            else _mean(mixed, embedding, share)
        )
    return mixed


def _mean(one: Tensor, other: Tensor, share: float) -> Tensor:
    return torch.lerp(one, other, share)


def _turned(one: Tensor, other: Tensor, share: float) -> Tensor:
    """Spherical interpolation of rows (Shoemake 1985, "Animating rotation with quaternion curves"),
    lengths apart."""
    lengths = [x.norm(dim=-1, keepdim=True) for x in (one, other)]
    units = [x / length.clamp_min(1e-30) for x, length in zip((one, other), lengths, strict=True)]
    cosine = (units[0] * units[1]).sum(-1, keepdim=True).clamp(-1, 1)
    angle = cosine.acos()
    sine = angle.sin()
    straight = (sine < PARALLEL) | (lengths[0] == 0) | (lengths[1] == 0)
    safe = torch.where(straight, 1.0, sine)
    direction = units[0] * ((1 - share) * angle).sin() / safe
    direction = direction + units[1] * (share * angle).sin() / safe
    turned = direction * torch.lerp(lengths[0], lengths[1], share)
    return torch.where(straight, torch.lerp(one, other, share), turned)


def share_after(done: int, chunks: int, pace: Pace = "even") -> float:
    """How far a transition has come with its `done`-th chunk (from 1 on): 0..1, and exactly 1 with
    the last one.

    Args:
        chunks: that the transition takes; 0 is at once.
        pace: "even", or "smooth": slow at both ends.
    """
    if done >= chunks:
        return 1.0
    share = max(0, done) / chunks
    return share if pace == "even" else share * share * (3 - 2 * share)


def transition(
    begin: Tensor, goal: Tensor, chunks: int, way: Way = "linear", pace: Pace = "even"
) -> list[Tensor]:
    """The prompt of each of the chunks in which `goal` takes over from `begin`; the last is `goal`,
    bit for bit. There is always one."""
    shares = [share_after(done, chunks, pace) for done in range(1, max(1, chunks) + 1)]
    return [blend((begin, goal), (1 - share, share), way) for share in shares]
