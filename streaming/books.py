"""What a launch took, booked: measured times by stage for the cost table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .agenda import Round, Sample
from .batch import Emission, Job, stamps
from .pipeline import PipelineInfo
from .scheduling.quotes import at_scale
from .scheduling.tasks import Shape, Stage
from .stopwatch import Stopwatch
from .trace import Trace


@dataclass(frozen=True, slots=True)
class Flight:
    """A batch on its way out.

    Attributes:
        emissions: what leaves with it, in order.
        round: what it was planned in.
        jobs, watch: what ran and how long it took; None where nothing did.
    """

    emissions: list[Emission]
    round: Round
    jobs: Sequence[Job] = ()
    watch: Stopwatch | None = None


def draw(trace: Trace, device: str, flight: Flight) -> None:
    """Record a launch that is over: its stages, one span each, for the device and each session."""
    if flight.watch is None:
        return
    marks: list[tuple[str, float]] = []
    at, passes = flight.watch.started, 0
    for stage, _, _, seconds in flight.watch.laps():
        at += seconds
        passes += stage == "pass"
        marks.append((f"pass {passes}" if stage == "pass" else stage, at))
    rows = [(job.session.id, stamps(job.frames)) for job in flight.jobs]
    trace.launch(device, rows, flight.watch.started, marks)


class Books:
    """Turns stopped times into samples that later launches are predicted from."""

    def __init__(self, info: PipelineInfo) -> None:
        self._chunk = info.chunk
        self._seen: set[tuple[Stage, Shape, int, int | None]] = set()

    def samples(self, flight: Flight) -> list[Sample]:
        """Times of a launch whose rows had one shape; of a mixed one nothing can be said.

        The first of each kind is left out: it pays for allocations and choices of kernels. So is a
        launch in which a stage was recorded as a graph.
        """
        if flight.watch is None or flight.watch.unusual:
            return []
        shapes = {
            at_scale(Shape(j.session.config.width, j.session.config.height, self._chunk), scale)
            for j in flight.jobs
            for scale in (j.effort.scale,)
        }
        if len(shapes) != 1:
            return []
        (shape,) = shapes
        samples: list[Sample] = []
        for stage, rows, window, seconds in flight.watch.laps():
            key = (stage, shape, rows, window)
            if key in self._seen:
                samples.append((*key, seconds))
            self._seen.add(key)
        return samples
