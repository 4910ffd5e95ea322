"""Lanes with one history a stream, of clean chunks: Self-Forcing (arXiv 2506.08009), CausVid.

A chunk passes all its noise levels over the past of finished chunks, and then once more as the
clean chunk that it has become (timestep 0): only what that pass writes is remembered. So a chunk
cannot begin before the one before it is done, and there is no stream batch: every step brings out
what it was given. Rows of all streams share each forward all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..models.dit import CausalDiT
from ..models.graphs import Graphs
from .entries import Finished
from .forward import Passed
from .lanes import GoOn, Lanes, always
from .levels import Levels


class CleanLanes(Lanes):
    """One row for each slot; see `Lanes`."""

    def __init__(
        self,
        dit: CausalDiT,
        slots: int,
        sigmas: tuple[float, ...],
        latent: tuple[int, int, int],
        fresh_noise: bool = True,
        passed: Passed = lambda rows, past: None,
        shift: float | None = None,
        graphs: Graphs | None = None,
    ) -> None:
        super().__init__(dit, slots, sigmas[:1], latent, fresh_noise, passed, shift, graphs)
        self.noise, self.most = Levels(sigmas, shift), len(sigmas)

    def step(
        self, slots: Sequence[int], spread: Collection[int] = (), go_on: GoOn = always
    ) -> list[Finished]:
        """Bring all chunks of these slots out. `spread` changes nothing here."""
        going = {s: entry for s in sorted(slots) if (entry := self.flights[s]) is not None}
        finished: list[Finished] = []
        chunks, passes = dict(going), 0
        while going:
            clean = self.forward.run(list(going), list(going.values()), commit=False)
            passes += 1
            for slot, latent in zip(list(going), clean, strict=True):
                entry = going[slot]
                if passes < entry.steps and go_on(slot, passes):
                    self._renoise(slot, entry, passes, latent)
                    continue
                del going[slot]
                finished.append(Finished(slot, entry.index, latent))
                self.forward.put(slot, entry, latent, 0)
        again = {slot: entry for slot, entry in chunks.items() if entry.commit}
        if again:
            self.forward.run(list(again), list(again.values()), commit=False)
        if chunks:
            self.forward.commit(list(chunks), next(iter(chunks.values())).frames)
        for slot, entry in chunks.items():
            self.flights[slot] = None
            self.recent[slot] = (self.recent[slot][1], entry.index)
            if entry.new_scene:
                self.state.ring.rows(slot, slot + 1).replace_sinks()
        return sorted(finished, key=lambda done: done.slot)
