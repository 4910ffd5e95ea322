"""What aiortc 1.16 lacks for sound that shall go with pictures, each under a name of its own.

Like `rtc_patches.py` this reaches into private parts of aiortc; `tests/app/test_audio_rtp.py` fails
when an upgrade moves those parts or makes a change unnecessary.

- `PromptSoundBuffer`: sound leaves when its packet is there; aiortc keeps four packets back.
- `report_by`: sender reports that tell one common clock for sound and pictures.
- `OpusEncoder`: Opus for speech and music alike, with stamps of ours.
- `with_stereo`: the browser sends stereo, in the quality that it has.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
from aiortc import RTCRtpReceiver, RTCRtpSender
from aiortc.clock import current_ntp_time
from aiortc.jitterbuffer import MAX_MISORDER, JitterBuffer, JitterFrame
from aiortc.rtp import AnyRtcpPacket, RtcpSrPacket, RtpPacket

from ..streaming.clock import Clock
from .audio_line import BLOCK, RATE, Samples
from .manners import Rated
from .rtc_patches import ReceiverClock, ingest

REORDER_PACKETS = 4
"""Packets that may come before a missing one until it is given up: 80 ms."""
PACKETS_S = 200
"""Most packets a second that are taken: pieces of 5 ms."""
BITS = 96_000
"""Opus bits per second: good stereo music."""
ENCODER_DELAY = 312
"""Samples by which libopus delays what it encodes (its look-ahead, 6.5 ms)."""
OPUS = "opus/48000"


class PromptSoundBuffer(JitterBuffer):
    """Gives each packet out when those before it are there; a few later ones end the wait."""

    def __init__(self) -> None:
        super().__init__(capacity=REORDER_PACKETS)
        self._next: int | None = None
        self._held: dict[int, Any] = {}
        """Packets from `_next` on, by how many places after it they are due."""
        self._ready: deque[JitterFrame] = deque()

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        ahead = 0 if self._next is None else _signed16(packet.sequence_number - self._next)
        if self._next is None or abs(ahead) > MAX_MISORDER:
            self._go_on(max(self._held, default=-1) + 1)
            self._next, ahead = packet.sequence_number, 0
        if ahead >= 0:
            self._held[ahead] = packet
            self._go_on(max(0, ahead - REORDER_PACKETS + 1))
        return False, self.pop()

    def pop(self) -> JitterFrame | None:
        """The next packet that may go."""
        return self._ready.popleft() if self._ready else None

    def _go_on(self, least: int) -> None:
        """Move on by `least` places, whatever is missing, and by all after them that are there."""
        if max(self._held, default=0) >= REORDER_PACKETS - 1:
            least = max(least, min(self._held))
        done = 0
        while done < least or done in self._held:
            packet = self._held.pop(done, None)
            if packet is not None:
                self._ready.append(JitterFrame(data=packet._data, timestamp=packet.timestamp))
            done += 1
        self._held = {ahead - done: packet for ahead, packet in self._held.items()}
        self._next = ((self._next or 0) + done) % (1 << 16)


def _signed16(value: int) -> int:
    return (value + (1 << 15)) % (1 << 16) - (1 << 15)


def prepare_receiver(receiver: RTCRtpReceiver, clock: Clock) -> ReceiverClock:
    """Install prompt ingest and capture clock; call before the connection starts."""
    stamps = ReceiverClock(rate=RATE)
    buffer = PromptSoundBuffer()
    private: Any = receiver
    codecs: dict[int, Any] = private._RTCRtpReceiver__codecs
    handle_rtp = receiver._handle_rtp_packet
    rated = Rated(PACKETS_S)

    async def on_rtp(packet: RtpPacket, arrival_time_ms: int) -> None:
        # An empty packet holds no sound, and the decoder would complain of it.
        if not packet.payload or not rated.takes(clock.now()):
            return
        await handle_rtp(packet, arrival_time_ms)
        # A late packet may complete several, of which aiortc takes one.
        while (frame := buffer.pop()) is not None:
            codec = codecs.get(packet.payload_type)
            if codec is not None:
                frame.timestamp = stamps.map(frame.timestamp)
                private._RTCRtpReceiver__decoder_queue.put((codec, frame))

    ingest(receiver, buffer, stamps, on_rtp)
    return stamps


class WallClock:
    """NTP time of our stamps, which count from `origin`; one for all tracks of a peer."""

    def __init__(self, clock: Clock, origin: float) -> None:
        self._at_zero = current_ntp_time() / (1 << 32) - (clock.now() - origin)

    def ntp(self, seconds: float) -> int:
        """64-bit NTP time, so many seconds after the origin."""
        return round((self._at_zero + seconds) * (1 << 32))


def report_by(
    sender: RTCRtpSender, wall: WallClock, origin: Callable[[], int | None], rate: int
) -> None:
    """Make a sender's reports say when its stamps are meant to be shown or heard.

    aiortc pairs a packet's RTP timestamp with the time at which the packet had been encoded and
    sent, which varies, and differently for sound and pictures; a browser takes that for a lag
    between the two (RFC 3550 section 6.4.1 asks for the same instant on both clocks).

    Args:
        origin: gives RTP timestamp minus stamp, or None while that is unknown.
        rate: RTP clock of the track.
    """
    private: Any = sender
    send = sender._send_rtcp
    unwrapped = ReceiverClock(rate=rate)

    async def common(packets: list[AnyRtcpPacket]) -> None:
        zero = origin()
        for packet in packets:
            if not isinstance(packet, RtcpSrPacket):
                continue
            info = packet.sender_info
            if zero is None:
                info.ntp_timestamp = 0  # no statement is better than a wrong one
                continue
            if unwrapped.origin is None:
                unwrapped.map(zero)
            info.ntp_timestamp = wall.ntp(unwrapped.map(info.rtp_timestamp) / rate)
            # aiortc knows the answers to its reports, and the round trip, by this.
            private._RTCRtpSender__lsr = info.ntp_timestamp >> 16 & 0xFFFFFFFF
        await send(packets)

    sender._send_rtcp = common  # type: ignore[method-assign]


class OpusEncoder:
    """Encodes blocks of 20 ms."""

    def __init__(self) -> None:
        codec: Any = av.CodecContext.create("libopus", "w")
        codec.bit_rate = BITS
        codec.format, codec.layout, codec.sample_rate = "s16", "stereo", RATE
        codec.time_base = Fraction(1, RATE)
        codec.options = {"application": "audio"}
        self._codec = codec
        self._count = 0

    def encode(self, samples: Samples, pts: int) -> av.Packet:
        """One packet with our stamp.

        Args:
            samples: int16 [BLOCK, 2].
        """
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "s16", "stereo")
        frame.sample_rate, frame.pts = RATE, self._count
        frame.time_base = Fraction(1, RATE)
        self._count += BLOCK
        (packet,) = self._codec.encode(frame)
        packet.pts = packet.dts = pts
        packet.time_base = Fraction(1, RATE)
        return packet


_OPUS = re.compile(r"^a=rtpmap:(\d+) opus/48000/2\r?$", re.IGNORECASE | re.MULTILINE)


def with_stereo(sdp: str) -> str:
    """An answer that asks for stereo; without it browsers mix music down to mono speech
    (RFC 7587 section 6.1)."""
    mapped = _OPUS.search(sdp)
    if mapped is None:
        return sdp
    number = mapped[1]
    wish = f"stereo=1;sprop-stereo=1;maxaveragebitrate={BITS};useinbandfec=1"
    kept = [line for line in sdp.split("\r\n") if not line.startswith(f"a=fmtp:{number} ")]
    at = next(i for i, line in enumerate(kept) if line.startswith(f"a=rtpmap:{number} "))
    return "\r\n".join([*kept[: at + 1], f"a=fmtp:{number} {wish}", *kept[at + 1 :]])
