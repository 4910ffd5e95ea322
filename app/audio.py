"""One viewer's sound: taken from the browser, held back as long as the pictures, given back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import av
import numpy as np
from aiortc import RTCPeerConnection, RTCRtpSender
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from ..streaming.clock import Clock
from .audio_line import RATE, Samples
from .audio_playout import Block, Playout, Wait
from .audio_rtp import (
    ENCODER_DELAY,
    OPUS,
    OpusEncoder,
    WallClock,
    prepare_receiver,
    report_by,
)
from .audio_sync import Sync
from .offers import only_codec
from .rtc_patches import RTP_RATE, ReceiverClock, packets_sent, sent_origin
from .tracks import Sent


class Ear(Protocol):
    """Who else takes the sound as it came."""

    def hear(self, at: float, samples: Samples) -> None:
        """Args:
        at: seconds on the pictures' time line of the first sample.
        samples: int16 [n, 2].
        """
        ...

    def stats(self) -> Mapping[str, Any]: ...

    def close(self) -> None: ...


class OutSound(MediaStreamTrack):
    """The sound that goes back to the browser, each block when it is its time."""

    kind = "audio"

    def __init__(self, clock: Clock, playout: Playout) -> None:
        super().__init__()
        self._clock = clock
        self._playout = playout
        self._encoder = OpusEncoder()
        self._news = asyncio.Event()
        self._last: int | None = None
        self.on_turn: Callable[[int | None], None] = lambda last: None
        """Called before each block with the stamp of the one that was sent."""

    def wake(self) -> None:
        """Something came."""
        self._news.set()

    async def recv(self) -> av.Packet:
        self.on_turn(self._last)
        block = await self._next()
        self._last = block.pts
        return self._encoder.encode(block.samples, block.pts)

    async def _next(self) -> Block:
        """The next block at its time.

        Raises:
            MediaStreamError: the track was stopped.
        """
        while self.readyState == "live":
            now = self._clock.now()
            decision = self._playout.decide(now)
            if isinstance(decision, Block):
                return decision
            await self._wait(decision, now)
        raise MediaStreamError

    async def _wait(self, wait: Wait, now: float) -> None:
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            seconds = None if wait.until is None else max(wait.until - now, 0.0)
            async with asyncio.timeout(seconds):
                await self._news.wait()

    def stop(self) -> None:
        super().stop()
        self._news.set()


class Sound:
    """The way of the sound through one peer. All methods run on the WebRTC loop.

    Args:
        clock: as everywhere.
        origin: monotonic seconds of stamp 0, of the pictures and so of the sound.
    """

    def __init__(self, clock: Clock, origin: float) -> None:
        self.paused = False
        self._ear: Ear | None = None
        self.sync = Sync()
        self._clock = clock
        self._origin = origin
        self._playout = Playout(origin, ENCODER_DELAY)
        self.track = OutSound(clock, self._playout)
        self._wall = WallClock(clock, origin)
        self._stamps = ReceiverClock(rate=RATE)
        self._pictures = ReceiverClock()
        self._rtp_origin: int | None = None
        self._transceiver: Any = None
        self._came = 0

    def join(self, pc: RTCPeerConnection, video: RTCRtpSender, pictures: ReceiverClock) -> None:
        """Add the sound beside a picture; call before the offer is taken.

        Args:
            pictures: relates their stamps to the source's clock.
        """
        self._pictures = pictures
        self._transceiver = pc.addTransceiver(self.track, direction="sendrecv")
        only_codec(self._transceiver, OPUS)
        sender = self._transceiver.sender
        # Browsers play in step what belongs to one stream.
        sender._stream_id = video._stream_id
        self._stamps = prepare_receiver(self._transceiver.receiver, self._clock)
        report_by(sender, self._wall, lambda: self._rtp_origin, RATE)
        self.track.on_turn = self._learn_origin

    def with_pictures(self, video: RTCRtpSender, origin: Callable[[], int | None]) -> None:
        """Let the picture's reports tell the same clock."""
        report_by(video, self._wall, origin, RTP_RATE)

    def heard_by(self, ear: Ear) -> None:
        """Let another hear it, too."""
        self._ear = ear

    def shown(self, sent: Sent) -> None:
        """A picture left."""
        if not sent.output.repeated:
            frame = sent.output.frame
            left = self._origin + sent.pts / RTP_RATE
            self.sync.of_pictures.say(zero_of(self._pictures, frame.pts), left)
            self.sync.picture(frame.pts / RTP_RATE, frame.captured_at, left)
            self._aim()

    async def run(self) -> None:
        """Take what comes for as long as the track lives; nothing where the offer only listens."""
        track: Any = self._transceiver.receiver.track
        while track is not None:
            try:
                frame: av.AudioFrame = await track.recv()
            except MediaStreamError:
                return
            if not self.paused:
                self._take(int(frame.pts or 0), as_samples(frame))

    def _take(self, pts: int, samples: Samples) -> None:
        now = self._clock.now()
        self._came += len(samples)
        self.sync.of_sound.say(zero_of(self._stamps, pts), now)
        self.sync.sound((pts + len(samples)) / RATE, now)
        self._aim()
        self._playout.put(pts, samples, now)
        self.track.wake()
        zero = self.sync.arrival()
        if zero is not None and self._ear is not None:
            self._ear.hear(zero + pts / RATE, samples)

    def _aim(self) -> None:
        shift = self.sync.shift()
        if shift is not None:
            self._playout.aim(shift)

    def _learn_origin(self, last: int | None) -> None:
        """aiortc adds a random origin to our stamps; what was sent gives it away."""
        if self._rtp_origin is None and last is not None and packets_sent(self._transceiver.sender):
            self._rtp_origin = sent_origin(self._transceiver.sender, last)

    def stats(self) -> Mapping[str, Any]:
        """For the page: `sound`, and `speech` where it is heard."""
        speech = {"speech": self._ear.stats()} if self._ear else {}
        return {"sound": self._numbers(), **speech}

    def close(self) -> None:
        self.track.stop()
        if self._ear is not None:
            self._ear.close()

    def _numbers(self) -> Mapping[str, Any]:
        """Milliseconds of sound that came, and what was done to it."""
        tally, line, error = self._playout.tally, self._playout.line, self._playout.error
        delay = self.sync.delay
        return {
            "received_ms": _ms(self._came),
            "sent": tally.blocks,
            "delay_ms": None if delay is None else round(1000 * delay, 1),
            "off_ms": None if error is None else _ms(error),
            "waiting_ms": _ms(line.end - line.start),
            "cut_out_ms": _ms(tally.cut_out),
            "put_in_ms": _ms(tally.put_in),
            "jumps": tally.jumps,
            "silent_ms": _ms(tally.silent),
            "drops": {
                "overflow": _ms(line.dropped),
                "late": _ms(tally.late),
                "lost": _ms(line.lost),
            },
        }


def zero_of(clock: ReceiverClock, pts: int) -> float | None:
    """When stamp 0 was captured, by the last report, told from a stamp of today: RTP timestamps do
    not reach back over more than 6 hours of pictures."""
    captured = clock.captured(pts)
    return None if captured is None else captured - pts / clock.rate


def as_samples(frame: av.AudioFrame) -> Samples:
    """Decoded sound as int16 [n, 2]."""
    assert frame.format.name == "s16" and frame.layout.nb_channels == 2, "aiortc decodes so"
    return np.asarray(frame.to_ndarray(), np.int16).reshape(-1, 2)


def _ms(samples: int) -> float:
    return round(1000 * samples / RATE, 1)
