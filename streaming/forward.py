"""One forward of the model over some rows of the lanes, and the memory that it works on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels import gaussian_noise
from ..models.block import Reading
from ..models.bring import bring
from ..models.dit import CausalDiT
from ..models.graphs import Call, Graphs, bucket
from .brought import Noises, numbers_on, shares_on
from .entries import Entry
from .levels import Levels
from .prompts import Mixtures

Passed = Callable[[int, int | None], None]
"""Told after each forward how many rows it had and how far back they looked."""
Words = tuple[int, int, int]
"""What noise follows from: seed, chunk, level."""


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """A chunk's latent as a level takes it.

    Attributes:
        latent: [c, C, h, w], clean.
        words: of the noise.
        share: of noise, 0..1.
        told: what the model is told of it, 0..1000.
    """

    latent: Tensor
    words: Words
    share: Tensor | float
    told: Tensor | float


class Forward:
    """Latents, conditions, timesteps and KV histories of `rows` rows, and the pass over them.

    Attributes:
        x, cond: [rows, c, C, h, w], the chunk that is in each row, noisy and as it came in.
        t: [rows, c], timesteps.
        state: what the model remembers.
        mixtures: prompts of several rows, joined.
    """

    def __init__(
        self,
        dit: CausalDiT,
        rows: int,
        latent: tuple[int, int, int],
        levels: Levels,
        passed: Passed,
        graphs: Graphs | None = None,
    ) -> None:
        """
        Args:
            latent: (c, h, w): latent frames of a chunk and their size.
            levels: how timesteps are read.
            graphs: where forwards are recorded; None runs each as it is.
        """
        weight = dit.patch_embedding.weight
        frames, height, width = latent
        self.dit, self._levels, self._tell = dit, levels, passed
        self.state = dit.init_state(
            rows, height, width, frames, weight.device, weight.dtype, prompts=False
        )
        # Channels last, as the model wants its input and the encoder gives it.
        shape = (rows, frames, height, width, dit.spec.out_channels)
        self._x = torch.zeros(shape, device=weight.device, dtype=weight.dtype)
        self._cond = torch.zeros_like(self._x)
        self.x, self.cond = (part.permute(0, 1, 4, 2, 3) for part in (self._x, self._cond))
        self.t = torch.zeros(rows, frames, device=weight.device)
        self.mixtures, self._graphs = Mixtures(dit), graphs
        self.numbers, self._shares = numbers_on(weight.device), shares_on(weight.device)
        self.noises = Noises(2 * rows, weight.device)

    def tensors(self) -> Iterator[Tensor]:
        """All memory."""
        yield from (self._x, self._cond, self.t)
        yield from self.state.tensors()

    def put(self, row: int, entry: Entry, x: Tensor, t: Tensor | float) -> None:
        """Lay a chunk into a row."""
        self.x[row, : entry.frames] = x
        self.cond[row, : entry.frames] = entry.cond
        self.t[row] = t

    def mix(self, row: int, entry: Entry, mix: Mix) -> None:
        """Lay a chunk into a row with noise."""
        if self._graphs is None:
            noise = self.noises.of(mix.words, tuple(entry.cond.shape))
            share = mix.share.float() if isinstance(mix.share, Tensor) else mix.share
            self.put(row, entry, torch.lerp(mix.latent.float(), noise, share), mix.told)
            return
        numbers = bring(torch.tensor([row, *mix.words]), self.x.device)
        share, told = self._shares.of(mix.share), self._shares.of(mix.told)
        inputs = (mix.latent, entry.cond, numbers, share, told)
        call = Call(self._mixed, inputs, memory=(self._x, self._cond, self.t))
        self._graphs.run(("mix", entry.frames), call)

    def _mixed(
        self, latent: Tensor, cond: Tensor, numbers: Tensor, share: Tensor, told: Tensor
    ) -> Tensor:
        """The same as a function of tensors: numbers is the row and then the words, int64 [4]."""
        row, seed, chunk, level = numbers.split(1)
        frames, shape = len(latent), tuple(latent.shape)
        noise = gaussian_noise(seed, chunk, level, shape, latent.device, torch.float32)[0]
        mixed = torch.lerp(latent.float(), noise, share.float())
        for place, value in ((self._x, mixed), (self._cond, cond)):
            last = value.permute(0, 2, 3, 1)[None].to(place.dtype)
            place[:, :frames].index_copy_(0, row, last)
        self.t.index_copy_(0, row, told.to(self.t.dtype).expand(1, self.t.shape[1]))
        return mixed

    def run(self, rows: Sequence[int], entries: Sequence[Entry], commit: bool = True) -> Tensor:
        """The model over some rows, their chunks then past if `commit`; clean latents
        [rows, c, C, h, w]."""
        if self._graphs is None:
            index, past = self.numbers.of(tuple(rows)), self._past([e.past for e in entries])
            prompt = self.mixtures.of([entry.prompt for entry in entries])
            clean = self._over(index, None, past, prompt, entries[0].frames, commit)
        else:
            clean = self._recorded(self._graphs, rows, entries, commit)
        known = [entry.past for entry in entries if entry.past is not None]
        self._tell(len(rows), max(known) if len(known) == len(entries) else None)
        return clean

    def _recorded(
        self, graphs: Graphs, rows: Sequence[int], entries: Sequence[Entry], commit: bool
    ) -> Tensor:
        """Rows that are padded to a bucket by some that do not run, in a graph."""
        size, frames = bucket(len(rows), len(self.t)), entries[0].frames
        spare = [row for row in range(len(self.t)) if row not in set(rows)]
        idle = size - len(rows)
        padded = (*rows, *spare[:idle])
        runs = (1,) * len(rows) + (0,) * idle
        looks = (*(self._look(entry.past) for entry in entries), *(self._look(None),) * idle)
        prompts = [entry.prompt for entry in entries]
        prompt = self.mixtures.of(prompts + prompts[-1:] * idle)
        shape = (3, size)

        def forward(numbers: Tensor, pooled: Tensor, last: Tensor, *text: Tensor) -> Tensor:
            chosen, mask, past = numbers.unbind(0)
            reading = Reading(list(zip(text[::2], text[1::2], strict=True)), pooled, last)
            return self._over(chosen, mask.bool(), past, reading, frames, commit)

        call = Call(
            forward,
            (self.numbers.of((*padded, *runs, *looks)).view(shape),),
            (prompt.pooled, prompt.last, *(part for pair in prompt.text for part in pair)),
            (self.numbers.of((*padded, *(0,) * size, *looks)).view(shape),),
        )
        return graphs.run(("forward", size, frames, commit), call)[: len(rows)]

    def commit(self, rows: Sequence[int], frames: int) -> None:
        """Let what the last forward wrote be past."""
        self.state.ring.commit(None, frames, rows=self.numbers.of(tuple(rows)))

    def _over(
        self,
        rows: Tensor,
        mask: Tensor | None,
        past: Tensor | None,
        prompt: Reading,
        frames: int,
        commit: bool,
    ) -> Tensor:
        """A function of tensors and of the memory alone: nothing here knows which rows run.

        Args:
            rows: int64 [n], distinct.
            mask: bool [n], which of them run; None for all. Others keep their memory.
            past: int64 [n], most latent frames that each looks back; None for all.
        """
        x, cond, t = (part.index_select(0, rows) for part in (self._x, self._cond, self.t))
        x, cond = (part[:, :frames].permute(0, 1, 4, 2, 3) for part in (x, cond))
        t, ring = t[:, :frames], self.state.ring
        view = ring.view(frames, rows=rows, past=past)
        given = cond if self.dit.spec.cond_channels else None
        output = self.dit(x, t, self.state, mask, given, view=view, prompt=prompt)
        clean = self._clean(output, x, t)
        if commit:
            ring.commit(mask, frames, rows=rows)
        return clean

    def _clean(self, output: Tensor, x: Tensor, t: Tensor) -> Tensor:
        if self.dit.spec.prediction == "flow" and output.dtype != torch.float64:
            # A difference of two large numbers: bfloat16 would lose what the model has found.
            output, x = output.float(), x.float()
        return self.dit.to_x0(output, x, self._levels.read(t).to(output.dtype))

    def _past(self, pasts: Sequence[int | None]) -> Tensor | None:
        if all(past is None for past in pasts):
            return None
        return self.numbers.of(tuple(self._look(past) for past in pasts))

    def _look(self, past: int | None) -> int:
        policy = self.dit.spec.ring
        return policy.sinks + policy.window if past is None else past
