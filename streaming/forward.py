"""One forward of the model over some rows of the lanes, and the memory that it works on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..models.block import Reading
from ..models.dit import CausalDiT
from .brought import Numbers
from .entries import Entry
from .levels import Levels
from .prompts import Mixtures

Passed = Callable[[int, int | None], None]
"""Told after each forward how many rows it had and how far back they looked."""


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
    ) -> None:
        """
        Args:
            latent: (c, h, w): latent frames of a chunk and their size.
            levels: how timesteps are read.
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
        self.mixtures = Mixtures(dit)
        self.numbers = Numbers(weight.device)

    def put(self, row: int, entry: Entry, x: Tensor, t: Tensor | float) -> None:
        """Lay a chunk into a row."""
        self.x[row, : entry.frames] = x
        self.cond[row, : entry.frames] = entry.cond
        self.t[row] = t

    def run(self, rows: Sequence[int], entries: Sequence[Entry], commit: bool = True) -> Tensor:
        """The model over some rows, their chunks then past if `commit`; clean latents
        [rows, c, C, h, w]."""
        frames, index = entries[0].frames, self.numbers.of(tuple(rows))
        prompt = self.mixtures.of([entry.prompt for entry in entries])
        pasts = [entry.past for entry in entries]
        clean = self._over(index, None, self._past(pasts), prompt, frames, commit)
        known = [past for past in pasts if past is not None]
        self._tell(len(rows), max(known) if len(known) == len(pasts) else None)
        return clean

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
        policy = self.dit.spec.ring
        most = policy.sinks + policy.window
        return self.numbers.of(tuple(most if past is None else past for past in pasts))
