"""What a simulated device serves: the picture, the ways to make it, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..pipeline import Effort
from ..scheduling.tasks import Profile, Shape
from .arrivals import Visit
from .device import DeviceModel

MIN_DEADLINE_S = 0.06
DEADLINE_SHARE = 0.8
"""Of the period between two chunks; with a floor of 60 ms it is the deadline of a camera."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of device with one kind of work.

    Attributes:
        shape: of every session's chunks.
        efforts: the ladder that adaptive policies may walk.
        fixed: index in `efforts` of the one that is made where quality must not change.
        device: what things cost.
        fps: of the session that capacity is counted in.
    """

    shape: Shape
    efforts: tuple[Effort, ...]
    fixed: int
    device: DeviceModel
    fps: float = 16.0

    def profile(self, visit: Visit, *, ladder: bool) -> Profile:
        """What the scheduler is told of a visit; without `ladder` only of the fixed effort."""
        efforts = self.efforts if ladder else (self.efforts[self.fixed],)
        period = self.shape.chunk / visit.fps
        return Profile(
            session=visit.session,
            user=visit.user,
            shape=self.shape,
            fps=visit.fps,
            deadline=max(MIN_DEADLINE_S, DEADLINE_SHARE * period),
            passes=max(effort.passes or 1 for effort in efforts),
            efforts=efforts,
            weight=visit.weight,
            service=visit.service,
        )

    def demand(self, fps: float) -> float:
        """Share of the device that a session of `fps` takes at the fixed effort, alone in its
        launches and with nothing skipped."""
        effort = self.efforts[self.fixed]
        return self.device.chunk_seconds(self.shape, effort) * fps / self.shape.chunk

    def capacity(self) -> float:
        """Sessions of `fps` that fill the device so; load 1 of a sweep."""
        return 1 / self.demand(self.fps)


STEADY = Scenario(
    shape=Shape(832, 480, 4),
    efforts=(
        Effort("four passes", 1.0, passes=4),
        Effort("two passes", 0.9, passes=2),
        Effort("one pass", 0.75, passes=1),
        Effort("low resolution", 0.55, passes=1, scale=2 / 3),
    ),
    fixed=1,
    # Encode, two passes and decode make 39 ms; a picture of two thirds of the sides costs 2.9 times
    # less. Estimates: read the order of the policies, not the absolute figures.
    device=DeviceModel(encode=0.003, each_pass=0.015, decode=0.006, reference=Shape(832, 480, 4)),
)
"""16 frames a second, chunks of four, 250 ms apart and due after 200 ms."""


def with_commit(scenario: Scenario, seconds: float) -> Scenario:
    """The same with a pass for the cache at the end of every chunk."""
    return replace(scenario, device=replace(scenario.device, commit=seconds))
