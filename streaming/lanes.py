"""The stream batch: every chunk in flight has a lane, one row of the model per noise level.

A lane is a (slot, level) pair: slot says whose stream, level how noisy. Each keeps a KV history of
its own, written at its own noise level, as in StreamDiffusionV2 (arXiv 2511.07399). Because of that
the order of the passes does not matter to the result: all levels in one batch (a chunk a tick
leaves, latency of n ticks) and one level after another (latency of one tick) are two ways to run
the same definition, and a test holds them equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels import gaussian_noise
from ..models.dit import CausalDiT, DiTState


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text embedding [text_len, text_dim] and a number that tells it from others."""

    key: int
    context: Tensor


@dataclass(frozen=True, slots=True)
class Entry:
    """A chunk that enters the lanes.

    Attributes:
        index: running number of the chunk in its stream.
        cond: [c, C, h, w], latent of the live frames.
        sigma: noise that it enters with, a scalar tensor.
        timestep: what the model is told of it, a scalar tensor (0..1000).
        steps: noise levels that it passes.
        seed: of the stream's noise.
        prompt: what it is to become.
        new_scene: whether it should replace the sinks (the prompt changed).
    """

    index: int
    cond: Tensor
    sigma: Tensor
    timestep: Tensor
    steps: int
    seed: int
    prompt: Prompt
    new_scene: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """A chunk that has left the lanes: its clean latent [c, C, h, w]."""

    slot: int
    index: int
    latent: Tensor


class Lanes:
    """Latents, conditions and KV histories of `slots` streams at up to `len(sigmas)` levels."""

    def __init__(
        self,
        dit: CausalDiT,
        slots: int,
        sigmas: tuple[float, ...],
        latent: tuple[int, int, int],
        fresh_noise: bool = True,
    ) -> None:
        """
        Attributes of interest: `passed` holds, per lane, the indices of the last two chunks.

        Args:
            sigmas: noise of each level; the first is only nominal, entries bring their own.
            latent: (c, h, w): latent frames of a chunk and their size.
            fresh_noise: draw new noise for each chunk, or the same for all chunks of a stream.
        """
        weight = dit.patch_embedding.weight
        frames, height, width = latent
        self.dit, self.sigmas, self.fresh_noise = dit, sigmas, fresh_noise
        self.levels = len(sigmas)
        rows = slots * self.levels
        self.state = dit.init_state(rows, height, width, frames, weight.device, weight.dtype)
        # Channels last, as the model wants its input and the encoder gives it.
        shape = (rows, frames, height, width, dit.spec.out_channels)
        zeros = torch.zeros(shape, device=weight.device, dtype=weight.dtype)
        self.x = zeros.permute(0, 1, 4, 2, 3)
        self.cond = torch.zeros_like(self.x)
        self.t = torch.zeros(rows, frames, device=weight.device)
        self.flights: list[Entry | None] = [None] * rows
        self.prompts: list[int | None] = [None] * rows
        self.passed: list[tuple[int, int]] = [(-1, -1)] * rows
        self.noises: dict[tuple[int, int, int], Tensor] = {}
        self.parts: dict[range, DiTState] = {}

    def in_flight(self, slot: int) -> int:
        """Chunks of a slot that have entered and not left."""
        return sum(flight is not None for flight in self._of(slot))

    def _of(self, slot: int) -> list[Entry | None]:
        return self.flights[slot * self.levels : (slot + 1) * self.levels]

    def reset(self, slot: int) -> None:
        """Forget the past of a slot; chunks in flight go on without it."""
        mask = self._mask(range(slot * self.levels, (slot + 1) * self.levels))
        self.state.reset(mask)

    def clear(self, slot: int) -> None:
        """Make a slot as new, for another stream."""
        self.reset(slot)
        first = slot * self.levels
        for row in range(first, first + self.levels):
            self.flights[row] = None
            self.prompts[row] = None
            self.passed[row] = (-1, -1)

    def enter(self, slot: int, entry: Entry) -> None:
        """Put a chunk into the first lane of its slot, which must be free."""
        if not 1 <= entry.steps <= self.levels:
            raise ValueError(f"{entry.steps} steps; these lanes have 1 to {self.levels} levels")
        row = slot * self.levels
        assert self.flights[row] is None, "the first lane is taken"
        noise = self._noise(entry, 0)
        self.x[row] = torch.lerp(entry.cond.float(), noise, entry.sigma.to(torch.float32))
        self.cond[row] = entry.cond
        self.t[row] = entry.timestep
        self.flights[row] = entry

    def advance(self, slots: Sequence[int]) -> list[Finished]:
        """One stream-batch step: every lane in use of these slots, one forward per run of rows."""
        rows = [
            slot * self.levels + level
            for slot in sorted(slots)
            for level in range(self.levels)
            if self.flights[slot * self.levels + level] is not None
        ]
        finished: list[Finished] = []
        for run in runs(rows):
            finished += self._pass(run)
        return sorted(finished, key=lambda f: (f.slot, f.index))

    def complete(self, slot: int) -> list[Finished]:
        """Sequential mode: all that is in flight passes its remaining levels, oldest first."""
        finished: list[Finished] = []
        first = slot * self.levels
        while self.in_flight(slot):
            # The highest lane in use holds the oldest chunk; it stays the highest as it moves on.
            row = max(first + i for i, flight in enumerate(self._of(slot)) if flight is not None)
            finished += self._pass(range(row, row + 1))
        return finished

    def _pass(self, run: range) -> list[Finished]:
        """One forward over consecutive rows; commit; move each chunk on to its next level."""
        self._write_prompts(run)
        state = self._part(run)
        part = slice(run.start, run.stop)
        cond = self.cond[part] if self.dit.spec.cond_channels else None
        output = self.dit(self.x[part], self.t[part], state, None, cond)
        sigma = self.t[part] / 1000
        clean = self.dit.to_x0(output, self.x[part], sigma.to(output.dtype))
        state.ring.commit(None)
        finished = []
        for row in reversed(run):
            done = self._move_on(row, clean[row - run.start])
            if done is not None:
                finished.append(done)
        return finished

    def _part(self, run: range) -> DiTState:
        """The model's memory of some rows; a view, kept because a stream asks for it each time."""
        if run not in self.parts:
            self.parts[run] = self.state.rows(run.start, run.stop)
        return self.parts[run]

    def _move_on(self, row: int, clean: Tensor) -> Finished | None:
        entry = self.flights[row]
        assert entry is not None
        slot, level = divmod(row, self.levels)
        self.flights[row] = None
        self.passed[row] = (self.passed[row][1], entry.index)
        if entry.new_scene:
            self._part(range(row, row + 1)).ring.replace_sinks()
        if level + 1 == entry.steps:
            return Finished(slot, entry.index, clean)
        if self.passed[row + 1][1] != self.passed[row][0]:
            self._found_history(row + 1)
        sigma = self.sigmas[level + 1]
        noise = self._noise(entry, level + 1)
        self.x[row + 1] = torch.lerp(clean.float(), noise, sigma)
        self.cond[row + 1] = entry.cond
        self.t[row + 1] = 1000 * sigma
        self.flights[row + 1] = entry
        return None

    def _found_history(self, row: int) -> None:
        """Give a level that sat out some chunks (fewer steps were asked for) the history of the
        level below, which has just passed the chunk that comes here next and is one ahead by it."""
        below = torch.tensor([row - 1], device=self.x.device)
        ring = self.state.ring
        ring.copy_rows(below, below + 1)
        # The chunk's own slot is written again at this level before anything reads it.
        ring.frames[row] -= self.x.shape[1]

    def _write_prompts(self, run: range) -> None:
        for row in run:
            entry = self.flights[row]
            if entry is not None and self.prompts[row] != entry.prompt.key:
                index = torch.tensor([row], device=self.x.device)
                context = entry.prompt.context[None].to(self.x.dtype)
                self.dit.set_context(self.state, index, context)
                self.prompts[row] = entry.prompt.key

    def _noise(self, entry: Entry, level: int) -> Tensor:
        key = (entry.seed, entry.index if self.fresh_noise else 0, level)
        if key not in self.noises:
            # Noise that does not change from chunk to chunk is worth keeping: it takes longer to
            # make than a transformer block.
            if len(self.noises) >= 2 * len(self.flights):
                self.noises.pop(next(iter(self.noises)))
            shape = tuple(entry.cond.shape)
            noise = gaussian_noise(*key, shape, self.x.device, torch.float32)
            self.noises[key] = noise.contiguous(memory_format=torch.channels_last)
        return self.noises[key]

    def _mask(self, rows: range) -> Tensor:
        mask = torch.zeros(len(self.flights), dtype=torch.bool, device=self.x.device)
        mask[rows.start : rows.stop] = True
        return mask


def runs(rows: Sequence[int]) -> list[range]:
    """Maximal runs of consecutive numbers in an ascending sequence."""
    found: list[range] = []
    for row in rows:
        if found and found[-1].stop == row:
            found[-1] = range(found[-1].start, row + 1)
        else:
            found.append(range(row, row + 1))
    return found
