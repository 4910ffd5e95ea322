"""How long the stages of a launch took, without waiting for the device while it works."""

from __future__ import annotations

from typing import Literal, cast

import torch

from .clock import Clock
from .queues import queue_of

Stage = Literal["encode", "pass", "decode", "commit"]
Moment = float | torch.cuda.Event
Lap = tuple[Stage, int, int | None, float]
"""Stage, rows, window, seconds."""


class Stopwatch:
    """Marks the ends of stages: with the clock, or on a GPU with events in the stage's own queue,
    which are read when the work is over.

    A stage begins when the one before it is over and its queue has done with launches before.

    Attributes:
        unusual: something was done besides that later launches will not do.

    Args:
        clock: monotonic time.
        device: that the work runs on.
        ends: by queue, the last mark of the launches so far; goes from one stopwatch to the next.
    """

    def __init__(
        self, clock: Clock, device: torch.device, ends: dict[int, Moment] | None = None
    ) -> None:
        self._device, self._ends = device, {} if ends is None else ends
        self._freed = dict(self._ends)
        self._clock = clock
        self._cuda = device if device.type == "cuda" else None
        self.started, self.unusual = clock.now(), False
        self._begun = self._moment()
        self._marks: list[tuple[Stage, int, int | None, Moment, int]] = []

    def mark(self, stage: str, rows: int, window: int | None) -> None:
        """A stage is over (see `Work.mark`)."""
        end, queue = self._moment(), queue_of(self._device)
        self._ends[queue] = end
        self._marks.append((cast(Stage, stage), rows, window, end, queue))

    def __len__(self) -> int:
        return len(self._marks)

    def laps(self) -> list[Lap]:
        """Each stage's time. Decoding in parts counts as one. Waits until the work is over."""
        laps: list[Lap] = []
        before = self._begun
        for stage, rows, window, end, queue in self._marks:
            seconds = _between(before, end)
            if queue in self._freed:
                seconds = max(0.0, min(seconds, _between(self._freed[queue], end)))
            before = end
            if stage == "decode" and laps and laps[-1][0] == "decode":
                rows, seconds = max(rows, laps[-1][1]), seconds + laps.pop()[3]
            laps.append((stage, rows, window, seconds))
        return laps

    def _moment(self) -> Moment:
        if self._cuda is None:
            return self._clock.now()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._cuda))
        return event


def _between(start: Moment, end: Moment) -> float:
    if isinstance(start, float) and isinstance(end, float):
        return end - start
    assert not isinstance(start, float) and not isinstance(end, float)
    end.synchronize()
    return start.elapsed_time(end) / 1e3
