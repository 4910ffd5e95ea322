"""What each launch of an engine spent its time on, seen from outside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from ..clock import Clock
from ..frames import Stamp
from ..pipeline import Pipeline, Result, Work
from ..stopwatch import Lap, Moment, Stopwatch
from ..trace import Trace

Mark = Callable[[str, int, int | None], None]
END = "end"
"""A mark of our own, where the pipeline's step is over."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward of the network: rows of the batch, how far back they looked, and seconds."""

    rows: int
    window: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Launch:
    """Seconds of one launch on the device's own timeline.

    Attributes:
        encode, decode: of the autoencoder; 0 for a pipeline that does not tell its stages.
        passes: of the network; for a pipeline that does not tell, the whole step as one.
        copies: pixels to the device and back, with the change of their colours.
        rest: what the step took besides.
        efforts: with which each chunk was made.
    """

    encode: float
    passes: tuple[Pass, ...]
    decode: float
    copies: float
    rest: float
    efforts: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        passes = sum(one.seconds for one in self.passes)
        return self.encode + passes + self.decode + self.copies + self.rest


class Watched:
    """Times the steps of a pipeline by stage. It takes the place of the pipeline's `step`, and of
    nothing else, so that an engine finds all that it looks for.

    Attributes:
        steps: of each step so far its stopwatch, and the efforts of its chunks.
    """

    def __init__(self, pipeline: Pipeline, clock: Clock, device: torch.device) -> None:
        self.pipeline = pipeline
        self._clock, self._device = clock, device
        self._ends: dict[int, Moment] = {}
        self.steps: list[tuple[Stopwatch, tuple[str, ...]]] = []
        self._step = pipeline.step
        vars(pipeline)["step"] = self.step

    def step(self, batch: Sequence[Work]) -> Sequence[Result]:
        """See `Pipeline`."""
        watch = Stopwatch(self._clock, self._device, self._ends)
        results = self._step([replace(w, mark=_both(w.mark, watch.mark)) for w in batch])
        watch.mark(END, len(batch), None)
        efforts = tuple(work.effort.name for work in batch if work.frames is not None)
        self.steps.append((watch, efforts))
        return results


def _both(one: Mark, other: Mark) -> Mark:
    def mark(stage: str, rows: int, window: int | None) -> None:
        one(stage, rows, window)
        other(stage, rows, window)

    return mark


class Totals(Trace):
    """Takes from an engine's trace how long whole launches took, and nothing else."""

    def __init__(self) -> None:
        super().__init__(limit=1)
        self.seconds: list[float] = []

    def launch(
        self,
        device: str,
        rows: Sequence[tuple[str, Sequence[Stamp]]],
        start: float,
        marks: Sequence[tuple[str, float]],
    ) -> None:
        if marks:
            self.seconds.append(marks[-1][1] - start)

    def left(self, name: str, session: str, stamp: Stamp, now: float) -> None:
        """Of no interest here."""


class Recorder:
    """Puts both views of an engine's launches together. Nothing may be in flight when it begins."""

    def __init__(self, watched: Watched, totals: Totals) -> None:
        self._watched, self._totals = watched, totals
        watched.steps.clear()
        totals.seconds.clear()

    def drain(self) -> list[Launch]:
        """Launches since the last time that have left the engine, in order. On a GPU the newest
        may still be on its way; it comes with the next ones."""
        count = min(len(self._watched.steps), len(self._totals.seconds))
        steps, self._watched.steps = self._watched.steps[:count], self._watched.steps[count:]
        seconds, self._totals.seconds = self._totals.seconds[:count], self._totals.seconds[count:]
        pairs = zip(steps, seconds, strict=True)
        return [_launch(watch.laps(), whole, efforts) for (watch, efforts), whole in pairs]


def _launch(laps: Sequence[Lap], whole: float, efforts: tuple[str, ...]) -> Launch:
    by_stage: defaultdict[str, float] = defaultdict(float)
    passes = []
    for stage, rows, window, seconds in laps:
        by_stage[stage] += seconds
        if stage == "pass":
            passes.append(Pass(rows, window, seconds))
    inside = sum(seconds for *_, seconds in laps)
    untold = by_stage[END]
    if not passes:
        passes, untold = [Pass(laps[-1][1], None, untold)], 0.0
    return Launch(
        by_stage["encode"],
        tuple(passes),
        by_stage["decode"],
        max(0.0, whole - inside),
        untold + by_stage["commit"],
        efforts,
    )
