"""Feeding an engine for a benchmark: a moving picture, closed and open loop."""

from __future__ import annotations

import itertools
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..streaming.clock import Clock
from ..streaming.config import Options
from ..streaming.controls import Controls
from ..streaming.frames import PTS_RATE, Frame, i420_shape
from ..streaming.host import Event, Output
from ..streaming.pipeline import StreamConfig
from .errors import CommandError

if TYPE_CHECKING:
    from ..streaming.engine import Engine
    from ..streaming.session import EngineSession

Pixels = npt.NDArray[np.uint8]
PICTURES = 60
"""Length of the loop of the moving picture."""


def moving_source(width: int, height: int) -> list[Pixels]:
    """A loop of I420 pictures in which everything moves: a drifting texture of several scales and
    a bright disc on its round. Stacked planes, uint8 [height * 3/2, width]."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [(generator.normal(0, 0.02 * 2**k, 2), generator.uniform(0, 6.28)) for k in range(4)]
    pictures = []
    for number in range(PICTURES):
        turn = 2 * math.pi * number / PICTURES
        luma = np.full((height, width), 120.0, np.float32)
        for scale, ((fx, fy), phase) in enumerate(waves):
            luma += 24 / (1 + scale) * np.sin(fx * x + fy * y + phase + (scale + 1) * turn)
        cx, cy = width * (0.5 + 0.3 * math.cos(turn)), height * (0.5 + 0.3 * math.sin(turn))
        disc = (0.12 * height - np.hypot(x - cx, y - cy)).clip(0, 1)
        luma += (225 - luma) * disc
        stacked = np.empty(i420_shape(width, height), np.uint8)
        stacked[:height] = luma.clip(16, 235)
        chroma = stacked[height:].reshape(2, height // 2, width // 2)
        chroma[0] = (128 + 40 * np.sin(x[::2, ::2] / width * 5 + turn)).astype(np.uint8)
        chroma[1] = (128 + 40 * np.cos(y[::2, ::2] / height * 5 - turn)).astype(np.uint8)
        pictures.append(stacked)
    return pictures


@dataclass(frozen=True, slots=True)
class Done:
    """One frame that came out: when it was captured and when it was finished, monotonic seconds."""

    captured_at: float
    finished_at: float
    repeated: bool


class Viewer:
    """One session and what came out of it."""

    def __init__(
        self,
        engine: Engine,
        number: int,
        options: Options,
        changes: Mapping[str, object],
        fps: float,
        deadline_ms: float = 0.0,
    ) -> None:
        schema = engine.info.controls
        controls = Controls.defaults(schema).changed(schema, changes)
        config = StreamConfig(options.width, options.height, fps, deadline_ms=deadline_ms)
        self.done: list[Done] = []
        self.offered = 0
        self._failure = ""
        self._count = itertools.count()
        self.record: EngineSession = engine.open(f"bench-{number}", config, controls, self._take)

    def _take(self, item: Output | Event) -> None:
        if isinstance(item, Output):
            self.done.append(Done(item.frame.captured_at, item.finished_at, item.repeated))
        elif item.kind == "closed":
            self._failure = item.message

    def put(self, picture: Pixels, captured_at: float, fps: float) -> None:
        """Hand in the next frame.

        Raises:
            CommandError: the engine closed the session, with its reason.
        """
        if self._failure:
            raise CommandError(f"the model failed: {self._failure}")
        height, width = picture.shape[0] * 2 // 3, picture.shape[1]
        index = next(self._count)
        pts = round(index * PTS_RATE / fps)
        self.record.mailbox.put(Frame(picture, width, height, pts, captured_at, index))
        self.offered += 1


class Load(ABC):
    """Some viewers on one engine, all with the same controls.

    Args:
        clock: the engine's.
        source: I420 pictures, shown round and round.
        sessions: how many viewers.
        changes: controls that differ from the model's defaults.
        fps: rate that the frames are stamped with.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        source: list[Pixels],
        options: Options,
        sessions: int,
        changes: Mapping[str, object],
        fps: float,
    ) -> None:
        self.engine = engine
        self.clock = clock
        self.source = source
        self.fps = fps
        self.opened_at = clock.now()
        self.viewers = [
            Viewer(engine, n, options, changes, fps, self.deadline_ms) for n in range(sessions)
        ]
        self.first_at: float | None = None
        self.began = self.ended = self.opened_at
        self._superseded = [0] * sessions
        self._number = 0
        self._pause = threading.Event()

    deadline_ms = 0.0
    """What the sessions ask the engine for; 0 leaves it to the engine."""

    @abstractmethod
    def run(self, seconds: float) -> None:
        """Feed and tick for that long; sets `began` and `ended`."""

    def _picture(self) -> Pixels:
        self._number += 1
        return self.source[self._number % len(self.source)]

    def forget(self) -> None:
        """Count from here on; the first frame's time is kept."""
        finished = [done.finished_at for viewer in self.viewers for done in viewer.done]
        self.first_at = min(finished, default=None)
        for index, viewer in enumerate(self.viewers):
            viewer.done.clear()
            viewer.offered = 0
            self._superseded[index] = viewer.record.mailbox.superseded

    def superseded(self) -> int:
        """Frames since `forget` that a newer one replaced before they were taken."""
        counts = (viewer.record.mailbox.superseded for viewer in self.viewers)
        return sum(now - before for now, before in zip(counts, self._superseded, strict=True))

    def close(self) -> None:
        for viewer in self.viewers:
            self.engine.close(viewer.record, "the run is over")
        self.engine.tick()


class ClosedLoop(Load):
    """The next chunk lies ready whenever the engine asks: what it can do at most."""

    deadline_ms = 60_000.0
    """Nobody waits for these pictures, so none may be given up as too late."""

    def run(self, seconds: float) -> None:
        self.began = self.clock.now()
        end = self.began + seconds
        while self.clock.now() < end:
            for viewer in self.viewers:
                while not viewer.record.mailbox.ready():
                    viewer.put(self._picture(), self.clock.now(), self.fps)
            self.engine.tick()
        self.ended = self.clock.now()


class OpenLoop(Load):
    """Frames come at a fixed rate whether the engine is ready or not; the newest wins."""

    def run(self, seconds: float) -> None:
        self.began = self.clock.now()
        end = self.began + seconds
        while (now := self.clock.now()) < end:
            self._arrive(now)
            if not self.engine.tick():
                rest = min(self._due(), end) - self.clock.now()
                due = self.engine.wait_time()
                self._pause.wait(max(0.0, rest if due is None else min(rest, due)))
        self.ended = self.clock.now()

    def _due(self) -> float:
        return self.opened_at + self._number / self.fps

    def _arrive(self, now: float) -> None:
        """Hand in all frames that were captured until now, stamped with when they were."""
        while self._due() <= now:
            captured_at, picture = self._due(), self._picture()
            for viewer in self.viewers:
                viewer.put(picture, captured_at, self.fps)
