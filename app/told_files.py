"""`millrace caption IN` and `millrace ask IN QUESTION`: a file through the live captions, every
turn of it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ..assets import AssetError
from ..streaming.assemble import quiet_threads
from ..streaming.captions import limits, track
from ..streaming.captions.host import CaptionConfig, CaptionOptions, CaptionRefused, Said
from ..streaming.captions.looks import LookSpec
from ..streaming.captions.track import Cue
from ..streaming.clock import SystemClock
from ..streaming.config import ConfigError
from ..streaming.frames import PTS_RATE, Frame
from . import channel, files_out, geometry, machine, reports
from .errors import CallError, CommandError, Interrupted
from .files import VideoFile, planes_of

if TYPE_CHECKING:
    from ..streaming.captions.model import CaptionModel

MAX_SIDE = 4096
FINER = 4
"""Frames are taken this many times as often as the model looks; between those it sees none."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to tell of, and with what.

    Attributes:
        source: the video.
        vlm, device, dtype, threads: which language model, and where; 0 threads takes all cores.
        wish, memory: see `CaptionConfig`.
        keep_going: leave damaged places of the source out instead of stopping there.
    """

    source: Path
    vlm: str
    wish: str
    memory: str
    device: str
    dtype: str
    threads: int
    keep_going: bool

    @property
    def config(self) -> CaptionConfig:
        return CaptionConfig(instruction=self.wish, memory=self.memory)

    def model(self) -> CaptionModel:
        """Load the language model. Takes seconds.

        Raises:
            CallError: there is no such model or device.
            CommandError: shipped files are missing.
        """
        threads = self.threads or max(1, int(machine.usable_cores()))
        return load(CaptionOptions(self.vlm, self.device, self.dtype, threads, max_sessions=1))


def load(options: CaptionOptions) -> CaptionModel:
    """The language model in this process.

    Raises:
        CallError: there is no such model or device.
        CommandError: shipped files are missing.
    """
    quiet_threads(os.environ, alone=True)
    # Loads torch.
    from ..streaming.captions.registry import build

    try:
        return build(options)
    except ConfigError as error:
        raise CallError(str(error)) from error
    except AssetError as error:
        raise CommandError(str(error)) from error


def caption(job: Job, form: str, output: Path | None, watch: tuple[str, ...]) -> None:
    """Print or write the captions of a file.

    Args:
        form: "text", "json", "vtt" or "srt".
        watch: conditions of alerts.

    Raises:
        CallError: a wrong call; nothing was tried.
        CommandError: the file cannot be read, or the output not written.
    """
    with _in_words():
        limits.wish(job.wish)
        for condition in watch:
            limits.condition(condition)
    if output is not None:
        files_out.check_place(output)
        files_out.check_apart(output, job.source)
    clock = SystemClock()
    began = clock.now()
    cues: list[Cue] = []
    with _reading(job) as (video, progress):
        model = job.model()
        from ..streaming.captions.offline import caption_file

        frames = _frames(video, model.info.look, progress)
        with _in_words():
            for told in caption_file(model, frames, job.config, watch):
                if isinstance(told, Said):
                    cues.append(told.cue)
                    if form == "text" and output is None:
                        progress.write(line(told.cue))
    if form == "text" and output is None:
        return
    seconds = clock.now() - began
    report = {
        "input": str(job.source),
        "model": model.info.name,
        "device": model.info.device,
        "length": round(video.reached, 3),
        "seconds": round(seconds, 3),
        "cues": [channel.cue(cue) for cue in cues],
    }
    reports.write(_written(form, cues, report), str(output or "-"))
    if output is not None:
        print(
            f"{output}: {len(cues)} captions of {video.reached:.1f} s in {seconds:.1f} s",
            file=sys.stderr,
        )


def ask(job: Job, question: str, at: float | None, as_json: bool) -> None:
    """Print the answer to a question about a file, word by word.

    Raises:
        CallError: a wrong call, as a second that the file does not have.
        CommandError: the file cannot be read, or there is no answer.
    """
    with _in_words():
        limits.question(question)
        limits.wish(job.wish)
        if at is not None:
            limits.second_of_file(at)
    text, span = "", None
    with _reading(job) as (video, progress):
        model = job.model()
        from ..streaming.captions.offline import ask_file

        frames = _frames(video, model.info.look, progress)
        with _in_words():
            for part in ask_file(model, frames, question, at, job.config):
                if part.error:
                    raise CommandError(part.error)
                progress.leave = False
                progress.close()
                text, span = text + part.text, part.span or span
                if not as_json:
                    print(part.text, end="", flush=True)
    if as_json:
        report = {
            "input": str(job.source),
            "model": model.info.name,
            "question": question,
            "at": at,
            "answer": text.strip(),
            "span": span,
        }
        print(json.dumps(report, indent=2))
        return
    print(f"  (seen from {clock_time(span[0])} to {clock_time(span[1])})" if span else "")


class TrackBeside:
    """Captions of a file that is being restyled, written beside the result.

    Args:
        vlm: which language model tells.
        threads: of the processor, shared with the model that restyles.

    Raises:
        CallError, CommandError: see `load`.
    """

    def __init__(self, vlm: str, device: str, threads: int) -> None:
        model = load(CaptionOptions(vlm, device, threads=threads, max_sessions=1))
        from ..streaming.captions.offline import FileCaptions

        self._file = FileCaptions(model)
        self._cues: list[Cue] = []

    def see(self, frame: Frame) -> None:
        """The next picture of the source."""
        self._cues += [told.cue for told in self._file.see(frame) if isinstance(told, Said)]

    def write(self, target: Path) -> str:
        """All captions as WebVTT, under the result's name; returns a note of it."""
        self._cues += [told.cue for told in self._file.end() if isinstance(told, Said)]
        place = target.with_suffix(".vtt")
        reports.write(track.webvtt(self._cues), str(place))
        return f"{len(self._cues)} captions in {place}"


@contextlib.contextmanager
def _reading(job: Job) -> Iterator[tuple[VideoFile, tqdm[Any]]]:
    """The opened file and a bar over its seconds.

    Raises:
        Interrupted: by Ctrl-C.
    """
    with VideoFile(job.source, job.keep_going) as video:
        progress = tqdm(
            total=round(video.seconds, 1) or None,
            unit=" s",
            desc=job.source.name,
            file=sys.stderr,
            disable=None,  # on a terminal only
            dynamic_ncols=True,
            leave=False,
        )
        try:
            with progress:
                yield video, progress
        except KeyboardInterrupt:
            raise Interrupted("interrupted; nothing was written") from None


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except CaptionRefused as error:
        raise CallError(str(error)) from error


def _frames(video: VideoFile, look: LookSpec, progress: tqdm[Any]) -> Iterator[Frame]:
    """The pictures of a file that the model may look at, upright, and no others: converting each
    of them would take longer than telling."""
    sizes = geometry.plan(video.size, video.pixel_aspect, video.turns, None, 2, MAX_SIDE)
    step = look.period / look.frames / FINER
    first: float | None = None
    last = -1
    for index, picture in enumerate(video.pictures()):
        first = picture.seconds if first is None else first
        second = picture.seconds - first
        progress.update(round(max(0.0, second - progress.n), 3))
        slot = int(second / step)
        if slot > last:
            last = slot
            planes = sizes.prepare(planes_of(picture.image, sizes))
            yield Frame(planes, *sizes.padded, round(second * PTS_RATE), second, index)


def _written(form: str, cues: list[Cue], report: dict[str, Any]) -> str:
    if form == "vtt":
        return track.webvtt(cues)
    if form == "srt":
        return track.srt(cues)
    if form == "json":
        return json.dumps(report, indent=2) + "\n"
    return "".join(line(cue) + "\n" for cue in cues)


def line(cue: Cue) -> str:
    """One cue as a line of text."""
    mark = "" if cue.kind == "caption" else f"{cue.kind}: "
    return f"{clock_time(cue.start):>7}  {mark}{cue.text}"


def clock_time(seconds: float) -> str:
    """75 as 1:15, 3675 as 1:01:15."""
    minutes, second = divmod(int(seconds + 1e-6), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
