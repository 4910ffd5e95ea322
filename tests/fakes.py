"""Fakes with knobs: a pipeline with memory, delay and faults, and frames that can be told apart."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from millrace.streaming import offline
from millrace.streaming.clock import ManualClock, SystemClock
from millrace.streaming.config import EngineConfig
from millrace.streaming.controls import Control, Controls
from millrace.streaming.engine import Engine
from millrace.streaming.frames import PTS_RATE, Frame, i420_shape
from millrace.streaming.host import Event, Output, Session
from millrace.streaming.pipeline import (
    Pipeline,
    PipelineContext,
    PipelineInfo,
    Result,
    StreamConfig,
    Work,
)
from millrace.streaming.scheduling.costs import CostTable
from millrace.streaming.session import EngineSession

SIZE = (16, 16)
GAIN = Control("gain", "Gain", "float", 1.0, 0.0, 1.0)
LABEL = Control("label", "Label", "text", "")


def make_frame(
    index: int,
    size: tuple[int, int] = SIZE,
    *,
    seed: int | None = None,
    level: int = 128,
    captured_at: float | None = None,
    fps: float = 30.0,
) -> Frame:
    """A grey frame of one luma level, or noise that is a function of (seed, index)."""
    shape = i420_shape(*size)
    if seed is None:
        planes = np.full(shape, 128, np.uint8)
        planes[: size[1]] = level
    else:
        planes = np.random.default_rng([seed, index]).integers(16, 235, shape, np.uint8)
    at = index / fps if captured_at is None else captured_at
    return Frame(planes, *size, round(index * PTS_RATE / fps), at, index)


def make_frames(count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> Iterator[Frame]:
    return (make_frame(index, size, seed=seed) for index in range(count))


@dataclass
class FakeStream:
    """What `FakePipeline` remembers of one stream."""

    memory: torch.Tensor
    held: deque[tuple[int, torch.Tensor]] = field(default_factory=deque)
    resets: int = 0
    given: int = 0


class FakePipeline:
    """Each picture is half itself and half the fading memory of all before it, times `gain`.

    Args:
        chunk: T.
        delay: chunks held back.
        raise_at: index of the chunk whose step raises.
        raise_on_label: text of the control `label` that makes a step raise.
        rooms: streams at most.
        on_step: called with each batch first (advance a clock, block, count).
        spoil: changes a result, to break the protocol.
    """

    def __init__(
        self,
        context: PipelineContext | None = None,
        *,
        chunk: int = 1,
        delay: int = 0,
        raise_at: int | None = None,
        raise_on_label: str | None = None,
        rooms: int = 64,
        on_step: Callable[[Sequence[Work]], None] = lambda batch: None,
        spoil: Callable[[list[Result]], list[Result]] = lambda results: results,
    ) -> None:
        self.info = PipelineInfo(
            "fake", "Fake", chunk=chunk, controls=(GAIN, LABEL), size=SIZE, size_multiple=2
        )
        self._delay = delay
        self._raise_at = raise_at
        self._raise_on_label = raise_on_label
        self._rooms = rooms
        self.on_step = on_step
        self._spoil = spoil
        self.streams: list[FakeStream] = []
        self.steps: list[list[tuple[int, bool]]] = []
        """For each step the (index, flush) of its works."""

    def open(self, config: StreamConfig) -> FakeStream:
        if len(self.streams) >= self._rooms:
            raise RuntimeError("no room for another stream")
        stream = FakeStream(torch.zeros(3, config.height, config.width))
        self.streams.append(stream)
        return stream

    def close(self, stream: FakeStream) -> None:
        # In place, as real memory is cleared: it fails where `open` ran under another grad mode.
        stream.memory.zero_()
        self.streams.remove(stream)

    def step(self, batch: Sequence[Work]) -> list[Result]:
        self.on_step(batch)
        self.steps.append([(work.index, work.frames is None) for work in batch])
        results = []
        for work in batch:
            if work.frames is not None and work.index == self._raise_at:
                raise RuntimeError(f"chunk {work.index} is cursed")
            if self._raise_on_label and work.controls.text("label") == self._raise_on_label:
                raise RuntimeError(f"label {self._raise_on_label} is cursed")
            results += self._advance(work)
        return self._spoil(results)

    def _advance(self, work: Work) -> list[Result]:
        stream: FakeStream = work.stream
        if work.controls.resets > stream.resets:
            stream.resets = work.controls.resets
            stream.memory.zero_()
        if work.frames is not None:
            assert work.index == stream.given, "chunks come without holes"
            stream.given += 1
            pictures = []
            for picture in work.frames:
                stream.memory.mul_(0.5).add_(picture, alpha=0.5)
                pictures.append(stream.memory * work.controls.number("gain"))
            stream.held.append((work.index, torch.stack(pictures)))
        ready = work.frames is None or len(stream.held) > self._delay
        if not ready:
            return []
        index, frames = stream.held.popleft()
        assert work.frames is not None or index == work.index, "a flush names the chunk due"
        label = work.controls.text("label")
        return [Result(stream, index, frames, {"label": label} if label else {})]


class Collector:
    """A listener that keeps what it is given."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []
        self.events: list[Event] = []

    def __call__(self, item: Output | Event) -> None:
        if isinstance(item, Output):
            self.outputs.append(item)
        else:
            self.events.append(item)

    @property
    def indices(self) -> list[int]:
        return [output.frame.index for output in self.outputs]

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def pixels(self) -> np.ndarray:
        return np.stack([output.frame.planes for output in self.outputs])


class Rig:
    """An engine around a pipeline with a hand-turned clock and the sessions opened on it."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        max_sessions: int = 16,
        overlap: bool = False,
        costs: CostTable | None = None,
    ) -> None:
        self.clock = ManualClock(100.0)
        config = EngineConfig(max_sessions=max_sessions, overlap=overlap, choose_order=True)
        self.engine = Engine(pipeline, config, self.clock, costs=costs)
        self._names = itertools.count()

    def open(
        self, size: tuple[int, int] = SIZE, *, lossless: bool = False, **changes: object
    ) -> tuple[EngineSession, Collector]:
        collector = Collector()
        controls = Controls.defaults(self.engine.info.controls)
        if changes:
            controls = controls.changed(self.engine.info.controls, changes)
        session = self.engine.open(
            f"s{next(self._names)}", StreamConfig(*size), controls, collector, lossless=lossless
        )
        self.engine.tick()
        return session, collector

    def change(self, session: EngineSession, **changes: object) -> None:
        session.controls = session.controls.changed(self.engine.info.controls, changes)

    def settle(self, most: int = 1000) -> None:
        """Tick until there is nothing to do at this moment."""
        for _ in range(most):
            if not self.engine.tick():
                return
        raise AssertionError(f"the engine is still busy after {most} ticks")

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.settle()


def run_alone(pipeline: Pipeline, frames: Iterable[Frame], **changes: object) -> list[Output]:
    """What a session gives when it is the only one."""
    return list(offline.run(pipeline, frames, changes))


class Awaited(Collector):
    """A collector that other threads can wait on."""

    def __init__(self) -> None:
        super().__init__()
        self._came = threading.Condition()
        self.times: list[float] = []
        """Monotonic seconds at which each output came."""

    def __call__(self, item: Output | Event) -> None:
        with self._came:
            super().__call__(item)
            if isinstance(item, Output):
                self.times.append(SystemClock().now())
            self._came.notify_all()

    def wait_for(self, condition: Callable[[], bool], timeout: float = 30.0) -> None:
        """Wait for what may also come true without an output: a process's numbers, say."""
        end = SystemClock().now() + timeout
        with self._came:
            while not self._came.wait_for(condition, 0.25):
                if SystemClock().now() > end:
                    raise AssertionError(
                        f"waited {timeout} s; {len(self.outputs)} outputs, events {self.events}"
                    )


class Feeder:
    """A camera: hands frames to a session from a thread, at a rate, until it is left."""

    def __init__(self, session: Session, fps: float = 60.0) -> None:
        self._session = session
        self._fps = fps
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0

    def __enter__(self) -> Feeder:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        size = (self._session.config.width, self._session.config.height)
        while not self._stop.wait(1 / self._fps):
            now = SystemClock().now()
            self._session.put(make_frame(self.sent, size, seed=5, captured_at=now))
            self.sent += 1


def build_delayed(context: PipelineContext) -> FakePipeline:
    """For `fakes:build_delayed`: two chunks in flight, and a cursed label."""
    return FakePipeline(context, chunk=2, delay=2, raise_on_label="bad")


def build_crashing(context: PipelineContext) -> FakePipeline:
    """Ends its process at the label "crash", hangs for ever at the label "hang"."""

    def obey(batch: Sequence[Work]) -> None:
        labels = {work.controls.text("label") for work in batch}
        if "crash" in labels:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "hang" in labels:
            threading.Event().wait()

    return FakePipeline(context, on_step=obey)


def build_never(context: PipelineContext) -> FakePipeline:
    raise RuntimeError("the weights are elsewhere")


def build_exiting(context: PipelineContext) -> FakePipeline:
    os._exit(7)
