"""The two ends of the media path in the web process: newest picture in, paced picture out."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from ..streaming.clock import Clock
from ..streaming.frames import PTS_RATE, Frame
from ..streaming.host import Output, Session
from ..streaming.pacing import Pacer
from ..streaming.telemetry import Rate
from .colour import WEBRTC, Colour, ColourWatch, to_webrtc
from .manners import Rated
from .rtc_patches import ReceiverClock

TIME_BASE = Fraction(1, PTS_RATE)


Planes = npt.NDArray[np.uint8]


def fit_i420(picture: av.VideoFrame, colour: Colour, width: int, height: int) -> Planes:
    """A decoded picture as I420 planes of the session's size: centre crop, then scale.

    Args:
        colour: what the picture was made in; the planes are BT.601, limited range.

    Returns uint8 [height * 3/2, width].
    """
    if not fits(picture, colour, width, height):
        x, y, w, h = centre_crop(picture.width, picture.height, width, height)
        if (w, h) != (picture.width, picture.height):
            picture = _cropped(picture, x, y, w, h)
        picture = to_webrtc(picture, colour, width, height)
    return cast(Planes, picture.to_ndarray())


def fits(picture: av.VideoFrame, colour: Colour, width: int, height: int) -> bool:
    """Whether a picture can be taken as it is."""
    size = (picture.width, picture.height)
    return size == (width, height) and colour == WEBRTC and picture.format.name == "yuv420p"


def centre_crop(
    width: int, height: int, to_width: int, to_height: int
) -> tuple[int, int, int, int]:
    """The largest box of the wanted aspect in the middle of a picture: x, y, width, height, all
    even because chroma has half the resolution."""
    if width * to_height > height * to_width:
        w, h = max(2, round(height * to_width / to_height) & ~1), height & ~1
    else:
        w, h = width & ~1, max(2, round(width * to_height / to_width) & ~1)
    return (width - w) // 2 & ~1, (height - h) // 2 & ~1, w, h


def _cropped(picture: av.VideoFrame, x: int, y: int, w: int, h: int) -> av.VideoFrame:
    luma, *chroma = (_rows(plane) for plane in picture.planes)
    parts = [luma[y : y + h, x : x + w]]
    parts += [c[y // 2 : (y + h) // 2, x // 2 : (x + w) // 2] for c in chroma]
    data = np.concatenate([part.reshape(-1) for part in parts])
    return av.VideoFrame.from_ndarray(data.reshape(h * 3 // 2, w), format="yuv420p")


def _rows(plane: Any) -> Planes:
    """A plane as an array, padding at the right included."""
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)


@dataclass(slots=True)
class Counts:
    """What passed one peer, for the panel and for /metrics."""

    received: int = 0
    sent: int = 0
    repeated: int = 0
    drops: dict[str, int] = field(default_factory=lambda: {"ingest": 0, "egress": 0})

    def add(self, other: Counts) -> None:
        self.received += other.received
        self.sent += other.sent
        self.repeated += other.repeated
        for cause, count in other.drops.items():
            self.drops[cause] = self.drops.get(cause, 0) + count


@dataclass(slots=True)
class Inbound:
    """Hands the newest received picture to the session, for as long as the track lives.

    aiortc queues decoded frames without bound (100 queued frames are 3 s of latency and a leak), so
    each turn takes all there are and keeps the last; the others are counted as `ingest` drops.
    """

    session: Session
    clock: Clock
    executor: Executor
    counts: Counts
    colours: ColourWatch = field(default_factory=ColourWatch)
    rate: Rate = field(default_factory=Rate)
    """Of the pictures that arrive, dropped ones included."""
    paused: bool = False
    size: tuple[int, int] = (0, 0)
    last: float | None = None
    """When the last picture came (monotonic seconds)."""
    on_too_fast: Callable[[], None] = lambda: None
    """Called at the first picture that is let go because more come than were agreed on."""
    still: Planes | None = None
    """A picture that goes to the session in place of those that come, which then keep time only."""
    on_picture: Callable[[Frame], None] = lambda frame: None
    """Called with each picture that goes to the session, on the loop; must return at once."""

    async def run(self, track: MediaStreamTrack) -> None:
        loop = asyncio.get_running_loop()
        width, height = self.session.config.width, self.session.config.height
        rated = Rated(self.session.config.fps)
        while (picture := await self._newest(track)) is not None:
            arrived = self.last = self.clock.now()
            self.rate.add(arrived)
            if self.paused or not self._agreed(rated, arrived):
                continue
            self.size = (picture.width, picture.height)
            colour = self.colours.current or Colour.of(picture)
            work = functools.partial(fit_i420, picture, colour, width, height)
            if self.still is not None:
                planes = self.still
            elif fits(picture, colour, width, height):
                planes = work()
            else:
                planes = await loop.run_in_executor(self.executor, work)
            frame = Frame(
                planes, width, height, int(picture.pts or 0), arrived, self.counts.received
            )
            self.counts.received += 1
            self.session.put(frame)
            self.on_picture(frame)

    def _agreed(self, rated: Rated, now: float) -> bool:
        """Whether a picture is within the agreed rate; the others cost nothing more."""
        if rated.takes(now):
            return True
        drops = self.counts.drops
        drops["too_fast"] = drops.get("too_fast", 0) + 1
        if drops["too_fast"] == 1:
            self.on_too_fast()
        return False

    async def _newest(self, track: Any) -> av.VideoFrame | None:
        """The latest decoded picture; None when the track ended."""
        try:
            picture: av.VideoFrame = await track.recv()
            while not track._queue.empty():
                picture = await track.recv()
                self.counts.drops["ingest"] += 1
                self.rate.add(self.clock.now())
        except MediaStreamError:
            return None
        return picture


@dataclass(frozen=True, slots=True)
class Sent:
    """One generated picture that went to the encoder: its own stamp and what it is a picture of."""

    pts: int
    output: Output
    before: int = -1
    """Stamp of what left before it, a repeated picture perhaps; below 0 for the first."""


class OutTrack(MediaStreamTrack):
    """The picture that goes back to the browser, when the pacer says that it is its time.

    Takes outputs from `offer` (loop thread only). Stamps each with the time at which it leaves:
    with the source's stamps the browser's jitter buffer would take the model's delay for network
    jitter and add a second of its own (measured). When nothing comes, as while a worker is started
    again, the last picture is sent again, so that the connection and its decoder stay alive.
    """

    kind = "video"

    def __init__(
        self, clock: Clock, counts: Counts, pacer: Pacer[Output], on_sent: Callable[[Sent], None]
    ) -> None:
        super().__init__()
        self._clock = clock
        self.origin = clock.now()
        """Monotonic seconds of stamp 0."""
        self._counts = counts
        self._pacer = pacer
        self._on_sent = on_sent
        self._arrived = asyncio.Event()
        self._last: Frame | None = None
        self._last_pts = -1

    def offer(self, output: Output) -> None:
        """Hand one picture to the pacer; when it holds too many, it lets the oldest go."""
        self._pacer.push(output, output.frame.captured_at, self._clock.now())
        self._arrived.set()

    async def recv(self) -> av.VideoFrame:
        output = await self._next()
        frame = output.frame if output else self._last
        assert frame is not None
        self._last = frame
        elapsed = int((self._clock.now() - self.origin) * PTS_RATE)
        before, self._last_pts = self._last_pts, max(elapsed, self._last_pts + 1)
        self._count()
        if output is not None:
            self._on_sent(Sent(self._last_pts, output, before))
        return as_video(frame, self._last_pts)

    def stop(self) -> None:
        super().stop()
        self._arrived.set()

    async def _next(self) -> Output | None:
        """The next picture at its time, or None when it is time to repeat the last one.

        Raises:
            MediaStreamError: the track was stopped.
        """
        while self.readyState == "live":
            now = self._clock.now()
            decision = self._pacer.decide(now)
            if decision.action != "wait":
                return decision.item
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                wait = None if decision.until is None else max(decision.until - now, 0.0)
                async with asyncio.timeout(wait):
                    await self._arrived.wait()
        raise MediaStreamError

    def _count(self) -> None:
        pacer = self._pacer
        self._counts.sent, self._counts.repeated = pacer.sent, pacer.repeated
        self._counts.drops["egress"] = pacer.skipped


def as_video(frame: Frame, pts: int) -> av.VideoFrame:
    """A picture for the encoder that shares the frame's memory."""
    video = av.VideoFrame.from_numpy_buffer(frame.planes, "yuv420p")
    video.pts = pts
    video.time_base = TIME_BASE
    return video


def capture_ms(clock: ReceiverClock, frame: Frame) -> tuple[float, str]:
    """When the source of a picture was captured, in ms, and on whose clock.

    "browser": Unix time on the browser's clock, from its sender reports. "server": monotonic time
    of arrival here, before the first report or when a client sends none.
    """
    wall = clock.captured(frame.pts)
    if wall is not None:
        return wall * 1000, "browser"
    return frame.captured_at * 1000, "server"
