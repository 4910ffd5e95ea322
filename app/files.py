"""Reading pictures and sound out of any file that PyAV opens, with their stamps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType

import av
import av.error
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from .errors import CallError, CommandError
from .geometry import Geometry, Planes, Size

PacketSink = Callable[[Packet], None]
UNSPECIFIED = 2
"""AVCOL_SPC_UNSPECIFIED: the picture does not say how its colours are coded."""
HD_HEIGHT = 720
"""From this height on, such pictures are taken for BT.709, as players do."""


class BrokenInput(CommandError):
    """The file cannot be read any further; the message says where it broke."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded picture of a file, still as decoded.

    Attributes:
        image: the decoder's frame.
        pts: its stamp in the time base of the video stream, strictly growing.
        seconds: the same in seconds.
    """

    image: VideoFrame
    pts: int
    seconds: float


class VideoFile:
    """An opened file: its first video stream and all its audio streams. Use it in `with`.

    Raises:
        CallError: no such file, or a folder.
        CommandError: empty, not a media file, or without a single readable picture.
    """

    def __init__(self, path: Path, keep_going: bool = False) -> None:
        self.path = path
        self.skipped = 0
        """Packets that could not be decoded and were left out (only with `keep_going`)."""
        self.concealed = 0
        """Pictures that the decoder could only partly restore."""
        self.restamped = 0
        """Pictures whose stamp was missing or not after the one before."""
        self.reached = 0.0
        """Seconds from the first picture to the end of the last one that was read."""
        self._keep_going = keep_going
        self._container = _open(path)
        self._sinks: dict[int, PacketSink] = {}
        self.video = self._first_video()
        self.audio: tuple[AudioStream, ...] = tuple(self._container.streams.audio)
        self.time_base: Fraction = self.video.time_base or Fraction(1, 90_000)
        self._last: int | None = None
        self._origin = 0
        self._early: list[Packet] = []
        self._started = False
        self._decoded = self._decode()
        try:
            self._first = next(self._decoded)
        except StopIteration:
            self._container.close()
            raise CommandError(f"{path} holds no picture that can be decoded") from None

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._container.close()

    def _first_video(self) -> VideoStream:
        # A cover picture of a song is listed as video too.
        attached = Disposition.attached_pic
        streams = [s for s in self._container.streams.video if not s.disposition & attached]
        if not streams:
            self._container.close()
            raise CommandError(f"{self.path} has no video stream; give a video or a picture")
        streams[0].thread_type = "AUTO"
        return streams[0]

    @property
    def size(self) -> Size:
        """Size of the first decoded picture."""
        return self._first.width, self._first.height

    @property
    def pixel_aspect(self) -> Fraction:
        aspect = self.video.sample_aspect_ratio
        return Fraction(aspect) if aspect else Fraction(1)

    @property
    def turns(self) -> int:
        """Quarter turns against the clock that set the pictures upright."""
        return round(self._first.rotation / 90) % 4

    @property
    def rate(self) -> Fraction:
        """Average frames per second, as the container says or guesses."""
        rate = self.video.average_rate or self.video.guessed_rate
        return Fraction(rate) if rate else Fraction(30)

    @property
    def seconds(self) -> float:
        """Length that the header promises, or 0."""
        if self.video.duration is not None:
            return float(self.video.duration * self.time_base)
        return self._container.duration / av.time_base if self._container.duration else 0.0

    @property
    def expected(self) -> int:
        """Number of pictures, as the header says or lets guess; 0 when it does not."""
        return self.video.frames or round(self.seconds * self.rate)

    def send_audio(self, stream: AudioStream, sink: PacketSink) -> None:
        """Hand the packets of `stream` to `sink` as `pictures` comes by them."""
        self._sinks[stream.index] = sink

    def pictures(self) -> Iterator[Picture]:
        """All pictures in order of display; once.

        Raises:
            BrokenInput: a damaged place, unless the file was opened with `keep_going`.
        """
        self._started = True
        for packet in self._early:
            self._pass_on(packet)
        self._early.clear()
        for image in chain([self._first], self._decoded):
            self.concealed += image.is_corrupt
            yield self._stamped(image)

    def _decode(self) -> Iterator[VideoFrame]:
        seconds = 0.0
        packets = self._container.demux(self.video, *self.audio)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                if packet.stream.index != self.video.index:
                    self._pass_on(packet)
                    continue
                for image in self.video.decode(packet):
                    seconds = image.time or seconds
                    yield image
            except av.error.InvalidDataError as error:
                if not self._keep_going:
                    raise BrokenInput(
                        f"{self.path} is damaged after {seconds:.2f} s; "
                        "--keep-going leaves damaged places out"
                    ) from error
                self.skipped += 1

    def _pass_on(self, packet: Packet) -> None:
        if not self._started:  # the first picture is looked for, and nobody listens yet
            self._early.append(packet)
        elif packet.stream.index in self._sinks:
            self._sinks[packet.stream.index](packet)

    def _stamped(self, image: VideoFrame) -> Picture:
        step = max(1, round(1 / (self.rate * self.time_base)))
        pts = image.pts
        if pts is None or (self._last is not None and pts <= self._last):
            pts = 0 if self._last is None else self._last + (step if pts is None else 1)
            self.restamped += 1
        self._origin = pts if self._last is None else self._origin
        self._last = pts
        self.reached = float((pts - self._origin + step) * self.time_base)
        return Picture(image, pts, float(pts * self.time_base))


def planes_of(image: VideoFrame, geometry: Geometry) -> Planes:
    """The picture's Y, U and V planes at `geometry.scaled` size, BT.601 limited range.

    An odd last row or column is left to `Geometry.prepare` to cut off.
    """
    width, height = geometry.scaled
    source = image.colorspace
    if source == UNSPECIFIED:
        source = Colorspace.ITU709 if image.height >= HD_HEIGHT else Colorspace.ITU601
    i420 = image.reformat(
        width,
        height,
        format="yuv420p",
        src_colorspace=source,
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.MPEG,
    )
    y, u, v = (
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
            : plane.height, : plane.width
        ]
        for plane in i420.planes
    )
    return y, u, v


def _open(path: Path) -> InputContainer:
    if not path.exists():
        raise CallError(f"{path} does not exist")
    if path.is_dir():
        raise CallError(f"{path} is a folder; give a video file")
    if path.is_file() and path.stat().st_size == 0:
        raise CommandError(f"{path} is empty")
    try:
        return av.open(str(path), "r", metadata_errors="replace")
    except PermissionError as error:
        raise CommandError(f"{path} may not be read by this user") from error
    except av.error.FFmpegError as error:
        raise CommandError(
            f"{path} is not a video that can be read, or is damaged: {error.strerror}"
        ) from error
