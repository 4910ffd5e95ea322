"""Capture-to-display latency, measured on the browser's own clock.

A picture carries no clock through a video codec, so the latency that a viewer sees is put together
from three facts, none of which needs synchronised clocks:

1. Chrome's RTP timestamps are capture times on its RTP clock, and its sender reports relate that
   clock to its wall clock (`ReceiverClock`). So the server knows, for each picture, the wall time
   *of the browser* at which its source was captured.
2. The picture that the engine made of it leaves with an RTP timestamp of ours. The server sends
   pairs (RTP timestamp, capture time) over the data channel in small batches.
3. `requestVideoFrameCallback` gives the page the RTP timestamp and the presentation time of every
   picture that it shows, on the same browser's clock. Presentation minus capture is the latency.

It holds camera-to-screen in full but for the camera's exposure before Chrome stamps the picture and
the scan-out of the screen. Before the first sender report (about a second), and for clients that
send none, the time of arrival at the server stands in; the page turns it into its own clock with
the offset that it learns from ping and pong, and adds half the round trip.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from aiortc import RTCRtpSender

from .rtc_patches import ReceiverClock, packets_sent, sent_origin
from .tracks import Sent, capture_ms

BATCH = 256
"""Most pairs kept between two batches (oldest dropped); 8 s at 30 frames a second."""


class Stamps:
    """Collects the stamps of sent pictures until the next batch goes to the page."""

    def __init__(self, clock: ReceiverClock, sender: RTCRtpSender) -> None:
        self._clock = clock
        self._sender = sender
        self._origin: int | None = None
        self._waiting: deque[tuple[int, float, str]] = deque(maxlen=BATCH)
        self._delays: deque[float] = deque(maxlen=128)
        self._epoch = 0

    def note(self, sent: Sent, now: float) -> int | None:
        """Record one picture. Returns the epoch if this is the first picture made with it.

        aiortc adds a random origin to our stamps and shows it nowhere; by the time that the second
        picture is asked for, the first one's RTP timestamp is known and gives it away.
        """
        if self._origin is None and sent.before >= 0 and packets_sent(self._sender):
            self._origin = sent_origin(self._sender, sent.before)
        ms, clock = capture_ms(self._clock, sent.output.frame)
        self._waiting.append((sent.pts, ms, clock))
        self._delays.append(now - sent.output.finished_at)
        if sent.output.epoch > self._epoch:
            self._epoch = sent.output.epoch
            return self._epoch
        return None

    @property
    def origin(self) -> int | None:
        """RTP timestamp minus stamp; None while it is unknown."""
        return self._origin

    def rtp(self, pts: int) -> int | None:
        """RTP timestamp with which a picture of ours went out; None while it is unknown."""
        return None if self._origin is None else (self._origin + pts) % (1 << 32)

    def batches(self) -> Iterator[tuple[str, list[tuple[int, float]]]]:
        """What is new since the last call: for each clock, pairs of RTP timestamp and ms."""
        if self._origin is None:
            return
        for name in ("browser", "server"):
            pairs = [
                ((self._origin + pts) % (1 << 32), round(ms, 1))
                for pts, ms, clock in self._waiting
                if clock == name
            ]
            if pairs:
                yield name, pairs
        self._waiting.clear()

    def send_ms(self) -> float:
        """Mean milliseconds from the end of the engine's work to the encoder."""
        return round(1000 * sum(self._delays) / len(self._delays), 2) if self._delays else 0.0
