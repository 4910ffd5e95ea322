"""Training steps of the scene model: flow matching where each chunk has a noise level of its own.

The buffer is cut into chunks of a random size, all frames together among them, and chunk i of N
draws its time evenly from its place, ((i - 1) / N, i / N) (StreamDiT, arXiv 2507.03745, section
3.1, mixed training). Now and then the prompt is left out, so that a run may also do without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...dit import CausalDiT
from ...scene import SHIFT, SceneModel
from ..initial import init_loud
from ..loop import Losses
from ..scenes import Dice
from ..vl.optimiser import Muon
from .cache import FRAMES, Cache
from .world import prompt

Watch = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a training step draws.

    Attributes:
        clips: a step.
        frames: of each, the length of the buffer.
        chunks: (frames of a chunk, how often).
        together: share of the rows where all chunks are at the same part of their place, as they
            are when the model runs.
        wordless: share of the rows without a prompt.
        floor: least that the error is measured by.
        coarse: power of a channel's deviation that its error counts with.
        least: added to a clip's variety, for clips that have next to none.
    """

    clips: int = 8
    frames: int = 8
    chunks: tuple[tuple[int, float], ...] = ((2, 0.5), (8, 0.25), (4, 0.15), (1, 0.1))
    together: float = 0.5
    wordless: float = 0.1
    floor: float = 0.02
    coarse: float = 3.0
    least: float = 0.05


class StepLosses:
    """One training step as a function of (generator, step).

    Args:
        watch: called with each step's number before it.
    """

    def __init__(self, model: SceneModel, cache: Cache, recipe: Recipe, watch: Watch) -> None:
        self.model, self.cache, self.recipe, self.watch = model, cache, recipe, watch

    def __call__(self, generator: torch.Generator, step: int) -> Losses:
        self.watch(step)
        latents, tokens = self._batch(generator)
        clean = self.model.measured(latents)
        sigma = self._sigma(generator, len(clean))
        noise = torch.randn(clean.shape, generator=generator)
        share = sigma[..., None, None, None]
        t = 1000 * sigma
        with torch.autocast("cpu", torch.bfloat16):
            reading = self.model.dit.read(self.model.context(tokens))
            found = self.model.denoise(clean.lerp(noise, share), t, reading)
        # In units of what the linear guess leaves, so that no level drowns another.
        left = self.model.shares(t)[1].clamp(min=self.recipe.floor)
        error = ((found.float() - clean) / left).square().mean((3, 4))
        each = self._weighed(error) / self._weighed(self._variety(clean)).mean(1, keepdim=True)
        near = sigma < 0.5
        return {
            "total": each.mean(),
            "noisy": each[~near].mean() if bool((~near).any()) else each.new_zeros(()),
            "clear": each[near].mean() if bool(near.any()) else each.new_zeros(()),
        }

    def _weighed(self, error: Tensor) -> Tensor:
        """[rows, frames] of [rows, frames, channels]: what is seen from afar counts for more than
        fine detail, most of which no model can foretell."""
        weight = self.model.scale.pow(self.recipe.coarse)
        return (error * (weight / weight.mean())).mean(2)

    def _variety(self, clean: Tensor) -> Tensor:
        """How much there is to err about: a candle in the dark has a twentieth of what lava has,
        and is to be learned as soon."""
        return (clean / self.model.scale[:, None, None]).square().mean((3, 4)) + self.recipe.least

    def _batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        r = self.recipe
        latents, prompts = [], []
        for _ in range(r.clips):
            index = _pick(generator, len(self.cache))
            start = _pick(generator, FRAMES - r.frames + 1)
            latents.append(self.cache.latents(index, start, r.frames))
            shown, dice = self.cache.shown[index], Dice(_pick(generator, 1 << 40))
            text = "" if dice.chance(r.wordless) else prompt(dice, shown.kind, shown.traits)
            prompts.append(text)
        return torch.stack(latents), self.model.tokens(prompts)

    def _sigma(self, generator: torch.Generator, rows: int) -> Tensor:
        """Noise of every frame, [rows, frames]; the oldest chunk, the first, has the least."""
        r = self.recipe
        odds = torch.tensor([share for _, share in r.chunks])
        kinds = torch.multinomial(odds, rows, replacement=True, generator=generator).tolist()
        result = []
        for kind in kinds:
            size = r.chunks[kind][0]
            count = r.frames // size
            part = torch.rand(count, generator=generator)
            if float(torch.rand((), generator=generator)) < r.together:
                part = part[:1].expand(count)
            if count == 1:
                part = part.square()  # A stream begins so: all is noise, and the whole is decided.
            time = (torch.arange(count - 1, -1, -1) + part) / count
            result.append((1 - time).repeat_interleave(size))
        plain = torch.stack(result)
        return SHIFT * plain / (1 + (SHIFT - 1) * plain)


class Steps:
    """Muon as `loop.train` wants an optimiser: it takes its rate from `param_groups`."""

    def __init__(self, module: nn.Module, lr: float) -> None:
        self._muon, self._lr = Muon(module, lr), lr
        self.param_groups: list[dict[str, Any]] = [{"lr": lr}]

    def zero_grad(self, set_to_none: bool = True) -> None:
        self._muon.zero_grad(set_to_none)

    def step(self) -> None:
        self._muon.set_rate(self.param_groups[0]["lr"] / self._lr)
        self._muon.step()

    def state_dict(self) -> dict[str, Any]:
        return self._muon.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._muon.load_state_dict(state_dict)


def _pick(generator: torch.Generator, count: int) -> int:
    return int(torch.randint(count, (), generator=generator))


@torch.no_grad()
def init_scene(model: SceneModel) -> None:
    """Weights for a short training, see `init_loud`; but here the noisy latent is all there is."""
    dit: CausalDiT = model.dit
    init_loud(dit)
    if dit.stem is not None:
        weight = dit.stem.conv_in.weight
        nn.init.trunc_normal_(weight, std=weight[0].numel() ** -0.5)
