"""All runs of a benchmark, in alternating windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .ceiling import Reading
from .contender import Contender, Window
from .energy import Meter
from .windows import turns


class Ceilings(Protocol):
    """See `ceiling.Ceiling`."""

    def read(self) -> Reading: ...


class Peaks(Protocol):
    """See `memory.PeakMemory`."""

    def begin(self) -> None: ...

    def peak_mb(self) -> float: ...


@dataclass(slots=True)
class Run:
    """One contender with one number of steps.

    Attributes:
        steps: None for a model without that control.
        first: seconds to the first picture of a new stream.
        windows: one a round.
        peak_mb: the most memory held in any of the windows.
    """

    contender: Contender
    steps: int | None
    first: float = 0.0
    windows: list[Window] = field(default_factory=list)
    peak_mb: float = 0.0

    @property
    def fps(self) -> float:
        """Over all windows."""
        return sum(w.frames for w in self.windows) / sum(w.seconds for w in self.windows)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came out.

    Attributes:
        ceilings: one a round, measured just before it.
    """

    runs: list[Run]
    ceilings: list[Reading]


def run_trial(
    contenders: Sequence[Contender],
    steps: Sequence[int | None],
    rounds: int,
    seconds: float,
    ceiling: Ceilings,
    meter: Meter | None,
    peaks: Peaks,
    told: Callable[[], None] = lambda: None,
) -> Trial:
    """Every contender with every number of steps, `rounds` windows each.

    Args:
        seconds: of a window, at least; it ends with a chunk.
        told: called after each first picture and each window, to show progress.
    """
    runs = [Run(contender, count) for count in steps for contender in contenders]
    for run in runs:
        run.first = run.contender.first(run.steps)
        told()
    ceilings = []
    for _, order in turns(runs, rounds):
        ceilings.append(ceiling.read())
        for run in order:
            run.contender.settle(run.steps)
            peaks.begin()
            run.windows.append(run.contender.window(seconds, meter))
            run.peak_mb = max(run.peak_mb, peaks.peak_mb())
            told()
    return Trial(runs, ceilings)
