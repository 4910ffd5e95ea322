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
from ..streaming.host import HostRefused, Output
from ..streaming.pipeline import PipelineInfo
from . import control_values, files_out, geometry, local_engine
from .errors import CallError, CommandError, Interrupted
from .files import PacketSink, VideoFile, planes_of
from .geometry import Geometry, Plane, Size

GREY = 128


@dataclass(frozen=True, slots=True)
class Job:
    """What to make.

    Attributes:
        target: its extension says what is written.
        image: the first picture; None for words alone.
        options: what draws, and where.
        size: width and height; None for the picture's, or what the model prefers.
        seconds, fps: length and rate.
        controls: values as numbers.
        texts: further controls as typed.
    """

    target: Path
    image: Path | None
    options: Options
    size: Size | None
    seconds: float
    fps: float
    controls: Mapping[str, object]
    texts: Mapping[str, str]

    @property
    def count(self) -> int:
        """Pictures to make."""
        return max(1, round(self.seconds * self.fps))


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
    began = clock.now()
    controls = _controls(job, built.info.pipeline)
    plan, first = _first(job, built.info.pipeline)
    outputs = _outputs(job, built, controls, plan, first, clock)
    _write(job, plan, outputs)
    seconds = clock.now() - began
    report = {
        "output": str(job.target),
        "frames": job.count,
        "size": list(plan.shown),
        "model_size": list(plan.padded),
        "seconds": round(seconds, 3),
        "fps": round(job.count / seconds, 2),
        "model": built.info.pipeline.name,
        "device": built.info.device,
        "dtype": built.info.dtype,
        "notes": list(plan.notes),
    }
    if as_json:
        print(json.dumps(report, indent=2))
        return
    print(f"{job.target}: {job.count} frames of {plan.shown[0]}x{plan.shown[1]}", end=" ")
    print(f"in {seconds:.1f} s ({job.count / seconds:.1f} frames/s)")
    for note in plan.notes:
        print(f"  {note}")


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


def _outputs(
    job: Job, built: Assembled, controls: Controls, plan: Geometry, first: Plane, clock: Clock
) -> Iterator[Output]:
    # Loaded by now: the engine is running.
    from ..streaming import offline
    from ..streaming.results import PipelineError

    frames = (
        Frame(first, *plan.padded, round(index * PTS_RATE / job.fps), clock.now(), index)
        for index in range(job.count)
    )
    try:
        yield from offline.run(built.engine, frames, controls, fps=job.fps)
    except HostRefused as error:
        raise CallError(str(error)) from error
    except PipelineError as error:
        raise CommandError(f"the model failed: {error}") from error


def _write(job: Job, plan: Geometry, outputs: Iterator[Output]) -> None:
    writer = files_out.VideoWriter(job.target, plan.shown, Beat.of(job.fps))
    with contextlib.ExitStack() as unless_kept:
        unless_kept.callback(writer.discard)
        bar: tqdm[Any] = tqdm(
            total=job.count,
            unit=" frames",
            desc=job.target.name,
            file=sys.stderr,
            disable=None,  # on a terminal only
            dynamic_ncols=True,
        )
        try:
            with bar:
                for output in outputs:
                    writer.write(plan.restore(output.frame.planes), output.frame.index)
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
