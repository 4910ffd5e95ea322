"""Writing a video beside its final place and moving it there when it is whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import av.error
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from .errors import CallError, CommandError
from .files import PacketSink
from .geometry import Plane, Size


@dataclass(frozen=True, slots=True)
class Target:
    """How a file of some extension is written.

    Attributes:
        codec: video encoder.
        options: its settings: good to look at, and quick beside a model on the same cores.
        audio: audio encoder for sound that the container cannot hold as it is.
    """

    codec: str
    options: tuple[tuple[str, str], ...]
    audio: str


_H264 = Target("libx264", (("crf", "18"), ("preset", "veryfast")), "aac")
_VP9 = Target(
    "libvpx-vp9",
    (("crf", "24"), ("b", "0"), ("deadline", "good"), ("cpu-used", "5"), ("row-mt", "1")),
    "libopus",
)
VIDEO = {".mp4": _H264, ".m4v": _H264, ".mov": _H264, ".mkv": _H264, ".webm": _VP9}
IMAGE = {".png": ("png", "rgb24"), ".jpg": ("mjpeg", "yuvj420p"), ".jpeg": ("mjpeg", "yuvj420p")}


def check_target(path: Path) -> None:
    """Fail early where nothing could be written at the end.

    Raises:
        CallError: an unknown extension, a folder in its place, no such folder to put it in.
        CommandError: the folder may not be written to.
    """
    if path.suffix.lower() not in VIDEO | IMAGE:
        known = " ".join([*VIDEO, *IMAGE])
        raise CallError(f"{path}: cannot write {path.suffix or 'no extension'}; known are {known}")
    check_place(path)


def check_place(path: Path) -> None:
    """Fail early where no file of any kind could be put.

    Raises:
        CallError: a folder in its place, no such folder to put it in.
        CommandError: the folder may not be written to.
    """
    if path.is_dir():
        raise CallError(f"{path} is a folder; name a file in it")
    if not path.absolute().parent.is_dir():
        raise CallError(f"folder {path.absolute().parent} does not exist; make it first")
    if not os.access(path.absolute().parent, os.W_OK):
        raise CommandError(f"folder {path.absolute().parent} may not be written to by this user")


def check_apart(path: Path, source: Path) -> None:
    """An output must not replace what it is made of.

    Raises:
        CallError: both are one file.
    """
    if path.exists() and source.exists() and path.samefile(source):
        raise CallError(f"{path} is the input itself; name another output")


def partial_path(path: Path) -> Path:
    """Where `path` grows: beside it, so that the final move cannot fail half-way."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


class Rhythm(Protocol):
    """What a written file takes from its source beside the pictures: rate, stamps and sound."""

    @property
    def rate(self) -> Fraction: ...

    @property
    def time_base(self) -> Fraction: ...

    @property
    def audio(self) -> tuple[AudioStream, ...]: ...

    def send_audio(self, stream: AudioStream, sink: PacketSink) -> None: ...


class VideoWriter:
    """Encodes pictures into `<name>.partial<ext>` and, with `sound`, carries the sound over.

    End it with `finish`, `keep_partial` or `discard`.

    Raises:
        CommandError: the file cannot be created.
    """

    def __init__(self, path: Path, size: Size, source: Rhythm, sound: bool = True) -> None:
        self.path = path
        self.partial = partial_path(path)
        self.notes: list[str] = []
        self._target = VIDEO[path.suffix.lower()]
        self._source = source
        try:
            self._container: OutputContainer = av.open(str(self.partial), "w")
        except OSError as error:
            raise CommandError(f"{self.partial} cannot be written: {error.strerror}") from error
        self._video = self._add_video(size)
        self._flushes = [self._carry(stream) for stream in source.audio if sound]
        if source.audio and not sound:
            self.notes.append("sound left out, as asked for")

    def _add_video(self, size: Size) -> VideoStream:
        rate = self._source.rate.limit_denominator(100_000)
        stream = self._container.add_stream(
            self._target.codec, rate=rate, options=dict(self._target.options)
        )
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        # The source's own time base, so that its stamps pass unrounded.
        stream.codec_context.time_base = stream.time_base = self._source.time_base
        stream.codec_context.colorspace = Colorspace.ITU601
        stream.codec_context.color_range = ColorRange.MPEG
        return stream

    def _carry(self, stream: AudioStream) -> Callable[[], None]:
        """Route one audio stream into the file; returns what must be called at its end."""
        name = stream.codec.canonical_name
        if name in self._container.supported_codecs:
            copy = self._container.add_stream_from_template(stream)
            self.notes.append(f"sound ({name}) copied")

            def put(packet: Packet) -> None:
                if packet.dts is not None:
                    packet.stream = copy
                    self._container.mux(packet)

            self._source.send_audio(stream, put)
            return lambda: None
        return self._transcode(stream, name)

    def _transcode(self, stream: AudioStream, name: str) -> Callable[[], None]:
        rate = 48_000 if self._target.audio == "libopus" else stream.codec_context.sample_rate
        encoder = self._container.add_stream(self._target.audio, rate=rate)
        assert isinstance(encoder, AudioStream)
        encoder.codec_context.layout = "mono" if stream.codec_context.channels == 1 else "stereo"
        self.notes.append(
            f"sound converted from {name} to {self._target.audio}: "
            f"{self.path.suffix} cannot hold {name}"
        )

        def put(packet: Packet) -> None:
            for frame in stream.decode(packet):
                self._container.mux(encoder.encode(frame))

        self._source.send_audio(stream, put)
        return lambda: self._container.mux(encoder.encode(None))

    def write(self, planes: Plane, pts: int) -> None:
        """Encode one picture.

        Args:
            planes: stacked I420, uint8 [height * 3/2, width].
            pts: its stamp in the source's time base.
        """
        image = VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv420p")
        image.pts, image.time_base = pts, self._source.time_base
        image.colorspace, image.color_range = Colorspace.ITU601, ColorRange.MPEG
        self._container.mux(self._video.encode(image))

    def _close(self) -> None:
        self._container.mux(self._video.encode(None))
        for flush in self._flushes:
            flush()
        self._container.close()

    def finish(self) -> None:
        """Complete the file and move it to its place."""
        self._close()
        self.partial.replace(self.path)

    def keep_partial(self) -> Path | None:
        """Complete what there is under its partial name; None when even that was impossible."""
        try:
            self._close()
        except av.error.FFmpegError:  # what caused this (a full disk, say) is already on its way up
            self.discard()
            return None
        return self.partial

    def discard(self) -> None:
        """Remove the unfinished file."""
        try:
            self._container.close()
        except av.error.FFmpegError:
            pass  # it cannot be completed, and that is why it goes
        self.partial.unlink(missing_ok=True)


def write_image(path: Path, planes: Plane) -> None:
    """Write one picture as PNG or JPEG.

    Raises:
        CommandError: the file cannot be written; nothing is left behind then.
    """
    codec, pixels = IMAGE[path.suffix.lower()]
    image = VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv420p")
    image.colorspace, image.color_range = Colorspace.ITU601, ColorRange.MPEG
    image = image.reformat(format=pixels)
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = image.width, image.height, pixels
    encoder.time_base = Fraction(1, 25)
    image.pts, image.time_base = 0, Fraction(1, 25)
    data = b"".join(bytes(packet) for packet in [*encoder.encode(image), *encoder.encode(None)])
    partial = partial_path(path)
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error
