"""Trains the embedded video model: flow matching on chunks with the cache that it will run with.

All frames of a clip go through the model in one pass whose block-causal mask shows each frame what
the rolling ring would show it. Because every noise level keeps a history of its own (the stream
batch's lanes), this one pass *is* the rolling run: the model trains on what it will meet.

level 0   starts from the live frame's latent under noise, x = (1 - s) cond + s e, s in 0.65..1
level 1   starts from the model's own level-0 answer under less noise, s in 0.35..0.65
any       starts from the true latent at a random noise level (plain flow matching)

The losses are on the clean latent, whose distances are nearly pixel distances (`PatchAutoencoder`),
plus, for some frames, on the decoded picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..autoencoder import PatchAutoencoder
from ..dit import CausalDiT
from ..specs import DiTSpec
from ..steady import steady, steady_state
from .autoencoder import edge_loss
from .data import Batch, Draw, stream_batches
from .loop import Losses, Plan, steps_done, train
from .styles import STYLES

PHASES = ("sketch", "widen", "remember", "finish")
"""The video model learns on small pictures first: a look is local, a step on 64x64 costs a quarter
of one on 128x128, and the number of steps is what counts. Larger pictures teach it distance. Then
come mostly looks that need the past, on clips of full length: mixed with the others from the start
they lose to them, as a look without its past is nearly right. The last phase brings all looks
together and compares pictures too."""


class Stylizer(nn.Module):
    """The DiT and the bank of styles that it is conditioned on (what is trained together)."""

    def __init__(self, spec: DiTSpec, styles: int) -> None:
        super().__init__()
        self.dit = CausalDiT(spec)
        # The tokens of a style share most of their direction, so that their mean, which steers the
        # convolutions, tells styles apart as well as the tokens do.
        shared = torch.randn(styles, 1, spec.text_dim)
        self.bank = nn.Parameter(shared + 0.5 * torch.randn(styles, spec.text_len, spec.text_dim))

    def context(self, mix: Tensor) -> Tensor:
        """[B, K] weights of the styles -> text embedding [B, text_len, text_dim]."""
        return torch.einsum("bk,kld->bld", mix, self.bank.to(mix.dtype))


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a training step draws."""

    clips: int
    frames: int
    size: int
    pixel_frames: int
    """How many frames of each clip are also compared as decoded pictures."""
    emphasis: Mapping[str, float]
    """How often a look is drawn, by its name; 1 where nothing is said."""
    halves: bool = False
    """Every second step takes twice the clips and half the frames, for the sake of variety."""
    second_level: float = 0.4
    """How often the second noise level is trained too."""
    plain_flow: float = 0.15
    """How often the true latent at any noise level is the start instead."""


def renoise(clean: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """(1 - s) x + s e with s [B, T] or [B, 1] over latents [B, T, C, h, w]."""
    noise = torch.randn(clean.shape, generator=generator, device=clean.device)
    s = sigma[..., None, None, None]
    return (1 - s) * clean + s * noise


def uniform(generator: torch.Generator, rows: int, low: float, high: float, device: str) -> Tensor:
    """[rows, 1] values between low and high."""
    value = torch.rand(rows, 1, generator=generator, device=device)
    return low + (high - low) * value


class StepLosses:
    """One training step as a function of (generator, step)."""

    def __init__(
        self,
        model: Stylizer,
        autoencoder: PatchAutoencoder,
        recipe: Recipe,
        batches: Iterator[Batch],
        device: str,
    ) -> None:
        self.model, self.autoencoder, self.recipe = model, autoencoder, recipe
        self.batches, self.device = batches, device

    def __call__(self, generator: torch.Generator, step: int) -> Losses:
        r = self.recipe
        batch = next(self.batches)
        with torch.no_grad(), torch.autocast(self.device, torch.bfloat16):
            target = self.autoencoder.encode(batch.target).float()
            cond = self._live(batch.source).float()
        context = self.model.context(batch.mix)
        terms: Losses = {}
        plain = bool(torch.rand((), generator=generator, device=self.device) < r.plain_flow)
        if plain:
            sigma = uniform(generator, len(batch.mix), 0.05, 1.0, self.device)
            start = renoise(target, sigma, generator)
        else:
            sigma = uniform(generator, len(batch.mix), 0.65, 1.0, self.device)
            start = renoise(cond, sigma, generator)
        first = self._predict(start, sigma, context, cond)
        total = self._loss(first, target, batch, generator, terms, "1")
        two = bool(torch.rand((), generator=generator, device=self.device) < r.second_level)
        if two and not plain:
            sigma = uniform(generator, len(batch.mix), 0.35, 0.65, self.device)
            start = renoise(first.detach(), sigma, generator)
            second = self._predict(start, sigma, context, cond)
            total = total + self._loss(second, target, batch, generator, terms, "2")
        terms["total"] = total
        return terms

    def _live(self, source: Tensor) -> Tensor:
        """The camera's latents behind the noise filter that a live stream has (`models/steady`)."""
        latents = self.autoencoder.encode(source)
        rows, shape = latents.shape[0], latents.shape[2:]
        state = steady_state(rows, (shape[0], shape[1], shape[2]), latents.device, latents.dtype)
        return steady(latents, state)

    def _predict(self, x: Tensor, sigma: Tensor, context: Tensor, cond: Tensor) -> Tensor:
        t = (sigma * 1000).expand(-1, x.shape[1])
        with torch.autocast(self.device, torch.bfloat16):
            out = self.model.dit.forward_clip(x, t, context, cond)
        return out.float()

    def _loss(
        self,
        clean: Tensor,
        target: Tensor,
        batch: Batch,
        generator: torch.Generator,
        terms: Losses,
        name: str,
    ) -> Tensor:
        error = clean - target
        moved = error[:, 1:] - error[:, :-1]
        terms["l1_" + name] = error.abs().mean()
        terms["mse_" + name] = error.square().mean()
        total = terms["l1_" + name] + 2 * terms["mse_" + name] + 0.25 * moved.abs().mean()
        if self.recipe.pixel_frames:
            total = total + self._pixel_loss(clean, batch.target, generator, terms, name)
        return total

    def _pixel_loss(
        self, clean: Tensor, target: Tensor, generator: torch.Generator, terms: Losses, name: str
    ) -> Tensor:
        count, frames = self.recipe.pixel_frames, clean.shape[1]
        start = torch.randint(frames - count + 1, (), generator=generator, device=self.device)
        part = slice(int(start), int(start) + count)
        rows, height, width = clean.shape[0], target.shape[-2], target.shape[-1]
        state = self.autoencoder.init_state(rows, height, width, self.device)
        every = torch.ones(rows, dtype=torch.bool, device=self.device)
        with torch.autocast(self.device, torch.bfloat16):
            pictures = self.autoencoder.decode(clean[:, part], state, every).float()
        wanted = target[:, part]
        terms["pixel_" + name] = F.l1_loss(pictures, wanted)
        return 4 * terms["pixel_" + name] + 2 * edge_loss(pictures, wanted)


def train_stylizer(
    model: Stylizer,
    autoencoder: PatchAutoencoder,
    recipe: Recipe,
    plan: Plan,
    folder: Path,
    device: str,
) -> Stylizer:
    autoencoder.requires_grad_(False)
    emphasis = torch.tensor([recipe.emphasis.get(style.name, 1.0) for style in STYLES])
    draw = Draw(plan.seed, recipe.clips, recipe.frames, recipe.size, emphasis, recipe.halves)
    batches = stream_batches(draw, device, steps_done(folder), plan.steps)
    train(model, StepLosses(model, autoencoder, recipe, batches, device), plan, folder)
    return model
