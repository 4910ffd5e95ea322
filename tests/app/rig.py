"""A host that answers at once, pictures that carry a number, and a viewer without a browser."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from millrace.app import rtc_patches
from millrace.streaming.clock import SystemClock
from millrace.streaming.controls import Control, Controls
from millrace.streaming.frames import Frame
from millrace.streaming.host import Event, HostInfo, HostRefused, Listener, Output, SessionState
from millrace.streaming.pipeline import PipelineInfo, Preset, StreamConfig
from millrace.streaming.trace import Span

BITS = 12
SIZE = (256, 256)
SCHEMA = (
    Control("prompt", "Prompt", "text", "plain", help="What the picture becomes"),
    Control("strength", "Strength", "float", 0.5, 0.0, 1.0, 0.05),
    Control("steps", "Steps", "int", 1, 1, 2, 1),
    Control("seed", "Seed", "int", 0, 0, 2**31 - 1, 1),
)
INFO = HostInfo(
    PipelineInfo(
        "echo",
        "Echo",
        "Gives back what it gets.",
        controls=SCHEMA,
        presets=(Preset("Plain", {"prompt": "plain"}), Preset("Bold", {"prompt": "bold"})),
        size_multiple=16,
        max_side=1024,
    ),
    "cpu",
    "float32",
    1,
    ("Nothing was measured: this host is a fake.",),
)


class EchoSession:
    """Gives each picture back at once, with the epoch of the controls that hold then."""

    def __init__(self, host: EchoHost, id: str, config: StreamConfig, listener: Listener) -> None:
        self.id = id
        self.config = config
        self.controls = Controls.defaults(SCHEMA)
        self.closed = threading.Event()
        self.reason = ""
        self.frames: list[tuple[int, int]] = []
        self._host = host
        self._listener = listener

    @property
    def state(self) -> SessionState:
        if self.closed.is_set():
            return "closed"
        return "interrupted" if self._host.down else "live"

    def put(self, frame: Frame) -> None:
        assert (frame.width, frame.height) == (self.config.width, self.config.height)
        self.frames.append((frame.index, frame.pts))
        if not self._host.down and not self.closed.is_set():
            self._listener(Output(frame, self.controls.epoch, self._host.clock.now()))

    def tell(self, event: Event) -> None:
        self._listener(event)

    def change(self, changes: Mapping[str, object]) -> int:
        self.controls = self.controls.changed(SCHEMA, changes)
        return self.controls.epoch

    def reset(self) -> int:
        self.controls = self.controls.reset()
        return self.controls.epoch

    def close(self, reason: str = "") -> None:
        if not self.closed.is_set():
            self.reason = reason
            self._host.forget(self)
            self.closed.set()

    def stats(self) -> Mapping[str, Any]:
        return {"fps_in": 30.0, "fps_out": 30.0, "drops": {"superseded": 1}, "queue": 0}


class EchoHost:
    """A `Host` with knobs: how many sessions it takes, and whether its worker is down."""

    def __init__(self, rooms: int = 4) -> None:
        self.clock = SystemClock()
        self.rooms = rooms
        self.down = False
        self.recording: list[bool] = []
        self.opened = threading.Event()
        self._sessions: dict[str, EchoSession] = {}
        self._ids = itertools.count(1)

    def start(self) -> None: ...

    def ready(self, timeout: float | None = None) -> HostInfo:
        return INFO

    def open(
        self, config: StreamConfig, listener: Listener, changes: Mapping[str, object] | None = None
    ) -> EchoSession:
        if len(self._sessions) >= self.rooms:
            raise HostRefused(f"all {self.rooms} places are taken; try again later")
        session = EchoSession(self, f"e{next(self._ids)}", config, listener)
        if changes:
            session.controls = session.controls.changed(SCHEMA, changes)
        self._sessions[session.id] = session
        self.opened.set()
        return session

    def forget(self, session: EchoSession) -> None:
        self._sessions.pop(session.id, None)

    def sessions(self) -> tuple[EchoSession, ...]:
        return tuple(self._sessions.values())

    def interrupt(self, down: bool) -> None:
        self.down = down
        for session in self.sessions():
            session.tell(Event("interrupted" if down else "live"))

    def stats(self) -> Mapping[str, Any]:
        return {"sessions": {"admitted": len(self._sessions)}, "e2e_ms": {"p50": 5.0, "p95": 9.0}}

    def record(self, on: bool) -> None:
        self.recording.append(on)

    def recorded(self) -> tuple[Span, ...]:
        return ()

    def stop(self) -> None: ...


def paint(number: int, width: int = SIZE[0], height: int = SIZE[1]) -> npt.NDArray[np.uint8]:
    """I420 planes with a soft picture and, in the lowest fifth, `number` as black and white blocks:
    a row of bits and below it the same row inverted."""
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    luma = planes[:height]
    luma[:] = np.linspace(60, 180, width).astype(np.uint8)
    top, half = height * 4 // 5, height // 10
    for i in range(BITS):
        left, right = width * i // BITS, width * (i + 1) // BITS
        bit = number >> i & 1
        luma[top : top + half, left:right] = 235 if bit else 16
        luma[top + half :, left:right] = 16 if bit else 235
    return planes


def read(luma: npt.NDArray[np.uint8]) -> int | None:
    """The number in a picture's luma; None when a block and its inverse are too alike to tell."""
    height, width = luma.shape
    top, half = height * 4 // 5, height // 10
    number = 0
    for i in range(BITS):
        left, right = width * i // BITS + 4, width * (i + 1) // BITS - 4
        bit = float(luma[top + 4 : top + half - 4, left:right].mean())
        inverse = float(luma[top + half + 4 : height - 4, left:right].mean())
        if abs(bit - inverse) < 40:
            return None
        number |= (bit > inverse) << i
    return number


class Numbers(MediaStreamTrack):
    """A source whose pictures count up, at 30 a second, in whatever size `size` says just then."""

    kind = "video"

    def __init__(self, size: tuple[int, int] = SIZE, fps: float = 30.0) -> None:
        super().__init__()
        self.size = size
        self.sent = 0
        self._interval = 1 / fps
        self._start: float | None = None

    async def recv(self) -> av.VideoFrame:
        loop = asyncio.get_running_loop()
        if self._start is None:
            self._start = loop.time()
        await asyncio.sleep(max(0.0, self._start + self.sent * self._interval - loop.time()))
        if self.readyState != "live":
            raise MediaStreamError
        frame = av.VideoFrame.from_ndarray(paint(self.sent % (1 << BITS), *self.size), "yuv420p")
        frame.pts = round(self.sent * self._interval * 90_000)
        frame.time_base = Fraction(1, 90_000)
        self.sent += 1
        return frame


class Client:
    """A viewer without a browser: sends numbers, reads them back, speaks the data channel."""

    def __init__(self, source: Numbers | None = None) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.source = source or Numbers()
        self.pc.addTrack(self.source)
        self.channel = self.pc.createDataChannel("control")
        self.channel.on("message", self._on_message)
        self.messages: list[dict[str, Any]] = []
        self.clock: rtc_patches.ReceiverClock | None = None
        self._news = asyncio.Event()
        self._track: Any = None

    async def offer(self) -> str:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return str(self.pc.localDescription.sdp)

    async def accept(self, sdp: str) -> None:
        await self.pc.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        (receiver,) = self.pc.getReceivers()
        self.clock = rtc_patches.prepare_receiver(receiver)
        self._track = receiver.track

    async def picture(self) -> av.VideoFrame:
        async with asyncio.timeout(15):
            picture: av.VideoFrame = await self._track.recv()
        return picture

    async def numbers(self, count: int) -> list[int]:
        """The numbers of the next `count` pictures that are legible."""
        found: list[int] = []
        while len(found) < count:
            picture = await self.picture()
            number = read(cast(Any, picture.to_ndarray())[: picture.height])
            if number is not None:
                found.append(number)
        return found

    def send(self, message: object) -> None:
        self.channel.send(message if isinstance(message, str) else json.dumps(message))

    async def message(
        self, kind: str, where: Callable[[dict[str, Any]], bool] = lambda message: True
    ) -> dict[str, Any]:
        """The first message of a kind, come or to come, that fits."""
        async with asyncio.timeout(15):
            while True:
                for message in self.messages:
                    if message["type"] == kind and where(message):
                        return message
                self._news.clear()
                await self._news.wait()

    async def close(self) -> None:
        await self.pc.close()

    def _on_message(self, text: str) -> None:
        self.messages.append(json.loads(text))
        self._news.set()
