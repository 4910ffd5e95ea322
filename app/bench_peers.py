"""Viewers without a browser for `bench --webrtc`: aiortc peers that send a moving picture."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from fractions import Fraction
from typing import Any

import av
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.clock import current_ntp_time
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from ..streaming.clock import SystemClock
from ..streaming.frames import PTS_RATE
from . import rtc_patches
from .bench_load import Pixels, moving_source
from .bench_sessions import Load
from .bench_webrtc import offer_body

CONNECT_S = 60.0
WRAP = 1 << 32


class Moving(MediaStreamTrack):
    """The moving picture at a fixed rate; what the encoder is too slow for is left out."""

    kind = "video"

    def __init__(self, pictures: list[Pixels], fps: float) -> None:
        super().__init__()
        self._pictures = pictures
        self._fps = fps
        self._number = -1
        self._start: float | None = None

    async def recv(self) -> av.VideoFrame:
        loop = asyncio.get_running_loop()
        if self._start is None:
            self._start = loop.time()
        self._number = max(self._number + 1, int((loop.time() - self._start) * self._fps))
        due = self._start + self._number / self._fps
        await asyncio.sleep(max(0.0, due - loop.time()))
        if self.readyState != "live":
            raise MediaStreamError
        picture = self._pictures[self._number % len(self._pictures)]
        frame = av.VideoFrame.from_numpy_buffer(picture, "yuv420p")
        frame.pts = round(self._number * PTS_RATE / self._fps)
        frame.time_base = Fraction(1, PTS_RATE)
        return frame


class BenchPeer:
    """One viewer: sends, receives, and matches what it receives with what the server says of it."""

    def __init__(self, pictures: list[Pixels], fps: float) -> None:
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._pc.addTrack(Moving(pictures, fps))
        self._channel = self._pc.createDataChannel("control")
        self._channel.on("message", self._on_message)
        self._clock = SystemClock()
        self._opened_at = 0.0
        self._receiving: asyncio.Task[None] | None = None
        self.settled = asyncio.Event()
        """A picture came, or word that none will come soon."""
        self.queued = False
        self.ttff = 0.0
        self.counting = False
        self.stats: dict[str, Any] = {}
        self._drops_before: dict[str, int] = {}
        self._came: dict[int, tuple[float, float]] = {}
        """RTP timestamp: (Unix seconds, monotonic seconds) at which its picture was decoded."""
        self._times: list[float] = []
        self._delays: list[float] = []

    async def connect(self, url: str, load: Load, fps: float) -> str:
        """Empty when the server let it in, otherwise why not."""
        self._opened_at = self._clock.now()
        await self._pc.setLocalDescription(await self._pc.createOffer())
        body = offer_body(self._pc.localDescription.sdp, load, fps)
        try:
            sdp = await asyncio.to_thread(_post, f"{url}api/v1/sessions", body)
        except urllib.error.HTTPError as error:
            return str(json.loads(error.read()).get("error", error))
        await self._pc.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        (receiver,) = self._pc.getReceivers()
        clock = rtc_patches.prepare_receiver(receiver)
        self._receiving = asyncio.ensure_future(self._receive(receiver.track, clock))
        return ""

    def count(self) -> None:
        """Count from here on."""
        self.counting = True
        self._drops_before = dict(self.stats.get("drops", {}))

    def result(self) -> dict[str, Any]:
        """What it saw; only that it waits when it is in the queue to the end."""
        self.counting = False
        if self.queued:
            return {"queued": True}
        now = self.stats.get("drops", {})
        drops = {cause: n - self._drops_before.get(cause, 0) for cause, n in now.items()}
        return {
            "times": self._times,
            "delays": self._delays,
            "ttff": self.ttff,
            "drops": {cause: n for cause, n in drops.items() if n > 0},
            "stats": {
                name: self.stats.get(name)
                for name in ("e2e_ms", "deadline_miss_rate", "superseded_rate", "rung", "device")
            },
        }

    async def close(self) -> None:
        await self._pc.close()
        if self._receiving is not None:
            await self._receiving

    async def _receive(self, track: Any, clock: rtc_patches.ReceiverClock) -> None:
        while True:
            try:
                picture = await track.recv()
            except MediaStreamError:
                return
            now = self._clock.now()
            if not self.ttff:
                self.ttff = now - self._opened_at
                self.settled.set()
            if self.counting and clock.origin is not None:
                self._times.append(now)
                unix = current_ntp_time() / WRAP - rtc_patches.NTP_TO_UNIX
                self._came[(picture.pts + clock.origin) % WRAP] = (unix, now)

    def _on_message(self, text: str) -> None:
        message = json.loads(text)
        if message["type"] == "stats":
            self.stats = message
        elif message["type"] == "event":
            self.queued = message["event"] == "queued"
            if message["event"] in ("queued", "closed"):
                self.settled.set()
        elif message["type"] == "stamps":
            by_browser = message["clock"] == "browser"
            for rtp, ms in message["list"]:
                # A stamp whose picture is not decoded yet is left out, as stamps come in batches
                # twice a second; so is a picture from before the count.
                came = self._came.pop(rtp, None)
                if came is not None:
                    self._delays.append((came[0] if by_browser else came[1]) - ms / 1e3)


def _post(url: str, body: bytes) -> str:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=CONNECT_S) as answer:
        return str(json.loads(answer.read())["sdp"])


async def run(url: str, load: Load, fps: float, warm_up: float) -> list[dict[str, Any]]:
    """All peers: connect one after another, warm up together, count, close.

    Raises:
        TimeoutError: a peer that was let in never got a picture, nor word why.
    """
    pictures = moving_source(load.options.width, load.options.height)
    peers, found = [], []
    for _ in range(load.sessions):
        peer = BenchPeer(pictures, fps)
        reason = await peer.connect(url, load, fps)
        if reason:
            found.append({"rejected": reason})
            await peer.close()
        else:
            peers.append(peer)
    try:
        async with asyncio.timeout(CONNECT_S):
            await asyncio.gather(*(peer.settled.wait() for peer in peers))
        await asyncio.sleep(warm_up)
        for peer in peers:
            peer.count()
        await asyncio.sleep(load.seconds)
        found += [peer.result() for peer in peers]
    finally:
        await asyncio.gather(*(peer.close() for peer in peers))
    return found
