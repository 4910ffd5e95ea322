"""What aiortc 1.16 lacks for live video, each under a name of its own.

Every change here reaches into private parts of aiortc. `tests/app/test_rtc_patches.py` has a test
for each that fails when an upgrade moves those parts or makes the change unnecessary.

- `PromptJitterBuffer`: a frame leaves on its marker bit instead of on the first packet of the next
  frame, which saves one frame interval (RFC 3550 section 5.1: the marker ends a video frame).
- `Recovery`: lost packets are asked for again, and given up in time, with a key frame asked for.
- `ReceiverClock`: which wall time of the sender a received frame was captured at.
- `limit_gathering`: a STUN server that does not answer holds nobody up.
- `sent_origin`: which RTP timestamp a sent frame carried.
- `count_reports`: whether the other side still receives what it is sent.
- `with_start_bitrate`: the browser starts sending at full quality.

The encoders are in `encoders.py`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCRtpSender
from aiortc.codecs import is_rtx
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import AnyRtcpPacket, RtcpRrPacket, RtcpSrPacket, RtpPacket

RTP_RATE = 90_000
"""RTP clock of every video payload (RFC 3551 section 5)."""
NTP_TO_UNIX = 2_208_988_800
"""Seconds from the NTP epoch (1900) to the Unix epoch (1970)."""
JITTER_PACKETS = 128
"""Packets to wait for a lost one before moving on; aiortc's 512 freeze the picture for seconds."""


class PromptJitterBuffer(JitterBuffer):
    """Gives a frame out as soon as its last packet (the one with the marker bit) is there."""

    def __init__(self, capacity: int = JITTER_PACKETS) -> None:
        super().__init__(capacity=capacity, is_video=True)

    def _remove_frame(self, sequence_number: int) -> JitterFrame | None:
        return super()._remove_frame(sequence_number) or self.pop_marked()

    def pop_marked(self) -> JitterFrame | None:
        """The oldest frame if all its packets up to the marker are there."""
        packets: list[Any] = []
        for count in range(self.capacity):
            packet = self._at(count)
            if packet is None:
                return None
            packets.append(packet)
            if packet.marker:
                self.remove(len(packets))
                data = b"".join(p._data for p in packets)
                return JitterFrame(data=data, timestamp=packets[0].timestamp)
        return None

    def has_gap(self) -> bool:
        """Whether a packet is missing before one that is there."""
        return self._after_gap() is not None

    def skip_gap(self) -> bool:
        """Give up the frames that the oldest gap touches. Returns whether the next one has begun;
        until then there is nothing to go on with."""
        at = self._after_gap()
        if at is None:
            return False
        for count in range(at, self.capacity - 1):
            packet = self._at(count)
            if packet is not None and packet.marker:
                self.remove(count + 1)
                return True
        return False

    def _after_gap(self) -> int | None:
        """Offset of the first packet behind a missing one."""
        missing = False
        for count in range(self.capacity):
            if self._at(count) is None:
                missing = True
            elif missing:
                return count
        return None

    def _at(self, count: int) -> RtpPacket | None:
        """The packet that many places behind the oldest."""
        return self._packets[((self._origin or 0) + count) % self.capacity]


@dataclass(slots=True)
class Recovery:
    """When to ask again for missing packets, and when to go on without them. Pure: aiortc asks once
    and then waits until its buffer is full, which is seconds of a frozen picture.

    Asking costs one small packet, so it is repeated about once a round trip; the time to give up
    lies where a viewer would rather see a blemish than a halt.
    """

    ask_every_ms: int = 80
    give_up_ms: int = 350
    since: int | None = None
    asked: int = 0

    def decide(self, gap: bool, now_ms: int) -> Literal["go on", "ask", "give up"]:
        if not gap:
            self.since = None
            return "go on"
        if self.since is None:
            self.since = self.asked = now_ms  # aiortc asks by itself the first time
        elif now_ms - self.since >= self.give_up_ms:
            return "give up"
        elif now_ms - self.asked >= self.ask_every_ms:
            self.asked = now_ms
            return "ask"
        return "go on"


@dataclass(slots=True)
class ReceiverClock:
    """Relates the presentation stamps of received frames to the sender's wall clock.

    A sender report (RFC 3550 section 6.4.1) names one instant in both the sender's NTP time and its
    RTP clock. Chrome derives RTP timestamps from capture times, so the report turns the timestamp
    of a frame into the wall time at which the browser captured it, on the browser's own clock.
    Stands in for aiortc's TimestampMapper, which does the same unwrapping but hides its origin.
    """

    origin: int | None = None
    last: int = 0
    report: tuple[float, int] | None = None
    """Unix seconds on the sender's clock, and the RTP timestamp of the same instant."""
    rate: int = RTP_RATE
    """RTP clock of the payload."""

    def map(self, timestamp: int) -> int:
        """Presentation stamp of an RTP timestamp: unwrapped, from 0 (aiortc calls this)."""
        if self.origin is None:
            self.origin = timestamp
            self.last = timestamp
        step = _signed32(timestamp - self.last)
        self.last += step
        return self.last - self.origin

    def on_report(self, packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpSrPacket) and packet.sender_info.ntp_timestamp:
            seconds = packet.sender_info.ntp_timestamp / (1 << 32) - NTP_TO_UNIX
            self.report = (seconds, packet.sender_info.rtp_timestamp)

    def captured(self, pts: int) -> float | None:
        """Unix seconds on the sender's clock at which a frame was captured; None before the first
        sender report."""
        if self.report is None or self.origin is None:
            return None
        seconds, rtp = self.report
        return seconds + _signed32(pts + self.origin - rtp) / self.rate


def _signed32(value: int) -> int:
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


OnPacket = Callable[[RtpPacket, int], Coroutine[Any, Any, None]]


def ingest(
    receiver: RTCRtpReceiver, buffer: JitterBuffer, clock: ReceiverClock, on_rtp: OnPacket
) -> None:
    """Put a buffer, a clock and a way to take packets in the place of a receiver's own; call before
    the connection starts."""
    private: Any = receiver
    handle_rtcp = receiver._handle_rtcp_packet

    async def on_rtcp(packet: AnyRtcpPacket) -> None:
        clock.on_report(packet)
        await handle_rtcp(packet)

    private._RTCRtpReceiver__jitter_buffer = buffer
    private._RTCRtpReceiver__timestamp_mapper = clock
    private._handle_rtp_packet = on_rtp
    private._handle_rtcp_packet = on_rtcp


def prepare_receiver(receiver: RTCRtpReceiver) -> ReceiverClock:
    """Install marker-bit ingest and capture clock; call before the connection starts."""
    clock = ReceiverClock()
    buffer = PromptJitterBuffer()
    private: Any = receiver
    codecs: dict[int, RTCRtpCodecParameters] = private._RTCRtpReceiver__codecs
    handle_rtp = receiver._handle_rtp_packet
    recovery = Recovery()

    async def on_rtp(packet: RtpPacket, arrival_time_ms: int) -> None:
        await handle_rtp(packet, arrival_time_ms)
        missing: set[int] = private._RTCRtpReceiver__nack_generator.missing
        match recovery.decide(buffer.has_gap(), arrival_time_ms):
            case "ask" if missing:
                await private._send_rtcp_nack(packet.ssrc, sorted(missing))
            case "give up" if buffer.skip_gap():
                recovery.since = None
                missing.clear()
                await private._send_rtcp_pli(packet.ssrc)
        # A late packet may complete several frames at once, of which aiortc takes one.
        while (frame := buffer.pop_marked()) is not None:
            codec = codecs.get(packet.payload_type)
            if codec is not None and is_rtx(codec):
                codec = codecs.get(int(codec.parameters["apt"] or 0))
            if codec is not None:
                frame.timestamp = clock.map(frame.timestamp)
                private._RTCRtpReceiver__decoder_queue.put((codec, frame))

    ingest(receiver, buffer, clock, on_rtp)
    return clock


def limit_gathering(pc: RTCPeerConnection, seconds: float) -> None:
    """Let STUN and TURN servers hold the answer back no longer than this (aioice waits 5 s for one
    that never answers); call between the remote and the local description."""
    private: Any = pc
    for transport in private._RTCPeerConnection__iceTransports:
        connection = transport.iceGatherer._connection
        connection.get_component_candidates = functools.partial(
            connection.get_component_candidates, timeout=seconds
        )


def sent_origin(sender: RTCRtpSender, pts: int) -> int:
    """The random offset between our stamps and the sender's RTP timestamps, when the last frame
    sent had this `pts` (in 1/90000 s)."""
    private: Any = sender
    return (int(private._RTCRtpSender__rtp_timestamp) - pts) % (1 << 32)


def packets_sent(sender: RTCRtpSender) -> int:
    """How many packets of this sender have left."""
    private: Any = sender
    return int(private._RTCRtpSender__packet_count)


_RTPMAP = re.compile(r"^a=rtpmap:(\d+) (VP8|H264)/90000$", re.IGNORECASE)


def count_reports(sender: RTCRtpSender) -> Callable[[], int]:
    """Counts the other side's reports on what it receives; aiortc keeps only the last one, without
    a monotonic time. Returns what tells the count."""
    handle = sender._handle_rtcp_packet
    count = 0

    async def counted(packet: AnyRtcpPacket) -> None:
        nonlocal count
        if isinstance(packet, (RtcpRrPacket, RtcpSrPacket)):
            count += any(report.ssrc == sender._ssrc for report in packet.reports)
        await handle(packet)

    sender._handle_rtcp_packet = counted  # type: ignore[method-assign]
    return lambda: count


def with_start_bitrate(sdp: str, bitrate: int) -> str:
    """An answer that tells Chrome with which bitrate to begin.

    Chrome starts at 0.3 Mbit/s and, with the only feedback that aiortc gives (REMB), takes 25 s to
    reach 1.3, scaling the picture down meanwhile (measured). It reads these three parameters from
    the format line of each codec; other browsers ignore them.
    """
    kilobits = max(bitrate // 1000, 1)
    extra = ";".join(
        f"x-google-{name}-bitrate={value}"
        for name, value in (("min", kilobits), ("start", kilobits), ("max", kilobits * 2))
    )
    lines = sdp.split("\r\n")
    formats = {m[1] for line in lines if (m := _RTPMAP.match(line))}
    result = []
    for line in lines:
        head = line.split(" ", 1)[0]
        if head.startswith("a=fmtp:") and head.removeprefix("a=fmtp:") in formats:
            line = f"{line};{extra}"
        result.append(line)
        mapped = _RTPMAP.match(line)
        if mapped and not any(other.startswith(f"a=fmtp:{mapped[1]} ") for other in lines):
            result.append(f"a=fmtp:{mapped[1]} {extra}")
    return "\r\n".join(result)
