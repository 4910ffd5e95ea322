"""`millrace stylize IN OUT`: a file through the live engine, nothing dropped."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from av.error import FFmpegError
from tqdm import tqdm

from ..streaming.assemble import Assembled
from ..streaming.clock import Clock, SystemClock
from ..streaming.config import Options
from ..streaming.controls import ControlError, Controls
from ..streaming.frames import PTS_RATE, Frame
from ..streaming.host import Event, HostRefused, Output
from . import control_values, files_out, geometry, local_engine
from .errors import CallError, CommandError, Interrupted
from .files import BrokenInput, VideoFile, planes_of
from .geometry import Geometry, Size
from .told_files import TrackBeside

EARLY_SHARE = 0.05
"""A file that ends this share (and a second) before its header says is reported as cut off."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to do with which file.

    Attributes:
        source, target: the files; the target's extension says what is written.
        options: what draws, and where.
        size: width and height to write; None keeps the source's.
        controls: values as numbers or truth values.
        texts: further controls as typed, read by the model's schema.
        keep_going: leave damaged places of the source out instead of stopping there.
        sound: carry the source's sound over.
        vlm: which language model writes captions beside the target; "" for none.
    """

    source: Path
    target: Path
    options: Options
    size: Size | None
    controls: Mapping[str, object]
    texts: Mapping[str, str]
    keep_going: bool
    sound: bool = True
    vlm: str = ""


def run(job: Job, as_json: bool) -> None:
    """Restyle the file and print what was done.

    Raises:
        CallError: a wrong call; nothing was tried.
        CommandError: it failed; what was left behind is in the message.
    """
    files_out.check_target(job.target)
    clock = SystemClock()
    with VideoFile(job.source, job.keep_going) as video:
        files_out.check_apart(job.target, job.source)
        if job.vlm and job.target.suffix.lower() in files_out.IMAGE:
            raise CallError(f"{job.target} is a picture and has no captions; leave --captions out")
        built = local_engine.start(job.options, clock)
        work = Work(job, video, built, clock)
        report = work.image() if job.target.suffix.lower() in files_out.IMAGE else work.video()
    if as_json:
        print(json.dumps(report, indent=2))
        return
    print(f"{report['output']}: {report['frames']} frames of {_text(report['size'])}", end=" ")
    print(f"in {report['seconds']:.1f} s ({report['fps']:.1f} frames/s)")
    print(f"  {drawn_by(report, job.options)}")
    for note in report["notes"]:
        print(f"  {note}")


class Work:
    """One job on an opened file and a started engine.

    Raises:
        CallError: a size or a control that the model does not take.
    """

    def __init__(self, job: Job, video: VideoFile, built: Assembled, clock: Clock) -> None:
        self._job = job
        self._video = video
        self._built = built
        self._clock = clock
        self._stamps: dict[int, int] = {}
        self._broken: BrokenInput | None = None
        self._said: Mapping[str, Any] = {}
        self._began = clock.now()
        self._telling = (
            TrackBeside(job.vlm, job.options.device, built.info.threads) if job.vlm else None
        )
        info = built.info.pipeline
        try:
            typed = control_values.read(info.controls, job.texts)
            # Of a model that draws from words too, it is the file that is to be drawn from.
            several = len(info.draws_from) > 1 and "video" in info.draws_from
            mode = {"mode": "video-to-video"} if several else {}
            self._controls = Controls.defaults(info.controls).changed(
                info.controls, mode | dict(job.controls) | typed
            )
            self._geometry: Geometry = geometry.plan(
                video.size,
                video.pixel_aspect,
                video.turns,
                job.size,
                info.size_multiple,
                info.max_side,
            )
        except ValueError as error:  # ControlError is one
            raise CallError(str(error)) from error

    def video(self) -> dict[str, Any]:
        """Write a video; returns the report."""
        writer = files_out.VideoWriter(
            self._job.target, self._geometry.shown, self._video, self._job.sound
        )
        count = 0
        with contextlib.ExitStack() as unless_kept:
            unless_kept.callback(writer.discard)
            try:
                with self._progress() as progress:
                    for output in self._outputs(self._frames()):
                        pts = self._stamps.pop(output.frame.index)
                        writer.write(self._geometry.restore(output.frame.planes), pts)
                        count += 1
                        progress.update()
                if self._broken is None:
                    writer.finish()
                unless_kept.pop_all()
            except KeyboardInterrupt:
                unless_kept.pop_all()
                raise Interrupted(f"interrupted; {_left(writer.keep_partial())}") from None
            except (OSError, FFmpegError) as error:
                raise CommandError(
                    f"{self._job.target} cannot be written: {error.strerror or error}; "
                    "the unfinished file was removed"
                ) from error
        if self._broken is not None:
            raise BrokenInput(f"{self._broken}; {_left(writer.keep_partial())}") from self._broken
        told = [] if self._telling is None else [self._telling.write(self._job.target)]
        return self._report(count, [*writer.notes, *told])

    def image(self) -> dict[str, Any]:
        """Write one picture; returns the report."""
        frames = list(islice(self._frames(), 2))
        if len(frames) > 1:
            raise CallError(
                f"{self._job.source} has many pictures and {self._job.target} holds one; "
                "name a video, as .mp4"
            )
        (output,) = self._outputs(iter(frames))
        files_out.write_image(self._job.target, self._geometry.restore(output.frame.planes))
        return self._report(1, [])

    def _frames(self) -> Iterator[Frame]:
        """The file's pictures as the model takes them. A damaged place ends them like the end of
        the file does, so that all before it comes out; it is kept in `_broken`."""
        try:
            for index, item in enumerate(self._video.pictures()):
                self._stamps[index] = item.pts
                stacked = self._geometry.prepare(planes_of(item.image, self._geometry))
                pts = round(item.seconds * PTS_RATE)
                frame = Frame(stacked, *self._geometry.padded, pts, self._clock.now(), index)
                if self._telling is not None:
                    self._telling.see(frame)
                yield frame
        except BrokenInput as error:
            self._broken = error

    def _outputs(self, frames: Iterator[Frame]) -> Iterator[Output]:
        # Loaded by now: the engine is running.
        from ..streaming import offline
        from ..streaming.results import PipelineError

        try:
            yield from offline.run(
                self._built.engine,
                frames,
                self._controls,
                fps=float(self._video.rate),
                on_event=self._hear,
            )
        except (HostRefused, ControlError) as error:
            raise CallError(str(error)) from error
        except PipelineError as error:
            raise CommandError(f"the model failed: {error}") from error

    def _hear(self, event: Event) -> None:
        """Keep what the model says about its controls: how it understood the prompt."""
        if event.kind == "notes":
            self._said = event.data

    def _progress(self) -> tqdm[Any]:
        return tqdm(
            total=self._video.expected or None,
            unit=" frames",
            desc=self._job.source.name,
            file=sys.stderr,
            disable=None,  # on a terminal only
            dynamic_ncols=True,
        )

    def _report(self, count: int, notes: list[str]) -> dict[str, Any]:
        seconds = self._clock.now() - self._began
        info = self._built.info
        return {
            "input": str(self._job.source),
            "output": str(self._job.target),
            "frames": count,
            "size": list(self._geometry.shown),
            "model_size": list(self._geometry.padded),
            "seconds": round(seconds, 3),
            "fps": round(count / seconds, 2),
            "model": info.pipeline.name,
            "device": info.device,
            "dtype": info.dtype,
            "threads": info.threads,
            "said": dict(self._said),
            "notes": [*understood(self._said), *self._geometry.notes, *notes, *self._trouble()],
        }

    def _trouble(self) -> list[str]:
        """What the file was found to have wrong on the way."""
        video, found = self._video, []
        if video.skipped:
            found.append(f"{video.skipped} damaged packets were left out")
        if video.concealed:
            found.append(f"{video.concealed} pictures were damaged and partly restored")
        if video.restamped:
            found.append(f"{video.restamped} pictures had no usable time stamp and got a new one")
        if video.seconds * (1 - EARLY_SHARE) - 1 > video.reached:
            found.append(
                f"the file ends after {video.reached:.1f} s, its header says {video.seconds:.1f} s"
            )
        return found


def drawn_by(report: Mapping[str, Any], options: Options) -> str:
    """What drew a file and with which settings, so that nothing was chosen without a word."""
    given = {name: value for name, value in options.settings.items() if name != "weights"}
    random = given.pop("random_weights", False)
    also = [f"{name}={value}" for name, value in given.items()]
    also += ["random weights: this is its speed, not its looks"] if random else []
    with_them = f" with {', '.join(also)}" if also else ""
    return f"drawn by {report['model']} on {report['device']} in {report['dtype']}{with_them}"


def understood(said: Mapping[str, Any]) -> list[str]:
    """A model's notes on its prompt, as sentences."""
    found = []
    if said.get("understood"):
        parts = ", ".join(f"{name} {share:.0%}" for name, share in said["understood"])
        found.append(f"prompt understood as {parts}")
    if said.get("look"):
        parts = ", ".join(f"{name} {share:.0%}" for name, share in said["look"])
        found.append(f"then drawn as {parts}")
    if said.get("unknown"):
        found.append(f"words it does not know: {', '.join(said['unknown'])}")
    if said.get("prompt_cut"):
        found.append(f"not all of the prompt is used: {said['prompt_cut']}")
    return found


def _left(partial: Path | None) -> str:
    return f"the finished part is {partial}" if partial else "no part of it could be kept"


def _text(size: list[int]) -> str:
    return f"{size[0]}x{size[1]}"
