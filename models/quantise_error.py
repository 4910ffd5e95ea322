"""What eight bits cost a transformer, measured: by layer, and from end to end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn as nn
import torch.nn.functional as functional
from torch import Tensor

from ..kernels import Fp8Weight, keep_plain
from .block import Reading
from .dit import CausalDiT
from .dit_state import DiTState
from .quantise import Fp8Choice, Groups, LayerError, fingerprint, groups_of, narrowed
from .sigmas import Level

Progress = Callable[[int, int], None]
"""Told how many runs are done, and of how many at most."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A stream to measure on. Nothing that the model draws is fed back, so that an error is the
    network's own, its memory included, and not where a stream happened to go from there.

    Attributes:
        latents: clean, [chunks, rows, frames, channels, height, width].
        noise: the same shape.
        levels: of the passes over each chunk.
        prompt: of all rows.
        told: what these are, in words.
    """

    latents: Tensor
    noise: Tensor
    levels: tuple[Level, ...]
    prompt: Reading
    told: str

    @property
    def size(self) -> tuple[int, int, int, int]:
        """Rows, frames of a chunk, height and width."""
        rows, frames, _, height, width = self.latents.shape[1:]
        return rows, frames, height, width


def random_inputs(
    dit: CausalDiT,
    size: tuple[int, int, int, int],
    chunks: int,
    levels: tuple[Level, ...],
    prompt: Reading,
    seed: int = 0,
) -> Inputs:
    """Latents that are noise of the size that latents have, half of it staying from chunk to chunk.

    Args:
        size: rows, frames of a chunk, height and width of latents.
    """
    rows, frames, height, width = size
    weight = dit.patch_embedding.weight
    generator = torch.Generator().manual_seed(seed)
    shape = (chunks, rows, frames, dit.spec.out_channels, height, width)

    def drawn(*sides: int) -> Tensor:
        return torch.randn(sides, generator=generator)

    latents = math.sqrt(0.5) * (drawn(1, *shape[1:]) + drawn(*shape))
    told = f"{chunks} chunks of random latents, seed {seed}"
    kind = weight.device, weight.dtype
    return Inputs(latents.to(*kind), drawn(*shape).to(*kind), levels, prompt, told)


class Runner:
    """Runs a model over inputs as often as asked, in one memory.

    Args:
        state: the memory; None for one of the model's own kind.
    """

    def __init__(self, dit: CausalDiT, inputs: Inputs, state: DiTState | None = None) -> None:
        self.dit, self.inputs = dit, inputs
        weight = dit.patch_embedding.weight
        rows, frames, height, width = inputs.size
        given = (rows, height, width, frames, weight.device, weight.dtype)
        self._state = dit.init_state(*given, prompts=False) if state is None else state

    @torch.no_grad()
    def __call__(self) -> Tensor:
        """Every pass's output, float32 [chunks * levels, rows, frames, channels, height, width]."""
        inputs, state, outs = self.inputs, self._state, []
        rows, frames, _, _ = inputs.size
        state.reset(torch.ones(rows, dtype=torch.bool, device=inputs.latents.device))
        for clean, noise in zip(inputs.latents, inputs.noise, strict=True):
            for level in inputs.levels:
                x = clean.lerp(noise, level.sigma)
                t = torch.full((rows, frames), level.timestep, device=x.device)
                cond = clean if self.dit.spec.cond_channels else None
                outs.append(self.dit(x, t, state, cond=cond, prompt=inputs.prompt).float())
            state.ring.commit(None, frames)
        return torch.stack(outs)


@dataclass(frozen=True, slots=True)
class Distance:
    """Between what a model gives and what it should: the relative error, and the PSNR in dB over
    the range of what it should."""

    error: float
    psnr_db: float

    @classmethod
    def of(cls, found: Tensor, wanted: Tensor) -> Distance:
        off = (found - wanted).double().square().mean()
        power, span = wanted.double().square().mean(), (wanted.max() - wanted.min()).double()
        if not bool(torch.isfinite(off)):
            return cls(math.inf, -math.inf)
        if off == 0:
            return cls(0.0, math.inf)
        return cls(float((off / power).sqrt()), float(10 * (span.square() / off).log10()))


class _Probe(Fp8Weight):
    """Computes with the plain weight, and sums up what eight bits would have been off by."""

    takes_rows = False
    plain: Tensor
    off: Tensor
    power: Tensor

    def product_with(self, x: Tensor, bias: Tensor | None) -> Tensor:
        exact = functional.linear(x, self.plain, bias)
        wide = exact.double()
        self.off += (super().product_with(x, bias).double() - wide).square().sum()
        self.power += wide.square().sum()
        return exact

    def like(self, codes: Tensor, scale: Tensor, dtype: torch.dtype) -> _Probe:
        other = _Probe(codes, scale, dtype)
        other.plain, other.off, other.power = self.plain, self.off, self.power
        return other


@contextmanager
def _probed(groups: Groups) -> Iterator[dict[str, list[_Probe]]]:
    """Every layer of these groups computes as before, and is watched."""
    kept: list[tuple[nn.Linear, Tensor]] = []
    probes: dict[str, list[_Probe]] = {name: [] for name in groups}
    try:
        for name, layers in groups.items():
            for layer in layers:
                plain = layer.weight
                eight = Fp8Weight.of(plain)
                probe = _Probe(eight.codes, eight.scale, plain.dtype)
                probe.plain = plain.detach()
                probe.off = torch.zeros((), dtype=torch.float64, device=plain.device)
                probe.power = torch.zeros_like(probe.off)
                kept.append((layer, plain))
                layer.weight = nn.Parameter(probe, requires_grad=False)
                keep_plain([layer.weight])
                probes[name].append(probe)
        yield probes
    finally:
        for layer, plain in kept:
            layer.weight = cast(nn.Parameter, plain)


def local_errors(runner: Runner, groups: Groups) -> dict[str, float]:
    """Each group's own relative error, on what the plain model gives it."""
    with _probed(groups) as probes:
        runner()
        return {
            name: math.sqrt(
                sum(float(p.off) for p in own) / max(sum(float(p.power) for p in own), 1e-300)
            )
            for name, own in probes.items()
        }


def calibrate(
    runner: Runner, limit: float, model: str, progress: Progress = lambda done, most: None
) -> Fp8Choice:
    """Measure every group, and take as many into eight bits as the limit allows.

    Args:
        limit: relative error of the model's outputs that is allowed with all chosen groups.
        model: a name, for the reader of the file.
    """
    groups = groups_of(runner.dit)
    most = 2 + len(groups) + len(groups).bit_length()
    done = 0

    def run() -> Tensor:
        nonlocal done
        found = runner()
        done += 1
        progress(done, most)
        return found

    wanted = run()
    local = local_errors(runner, groups)

    def distance(names: Sequence[str]) -> Distance:
        with narrowed([layer for name in names for layer in groups[name]]):
            return Distance.of(run(), wanted)

    whole = {name: distance([name]).error for name in groups}
    chosen, reached = most_within(whole, limit, distance)
    layers = {name: LayerError(local[name], whole[name], name in chosen) for name in groups}
    return Fp8Choice(
        model,
        fingerprint(runner.dit),
        runner.inputs.told,
        limit,
        reached.error,
        reached.psnr_db,
        layers,
    )


def most_within(
    errors: Mapping[str, float], limit: float, measure: Callable[[Sequence[str]], Distance]
) -> tuple[list[str], Distance]:
    """As many as are together within the limit, the least sensitive first; what they reach.

    All at once is tried first. Then the number is halved in between, as more of them err more.

    Args:
        errors: of each alone.
        measure: of several together.
    """
    ordered = sorted(errors, key=lambda name: errors[name])
    best, reached = list[str](), Distance(0.0, math.inf)
    fewest, most, count = 0, len(ordered), len(ordered)
    while fewest < most:
        found = measure(ordered[:count])
        if found.error <= limit:
            best, reached, fewest = ordered[:count], found, count
        else:
            most = count - 1
        count = (fewest + most + 1) // 2
    return best, reached
