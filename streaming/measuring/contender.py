"""What is measured: something that makes pictures of pictures with a number of steps."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Protocol

import torch

from ..clock import Clock
from ..diffusion import VideoDiffusion
from ..engine import Engine
from ..pipeline import Pipeline
from .energy import Meter
from .feed import Feed, Pixels
from .launches import Launch, Recorder


@dataclass(frozen=True, slots=True)
class Window:
    """One part of a run, after the contender has settled.

    Attributes:
        frames: pictures made.
        seconds: until the device was done with them.
        joules: that the meter told; None without one.
        launches: by stage, where the contender tells.
        delays: from a chunk handed in to each of its pictures, seconds.
        gaps: between pictures that left, seconds.
    """

    frames: int
    seconds: float
    joules: float | None = None
    launches: tuple[Launch, ...] = ()
    delays: tuple[float, ...] = ()
    gaps: tuple[float, ...] = ()

    @property
    def fps(self) -> float:
        return self.frames / self.seconds


class Contender(Protocol):
    """One side of a comparison, or the only one."""

    @property
    def name(self) -> str: ...

    def first(self, steps: int | None) -> float:
        """Seconds from the first chunk of a new stream to its first picture."""
        ...

    def settle(self, steps: int | None) -> None:
        """Get to where every further chunk costs the same, with so many steps."""
        ...

    def window(self, seconds: float, meter: Meter | None) -> Window:
        """Chunk after chunk for at least so long, one at least."""
        ...

    def close(self) -> None: ...


def wait_for(device: torch.device) -> None:
    """Until a GPU has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True, slots=True)
class Source:
    """What is shown: I420 planes, round and round, of a width and height."""

    pictures: Sequence[Pixels]
    size: tuple[int, int]
    fps: float


class Own:
    """An engine with one session.

    Args:
        recorder: of its launches.
        most: steps of the run with the most; the first stream is filled with these, so that every
            level has its past.
        changes: controls that differ from the model's defaults.
        filled: chunks after which a stream's memory is full.
    """

    name = "millrace"

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        clock: Clock,
        device: torch.device,
        source: Source,
        changes: Mapping[str, object],
        most: int | None,
        filled: int,
    ) -> None:
        self._engine, self._recorder, self._clock = engine, recorder, clock
        self._device, self._source, self._changes = device, source, changes
        self._most, self._filled = most, filled
        self._feed: Feed | None = None

    def _open(self, steps: int | None) -> Feed:
        changes = {**self._changes, **_steps(steps)}
        source = self._source
        given = (source.pictures, source.size, source.fps)
        return Feed(self._engine, self._clock, *given, changes)

    def first(self, steps: int | None) -> float:
        feed = self._open(steps)
        seconds = feed.first()
        feed.close()
        return seconds

    def settle(self, steps: int | None) -> None:
        if self._feed is None:
            self._feed = self._open(self._most)
            for _ in range(self._filled):
                self._feed.chunk()
        held = self._feed.in_flight
        self._feed.change(_steps(steps))
        self._feed.chunk()
        if held or self._feed.in_flight:
            # A stream batch: until the last one of before has left and all levels are in use.
            for _ in range(max(held, steps or 1)):
                self._feed.chunk()

    def window(self, seconds: float, meter: Meter | None) -> Window:
        assert self._feed is not None, "settle first"
        feed, chunks = self._feed, 0
        wait_for(self._device)
        self._recorder.drain()
        feed.done.clear()
        if meter is not None:
            meter.begin()
        began = self._clock.now()
        while not chunks or self._clock.now() - began < seconds:
            feed.chunk()
            chunks += 1
        wait_for(self._device)
        span = self._clock.now() - began
        joules = None if meter is None else meter.end(span)
        finished = [done.finished for done in feed.done]
        return Window(
            chunks * self._engine.info.chunk,
            span,
            joules,
            tuple(self._recorder.drain()),
            tuple(done.finished - done.handed_in for done in feed.done),
            tuple(after - before for before, after in itertools.pairwise(finished)),
        )

    def close(self) -> None:
        if self._feed is not None:
            self._feed.close()
            self._feed = None


def _steps(steps: int | None) -> dict[str, object]:
    return {} if steps is None else {"steps": steps}


def chunks_to_fill(pipeline: Pipeline) -> int:
    """Chunks after which what a stream remembers is full, so that each further one costs alike."""
    if not isinstance(pipeline, VideoDiffusion):
        return 2
    ring = pipeline.parts.dit.spec.ring
    frames, *_ = pipeline.parts.codec.latent_shape(_any_size(pipeline))
    levels = 0 if pipeline.sequential else len(pipeline.parts.noise.levels)
    return ceil((ring.sinks + ring.window) / frames) + 1 + levels


def _any_size(pipeline: VideoDiffusion) -> tuple[int, int]:
    width, height = pipeline.info.size
    return height, width
