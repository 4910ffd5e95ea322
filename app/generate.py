"""`millrace generate OUT`: video from words, or from a picture and words, through the live engine.

The models of this kind are streamed like a camera: one picture in, one picture out. Here nothing is
filmed, so the engine is fed as many still pictures as are wanted, which the model leaves alone but
for the first one (a given picture, or grey).
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.audio.stream import AudioStream
from av.error import FFmpegError
from tqdm import tqdm

from ..streaming.assemble import Assembled
from ..streaming.clock import Clock, SystemClock
from ..streaming.config import Options
from ..streaming.controls import Controls
from ..streaming.frames import PTS_RATE, Frame, i420_shape
from ..streaming.host import Event, HostRefused, Output
from ..streaming.pipeline import PipelineInfo
from . import control_values, files_out, geometry, local_engine
from .errors import CallError, CommandError, Interrupted
from .files import PacketSink, VideoFile, planes_of
from .geometry import Geometry, Plane, Size
from .stylize import drawn_by, understood

GREY = 128
USUAL_FPS = 16.0


@dataclass(frozen=True, slots=True)
class Job:
    """What to make.

    Attributes:
        target: its extension says what is written.
        image: the first picture; None for words alone.
        options: what draws, and where.
        size: width and height; None for the picture's, or what the model prefers.
        seconds: length.
        fps: rate; None for the one that the model's motion was learned at, or `USUAL_FPS`.
        controls: values as numbers.
        texts: further controls as typed.
    """

    target: Path
    image: Path | None
    options: Options
    size: Size | None
    seconds: float
    fps: float | None
    controls: Mapping[str, object]
    texts: Mapping[str, str]

    def rate(self, info: PipelineInfo) -> float:
        """Frames a second of what is written."""
        return self.fps or info.fps or USUAL_FPS


@dataclass(frozen=True, slots=True)
class Beat:
    """Stamps of a file that nothing was read from; see `files_out.Rhythm`."""

    rate: Fraction
    time_base: Fraction
    audio: tuple[AudioStream, ...] = ()

    @classmethod
    def of(cls, fps: float) -> Beat:
        rate = Fraction(fps).limit_denominator(1001)
        return cls(rate, 1 / rate)

    def send_audio(self, stream: AudioStream, sink: PacketSink) -> None:
        raise AssertionError("there is no sound")


def run(job: Job, as_json: bool) -> None:
    """Make the video and print what was done.

    Raises:
        CallError: a wrong call; nothing was tried.
        CommandError: it failed.
    """
    files_out.check_target(job.target)
    if job.target.suffix.lower() in files_out.IMAGE:
        raise CallError(f"{job.target} holds one picture; name a video, as .mp4")
    clock = SystemClock()
    built = local_engine.start(job.options, clock)
    work = Work(job, built, clock)
    work.write()
    report = work.report()
    if as_json:
        print(json.dumps(report, indent=2))
        return
    width, height = report["size"]
    print(f"{job.target}: {report['frames']} frames of {width}x{height}", end=" ")
    print(f"in {report['seconds']:.1f} s ({report['fps']:.1f} frames/s)")
    print(f"  {drawn_by(report, job.options)}")
    for note in report["notes"]:
        print(f"  {note}")


class Work:
    """One job on a started engine.

    Raises:
        CallError: a value or a size that the model does not take, or no such picture.
        CommandError: the picture cannot be read.
    """

    def __init__(self, job: Job, built: Assembled, clock: Clock) -> None:
        self._job, self._built, self._clock = job, built, clock
        info = built.info.pipeline
        self._began = clock.now()
        self._rate = job.rate(info)
        self._count = max(1, round(job.seconds * self._rate))
        self._controls = _controls(job, info)
        self._plan, self._first = _first(job, info)
        self._said: Mapping[str, Any] = {}

    def write(self) -> None:
        """Make the video.

        Raises:
            CallError: a size that the model does not take.
            CommandError: it failed; nothing unfinished is left.
        """
        job = self._job
        writer = files_out.VideoWriter(job.target, self._plan.shown, Beat.of(self._rate))
        with contextlib.ExitStack() as unless_kept:
            unless_kept.callback(writer.discard)
            try:
                with self._progress() as bar:
                    for output in self._outputs():
                        planes = self._plan.restore(output.frame.planes)
                        writer.write(planes, output.frame.index)
                        bar.update()
                writer.finish()
                unless_kept.pop_all()
            except KeyboardInterrupt:
                unless_kept.pop_all()
                kept = writer.keep_partial()
                left = f"the finished part is {kept}" if kept else "no part of it could be kept"
                raise Interrupted(f"interrupted; {left}") from None
            except (OSError, FFmpegError) as error:
                raise CommandError(
                    f"{job.target} cannot be written: {error.strerror or error}; "
                    "the unfinished file was removed"
                ) from error

    def report(self) -> dict[str, Any]:
        """What was done, as plain data."""
        seconds, info = self._clock.now() - self._began, self._built.info
        return {
            "output": str(self._job.target),
            "frames": self._count,
            "size": list(self._plan.shown),
            "model_size": list(self._plan.padded),
            "rate": self._rate,
            "seconds": round(seconds, 3),
            "fps": round(self._count / seconds, 2),
            "model": info.pipeline.name,
            "device": info.device,
            "dtype": info.dtype,
            "said": dict(self._said),
            "notes": [*understood(self._said), *self._plan.notes],
        }

    def _outputs(self) -> Iterator[Output]:
        # Loaded by now: the engine is running.
        from ..streaming import offline
        from ..streaming.results import PipelineError

        frames = (
            Frame(
                self._first,
                *self._plan.padded,
                round(index * PTS_RATE / self._rate),
                self._clock.now(),
                index,
            )
            for index in range(self._count)
        )
        engine, fps = self._built.engine, self._rate
        try:
            yield from offline.run(engine, frames, self._controls, fps=fps, on_event=self._hear)
        except HostRefused as error:
            raise CallError(str(error)) from error
        except PipelineError as error:
            raise CommandError(f"the model failed: {error}") from error

    def _hear(self, event: Event) -> None:
        """Keep what the model says of the words."""
        if event.kind == "notes":
            self._said = event.data

    def _progress(self) -> tqdm[Any]:
        return tqdm(
            total=self._count,
            unit=" frames",
            desc=self._job.target.name,
            file=sys.stderr,
            disable=None,  # on a terminal only
            dynamic_ncols=True,
        )


def _controls(job: Job, info: PipelineInfo) -> Controls:
    """All values.

    Raises:
        CallError: a value that the model does not take, or a model that restyles only.
    """
    kind = "image" if job.image else "text"
    if kind not in info.draws_from:
        known = " or ".join(info.draws_from)
        raise CallError(
            f"{info.name} draws from {known}, not from {kind} alone (see `millrace stylize`); "
            "take another model, as --model wan2.1-1.3b"
        )
    # A model that does one thing only has no such control.
    chosen = {"mode": f"{kind}-to-video"} if len(info.draws_from) > 1 else {}
    try:
        typed = control_values.read(info.controls, job.texts)
        changes = dict(job.controls) | typed | chosen
        return Controls.defaults(info.controls).changed(info.controls, changes)
    except ValueError as error:  # ControlError is one
        raise CallError(str(error)) from error


def _first(job: Job, info: PipelineInfo) -> tuple[Geometry, Plane]:
    """How pictures are cut for the model, and the first one as the model takes it.

    Raises:
        CallError: a size that the model does not take, or no such picture.
        CommandError: the picture cannot be read.
    """
    limits = (info.size_multiple, info.max_side)
    try:
        if job.image is None:
            size = job.size or info.size
            plan = geometry.plan(size, Fraction(1), 0, size, *limits)
            return plan, np.full(i420_shape(*plan.padded), GREY, np.uint8)
        with VideoFile(job.image) as given:
            plan = geometry.plan(given.size, given.pixel_aspect, given.turns, job.size, *limits)
            picture = next(given.pictures())
            return plan, plan.prepare(planes_of(picture.image, plan))
    except ValueError as error:
        raise CallError(str(error)) from error
