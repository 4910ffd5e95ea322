"""The stream batch: every chunk in flight has a lane, one row of the model per noise level.

A lane is a (slot, level) pair: slot says whose stream, level how noisy. Each keeps a KV history of
its own, written at its own noise level, as in StreamDiffusionV2 (arXiv 2511.07399). Because of that
the order of the passes does not matter to the result: all levels in one batch (a chunk a tick
leaves, latency of n ticks) and one level after another (latency of one tick) are two ways to run
the same definition, and a test holds them equal. A stream may change from one to the other between
two chunks, and streams of both kinds share one forward.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from ..models.dit import CausalDiT
from ..models.graphs import Graphs
from .entries import Entry, Finished
from .forward import Forward, Mix, Passed, Words
from .levels import Levels

GoOn = Callable[[int, int], bool]
"""(slot, passes done) -> whether its chunk goes on to the next level."""


def always(slot: int, passes: int) -> bool:
    """Every chunk goes on to its last level."""
    return True


Stays = Callable[[int, Entry, int], bool]
"""(slot, chunk, passes done) -> whether it goes on to its next level."""


class Lanes:
    """Latents, conditions and KV histories of `slots` streams at up to `len(sigmas)` levels.

    Attributes:
        flights: per lane, the chunk that is in it.
        recent: per lane, the indices of the last two chunks that passed it.
    """

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
        """
        Args:
            sigmas: noise of each level; the first is only nominal, entries bring their own.
            latent: (c, h, w): latent frames of a chunk and their size.
            fresh_noise: draw new noise for each chunk, or the same for all chunks of a stream.
            passed: told after each forward.
            shift: see `Levels`.
            graphs: see `Forward`.
        """
        self.noise, self.fresh_noise = Levels(sigmas, shift), fresh_noise
        self.levels = self.most = len(sigmas)
        rows = slots * self.levels
        self.forward = Forward(dit, rows, latent, self.noise, passed, graphs)
        self.state, self.x = self.forward.state, self.forward.x
        self.flights: list[Entry | None] = [None] * rows
        self.recent: list[tuple[int, int]] = [(-1, -1)] * rows
        self._early: list[Finished] = []

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
        self._early = [done for done in self._early if done.slot != slot]
        first = slot * self.levels
        for row in range(first, first + self.levels):
            self.flights[row] = None
            self.recent[row] = (-1, -1)

    def enter(self, slot: int, entry: Entry) -> None:
        """Put a chunk into the first lane of its slot, which must be free."""
        levels = min(self.most, len(entry.ladder) or self.most)
        if not 1 <= entry.steps <= levels:
            raise ValueError(f"{entry.steps} steps; these lanes have 1 to {levels} levels")
        row = slot * self.levels
        assert self.flights[row] is None, "the first lane is taken"
        mix = Mix(entry.cond, self._words(entry, 0), entry.sigma, entry.timestep)
        self.forward.mix(row, entry, mix)
        self.flights[row] = entry

    def advance(self, slots: Sequence[int]) -> list[Finished]:
        """One stream-batch step: every lane in use of these slots, in one forward."""
        return self.step(slots, spread=slots)

    def complete(self, *slots: int, go_on: GoOn = always) -> list[Finished]:
        """Sequential mode: all that is in flight passes its remaining levels, oldest first."""
        return self.step(slots, go_on=go_on)

    def step(
        self, slots: Sequence[int], spread: Collection[int] = (), go_on: GoOn = always
    ) -> list[Finished]:
        """Bring slots on; all of them share each forward.

        Args:
            spread: those that run as a stream batch: all their lanes, in the first forward only.
                The others pass levels until nothing of theirs is in flight, oldest chunk first.
            go_on: asked for a sequential slot after each pass that is not its chunk's last.
        """
        finished: list[Finished] = []
        waiting = [slot for slot in sorted(slots) if slot not in spread]
        # Only about a slot's newest chunk: those before it are late already.
        newest = {slot: self._of(slot)[0] for slot in waiting}

        def stays(slot: int, entry: Entry, passes: int) -> bool:
            return newest.get(slot) is not entry or go_on(slot, passes)

        rows = [row for slot in sorted(slots) for row in self._next(slot, slot in spread)]
        while rows:
            finished += self._pass(rows, stays)
            rows = [row for slot in waiting for row in self._next(slot, False)]
        return self._in_order(finished)

    def remember(self, entries: Mapping[int, Entry]) -> None:
        """Let the clean latents of chunks (their `cond`) be the past of their slots, by slot, at
        every level. Nothing of these slots may be in flight."""
        slots = sorted(entries)
        assert not any(self.in_flight(slot) for slot in slots)
        for slot in slots:
            entry = entries[slot]
            for row in range(slot * self.levels, (slot + 1) * self.levels):
                self.forward.put(row, entry, entry.cond, 0)
                self.recent[row] = (self.recent[row][1], entry.index)
        rows = [slot * self.levels + level for slot in slots for level in range(self.levels)]
        self.forward.run(rows, [entries[slot] for slot in slots for _ in range(self.levels)])

    def _in_order(self, finished: Sequence[Finished]) -> list[Finished]:
        """By slot and index; a chunk of few levels waits for one before it that has more."""
        ready = []
        for done in sorted((*self._early, *finished), key=lambda f: (f.slot, f.index)):
            before = [e for e in self._of(done.slot) if e is not None and e.index < done.index]
            if not before:
                ready.append(done)
        self._early = [done for done in (*self._early, *finished) if done not in ready]
        return ready

    def _next(self, slot: int, spread: bool) -> list[int]:
        """The lanes of a slot that run next: all in use, or the highest, which has the oldest
        chunk and stays the highest as it moves on."""
        first = slot * self.levels
        used = [first + i for i, flight in enumerate(self._of(slot)) if flight is not None]
        return used if spread else used[-1:]

    def _pass(self, rows: list[int], stays: Stays) -> list[Finished]:
        """One forward over some rows; commit; move each chunk on to its next level."""
        entries = [entry for entry in (self.flights[row] for row in rows) if entry is not None]
        assert len(entries) == len(rows)
        clean = self.forward.run(rows, entries)
        finished = []
        for place in reversed(range(len(rows))):
            done = self._move_on(rows[place], clean[place], stays)
            if done is not None:
                finished.append(done)
        return finished

    def _move_on(self, row: int, clean: Tensor, stays: Stays) -> Finished | None:
        entry = self.flights[row]
        assert entry is not None
        slot, level = divmod(row, self.levels)
        self.flights[row] = None
        self.recent[row] = (self.recent[row][1], entry.index)
        if entry.new_scene:
            self.state.ring.rows(row, row + 1).replace_sinks()
        if level + 1 == entry.steps or not stays(slot, entry, level + 1):
            return Finished(slot, entry.index, clean)
        if self.recent[row + 1][1] != self.recent[row][0]:
            self._found_history(row + 1, entry.frames)
        self._renoise(row + 1, entry, level + 1, clean)
        return None

    def _renoise(self, row: int, entry: Entry, level: int, clean: Tensor) -> None:
        """Put a chunk that is clean for now at its next level."""
        nominal = (entry.ladder or self.noise.nominal)[level]
        share = self.noise.sigma(nominal)
        self.forward.mix(row, entry, Mix(clean, self._words(entry, level), share, 1000 * nominal))
        self.flights[row] = entry

    def _found_history(self, row: int, frames: int) -> None:
        """Give a level that sat out some chunks (fewer steps were asked for) the history of the
        level below, which has just passed the chunk that comes here next and is one ahead by it."""
        below, own = (self.forward.numbers.of((number,)) for number in (row - 1, row))
        ring = self.state.ring
        ring.copy_rows(below, own)
        # The chunk's own slot is written again at this level before anything reads it.
        ring.frames[row] -= frames

    def _words(self, entry: Entry, level: int) -> Words:
        return entry.seed, entry.index if self.fresh_noise else 0, level

    def _mask(self, rows: range) -> Tensor:
        mask = torch.zeros(len(self.flights), dtype=torch.bool, device=self.x.device)
        mask[rows.start : rows.stop] = True
        return mask
