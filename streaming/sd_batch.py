"""The stream batch of a UNet model: chunks of all streams at all levels in one forward.

StreamDiffusion (Kodaira et al. 2023, section 3.1) runs frames at n noise levels together, so that
a frame leaves at each call and comes out n - 1 calls after it went in. Here each chunk brings its
own wishes and its own number of steps, chunks of many streams share the forward, and a stream that
would rather have its frames at once runs its levels one after another. Frames do not see each
other, so all of these give the same pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..models.graphs import Graphs, recorded
from ..models.sd.denoiser import Denoiser, Drawing, Task

GoOn = Callable[[int, int], bool]
"""(slot, passes done) -> whether its newest chunk goes on to the next level."""


def _always(slot: int, passes: int) -> bool:
    return True


def _untold(rows: int, window: int | None) -> None:
    return None


@dataclass(eq=False, slots=True)
class _Flight:
    """A chunk in flight.

    Attributes:
        row: of the state; its own from entry to end.
        level: the next of its drawing's levels.
    """

    slot: int
    index: int
    row: int
    drawing: Drawing
    level: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A chunk that has left: its clean latents [T, C, h, w]."""

    slot: int
    index: int
    latent: Tensor


class StreamBatch:
    """Chunks in flight of `slots` streams of one size.

    Args:
        depth: most chunks of one stream in flight, which is the most levels of a drawing.
        passed: told the rows that each forward had.
        graphs: where what runs over this memory is recorded; None runs it as it is.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        slots: int,
        depth: int,
        passed: Callable[[int, int | None], None] = _untold,
        graphs: Graphs | None = None,
    ) -> None:
        self._denoiser, self._passed, self._graphs = denoiser, passed, graphs
        self.state = denoiser.init_state(slots * depth)
        self._flights: list[list[_Flight]] = [[] for _ in range(slots)]
        self._free_rows = [list(range(slot * depth, (slot + 1) * depth)) for slot in range(slots)]
        self._early: list[Drawn] = []
        self._free = list(range(slots))

    def coded(self, name: str, coder: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
        """Through one side of the autoencoder, which remembers nothing."""
        return recorded(self._graphs, name, coder, given)

    @property
    def idle(self) -> bool:
        """Whether no stream has a slot."""
        return len(self._free) == len(self._flights)

    def take(self) -> int | None:
        """A slot; None when all are taken."""
        return self._free.pop(0) if self._free else None

    def give_back(self, slot: int) -> None:
        """Let a slot go, with what is in flight there."""
        for flight in self._flights[slot]:
            self._free_rows[slot].append(flight.row)
        self._flights[slot] = []
        self._early = [done for done in self._early if done.slot != slot]
        self._free = sorted((*self._free, slot))

    def in_flight(self, slot: int) -> int:
        """Chunks that went in and have not come out."""
        return len(self._flights[slot]) + sum(done.slot == slot for done in self._early)

    def enter(
        self, slot: int, index: int, clean: Tensor, drawing: Drawing, pictures: Tensor
    ) -> None:
        """Take a chunk in; see `Denoiser.enter`."""
        assert self._free_rows[slot], "as many chunks are in flight as there are levels"
        flight = _Flight(slot, index, self._free_rows[slot].pop(0), drawing)
        self._denoiser.enter(self.state, flight.row, clean, drawing, pictures)
        self._flights[slot].append(flight)

    def step(
        self,
        slots: Sequence[int],
        spread: Collection[int] = (),
        flush: Collection[int] = (),
        go_on: GoOn = _always,
    ) -> list[Drawn]:
        """Bring slots on; all of them share each forward.

        Args:
            spread: those that run as a stream batch: one pass of all that they have in flight. Of
                the others, every chunk passes all its levels.
            flush: those of whom at least one chunk must come out, the oldest.
            go_on: asked for a slot that is not spread after each pass of its newest chunk that is
                not the last.

        Returns:
            What came out, by slot and in each by index.
        """
        ordered = sorted(slots)
        newest = {s: self._flights[s][-1] for s in ordered if self._flights[s] and s not in spread}
        oldest = {slot: self._flights[slot][0] for slot in flush if self._flights[slot]}

        def stays(flight: _Flight) -> bool:
            return newest.get(flight.slot) is not flight or go_on(flight.slot, flight.level)

        def waits(slot: int) -> bool:
            if slot in oldest:
                return oldest[slot] in self._flights[slot]
            return slot not in spread

        drawn: list[Drawn] = []
        flights = [flight for slot in ordered for flight in self._flights[slot]]
        while flights:
            drawn += self._pass(flights, stays)
            flights = [f for slot in ordered if waits(slot) for f in self._flights[slot]]
        return self._in_order(drawn)

    def _pass(self, flights: Sequence[_Flight], stays: Callable[[_Flight], bool]) -> list[Drawn]:
        tasks = [Task(flight.row, flight.drawing, flight.level) for flight in flights]
        clean = self._denoiser.step(self.state, tasks)
        self._passed(self._denoiser.rows_of(tasks), None)
        drawn = []
        for flight, latent in zip(flights, clean, strict=True):
            flight.level += 1
            if flight.level < len(flight.drawing.levels) and stays(flight):
                continue
            self._flights[flight.slot].remove(flight)
            self._free_rows[flight.slot].append(flight.row)
            drawn.append(Drawn(flight.slot, flight.index, latent))
        return drawn

    def _in_order(self, drawn: Sequence[Drawn]) -> list[Drawn]:
        """A chunk of few levels waits for one before it that has more."""
        ready: list[Drawn] = []
        early: list[Drawn] = []
        for done in sorted((*self._early, *drawn), key=lambda done: (done.slot, done.index)):
            before = [f for f in self._flights[done.slot] if f.index < done.index]
            (early if before else ready).append(done)
        self._early = early
        return ready
