"""One session of an engine that always has its next chunk ready."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..clock import Clock
from ..controls import Controls
from ..engine import Engine
from ..frames import PTS_RATE, Frame
from ..host import Event, Output
from ..pipeline import StreamConfig

Pixels = npt.NDArray[np.uint8]


class ModelFailed(RuntimeError):
    """The engine closed the session; the message is its reason."""


@dataclass(frozen=True, slots=True)
class Done:
    """A picture that came out: when it was handed in and when it was finished, in seconds."""

    handed_in: float
    finished: float


class Feed:
    """Hands in chunk after chunk, each as soon as the engine took the one before.

    The session is lossless, so that no scheduler and no ladder come between: every chunk is made,
    with the nominal effort.

    Args:
        pictures: I420 planes, shown round and round.
        size: width and height.
        changes: controls that differ from the model's defaults.

    Raises:
        ControlError: a control that there is not, or a value that it does not take.
        HostRefused: a size that the model does not take.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        pictures: Sequence[Pixels],
        size: tuple[int, int],
        fps: float,
        changes: Mapping[str, object],
    ) -> None:
        self._engine, self._clock, self._fps, self._size = engine, clock, fps, size
        self._schema = engine.info.controls
        self._pictures = itertools.cycle(pictures)
        self._count = itertools.count()
        self._failure: str | None = None
        self.done: list[Done] = []
        controls = Controls.defaults(self._schema).changed(self._schema, changes)
        config = StreamConfig(*size, fps)
        self._session = engine.open("bench", config, controls, self._take, lossless=True)

    def _take(self, item: Output | Event) -> None:
        if isinstance(item, Output):
            self.done.append(Done(item.frame.captured_at, item.finished_at))
        elif item.kind == "closed":
            self._failure = item.message

    @property
    def in_flight(self) -> int:
        """Chunks that the pipeline holds back for now."""
        return self._session.in_flight

    def change(self, changes: Mapping[str, object]) -> None:
        """Other controls from the next chunk on."""
        session = self._session
        session.controls = session.controls.changed(self._schema, changes)

    def chunk(self) -> None:
        """Hand in the next chunk and let the engine work on it.

        Raises:
            ModelFailed: the engine closed the session.
        """
        for _ in range(self._engine.info.chunk):
            number = next(self._count)
            pts = round(number * PTS_RATE / self._fps)
            self._session.mailbox.put(
                Frame(next(self._pictures), *self._size, pts, self._clock.now(), number)
            )
        self._engine.tick()
        if self._failure is not None:
            raise ModelFailed(self._failure)

    def first(self, most: int = 64) -> float:
        """Seconds from the first chunk handed in to the first picture out.

        Raises:
            ModelFailed: nothing came for so many chunks.
        """
        began = self._clock.now()
        for _ in range(most):
            self.chunk()
            if self.done:
                return self.done[0].finished - began
        raise ModelFailed(f"no picture came out of {most} chunks")

    def close(self) -> None:
        """Let the session go; what is in flight is let go too."""
        self._engine.close(self._session, "the run is over")
        # Once more, as on a GPU what was launched before leaves a tick later.
        self._engine.tick()
        self._engine.tick()
