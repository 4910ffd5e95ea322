"""Batches: rendered clips beside what each style would make of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .clips import render
from .styles import STYLES


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step trains on.

    Attributes:
        source, target: [B, T, 3, H, W] in 0..1.
        mix: [B, K], how much of each style, summing to 1.
    """

    source: Tensor
    target: Tensor
    mix: Tensor


def training_batch(
    generator: torch.Generator,
    clips: int,
    frames: int,
    size: int,
    device: str,
    emphasis: Tensor | None = None,
) -> Batch:
    """Clips in pairs of one main style; a third of them blended with a second style or the camera.

    `emphasis` [K]: how often each style is drawn (not normalised); default all alike.
    """
    clip = render(generator, clips, frames, size, device)
    weights = torch.ones(len(STYLES)) if emphasis is None else emphasis
    groups = (clips + 1) // 2
    main = torch.multinomial(weights.to(device), groups, replacement=False, generator=generator)
    second = torch.randint(len(STYLES), (groups,), generator=generator, device=device)
    second[torch.rand(groups, generator=generator, device=device) < 0.5] = 0
    share = 0.15 + 0.7 * torch.rand(clips, generator=generator, device=device)
    plain = torch.rand(clips, generator=generator, device=device) > 0.35
    share[plain] = 1.0
    target = torch.empty_like(clip.clean)
    mix = torch.zeros(clips, len(STYLES), device=device)
    for group in range(groups):
        rows = slice(2 * group, min(2 * group + 2, clips))
        first, other = int(main[group]), int(second[group])
        part = share[rows]
        styled = STYLES[first].filter(clip.clean[rows])
        if bool((part < 1).any()):
            a = part[:, None, None, None, None]
            styled = a * styled + (1 - a) * STYLES[other].filter(clip.clean[rows])
        target[rows] = styled
        mix[rows, first] += part
        mix[rows, other] += 1 - part
    return Batch(clip.source, target.clamp(0, 1), mix)


def clean_and_styled(
    generator: torch.Generator, clips: int, frames: int, size: int, device: str
) -> Tensor:
    """[clips, frames, 3, size, size]: what the autoencoder must carry; a third are plain or noisy
    camera pictures, the rest stylised ones."""
    batch = training_batch(generator, clips, frames, size, device)
    take = torch.rand(clips, generator=generator, device=device) < 0.33
    return torch.where(take[:, None, None, None, None], batch.source, batch.target)


@dataclass(frozen=True, slots=True)
class Draw:
    """What batches are drawn with: see `training_batch`. With `halves` odd batches have twice the
    clips and half the frames, which shows more styles and scenes for the same work."""

    seed: int
    clips: int
    frames: int
    size: int
    emphasis: Tensor | None = None
    halves: bool = False


class Batches(Dataset[Batch]):
    """Batch number n, a pure function of the seed and n, so that a run can be resumed anywhere."""

    def __init__(self, draw: Draw, device: str) -> None:
        self.draw, self.device = draw, device

    def __getitem__(self, step: int) -> Batch:
        d = self.draw
        generator = torch.Generator(device=self.device).manual_seed(d.seed * 999_983 + step)
        clips, frames = d.clips, d.frames
        if d.halves and step % 2:
            clips, frames = 2 * clips, (frames + 1) // 2
        return training_batch(generator, clips, frames, d.size, self.device, d.emphasis)


def stream_batches(draw: Draw, device: str, first: int, last: int) -> Iterator[Batch]:
    """Batches first..last-1. On a CPU another process renders ahead; a GPU renders for itself."""
    batches = Batches(draw, device)
    if device != "cpu":
        return (batches[step] for step in range(first, last))
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first, last),
        num_workers=1,
        prefetch_factor=3,
        worker_init_fn=_use_all_cores,
    )
    return iter(loader)


def _use_all_cores(_: int) -> None:
    """The trainer may be pinned to a core; who renders for it should not sit on the same one."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
