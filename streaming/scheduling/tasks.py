"""The words of the scheduler: who has what to do until when, and what was decided about it.

Times are monotonic seconds (`now` is always an argument), durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ..pipeline import Effort

ServiceClass = Literal["guaranteed", "standard", "best-effort"]
Stage = Literal["encode", "pass", "decode", "commit"]
Hold = Literal["superseded", "late_drop", "still", "half_rate", "suspended"]
"""Why a chunk is not worked on: a newer one replaced it, it could not be done in time, it shows
nothing new, every second one rests at this rung, or its session is suspended."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides how long a pass of one row takes.

    Attributes:
        width, height: of the picture in pixels.
        chunk: T, frames of a chunk.
    """

    width: int
    height: int
    chunk: int

    @property
    def pixels(self) -> int:
        return self.width * self.height * self.chunk


@dataclass(frozen=True, slots=True)
class Profile:
    """What the scheduler knows of a session; replaced whole when controls change.

    Attributes:
        session: its id.
        user: whose it is; users, not sessions, share a device fairly.
        weight: of the user's share.
        service: guaranteed sessions degrade last, best-effort ones first.
        shape: of its chunks at full resolution.
        fps: frames a second of its source.
        deadline: D, seconds from a chunk's release to the moment when it must be done.
        passes: denoising passes that the viewer asks for.
        efforts: the ways to make a chunk, from the nominal one down (see `Effort`).
    """

    session: str
    user: str
    shape: Shape
    fps: float
    deadline: float
    passes: int
    efforts: tuple[Effort, ...]
    weight: float = 1.0
    service: ServiceClass = "standard"

    @property
    def period(self) -> float:
        """T/fps, seconds between chunks."""
        return self.shape.chunk / self.fps


@dataclass(frozen=True, slots=True)
class Task:
    """One chunk that waits: `released` when its last frame came, due at `deadline`."""

    session: str
    number: int
    released: float
    deadline: float
    still: bool = False
    """It shows nothing new against the chunk before it (the similarity filter's word)."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One chunk of a launch and the effort that it gets (index into its profile's `efforts`)."""

    task: Task
    effort: int
    passes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now.

    Attributes:
        launch: the chunks to run together, all of one shape; empty to wait.
        holds: chunks that will not be worked on, and why; their viewers see the last picture again.
        predicted: seconds that the launch will take.
        look_again: when to plan again if nothing happens before; None: only when something does.
    """

    launch: tuple[Assignment, ...] = ()
    holds: tuple[tuple[Task, Hold], ...] = ()
    predicted: float = 0.0
    look_again: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a session stands on the ladder, in words for its viewer.

    Attributes:
        rung: index in the profile's `efforts`.
        name: of the effort.
        reason: why it is not the first, empty when it is.
        lag: seconds of service that its user is behind (negative) or ahead of the fair share.
    """

    rung: int
    name: str
    reason: str = ""
    lag: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What a finished launch took, by stage: (stage, shape, rows, window, seconds)."""

    samples: tuple[tuple[Stage, Shape, int, int | None, float], ...] = ()
    passes: Mapping[str, int] = field(default_factory=dict)
    """Passes that each session's chunk got in the end (early exit may make it fewer)."""


class Costs(Protocol):
    """How long things take on one device (see `costs.CostTable`)."""

    def seconds(
        self, stage: Stage, shape: Shape, rows: int, window: int | None, share: float = 0.99
    ) -> float:
        """The time that a stage takes with `rows` rows in no more than `share` of all cases, times
        the device's interference factor. `window`: latent frames of past, None for all."""
        ...
