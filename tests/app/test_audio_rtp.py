"""Each change to aiortc for sound: that it works, and that aiortc still needs it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from aiortc import RTCRtpReceiver, RTCRtpSender, sdp
from aiortc.clock import current_ntp_time
from aiortc.codecs import opus
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtcpReceiverInfo, RtcpSenderInfo, RtcpSrPacket, RtpPacket
from hypothesis import given
from hypothesis import strategies as st
from millrace.app.audio_line import BLOCK, RATE
from millrace.app.audio_rtp import (
    BITS,
    ENCODER_DELAY,
    PACKETS_S,
    REORDER_PACKETS,
    OpusEncoder,
    PromptSoundBuffer,
    WallClock,
    prepare_receiver,
    report_by,
    with_stereo,
)
from millrace.streaming.clock import ManualClock


def packet(sequence: int, payload: bytes = b"x") -> RtpPacket:
    made: Any = RtpPacket(payload_type=111, sequence_number=sequence, timestamp=sequence * BLOCK)
    made._data = made.payload = payload
    return made


def arrive(buffer: JitterBuffer, sequences: list[int]) -> list[int]:
    """The packets that come out, in order, as the receiver takes them."""
    out = []
    for sequence in sequences:
        _, frame = buffer.add(packet(sequence))
        while frame is not None:
            out.append(frame.timestamp // BLOCK)
            frame = buffer.pop() if isinstance(buffer, PromptSoundBuffer) else None
    return out


def test_aiortc_still_keeps_sound_back() -> None:
    assert arrive(JitterBuffer(capacity=16, prefetch=4), [0, 1, 2, 3]) == []


def test_sound_comes_out_when_it_is_there() -> None:
    assert arrive(PromptSoundBuffer(), [0, 1, 2]) == [0, 1, 2]


@given(st.permutations(range(1, REORDER_PACKETS)))
def test_sound_comes_out_in_order(rest: list[int]) -> None:
    assert arrive(PromptSoundBuffer(), [0, *rest]) == list(range(REORDER_PACKETS))


@given(st.sets(st.integers(1, 60), max_size=20))
def test_lost_packets_hold_nothing_back_for_long(lost: set[int]) -> None:
    there = [n for n in range(70) if n not in lost]
    buffer, out = PromptSoundBuffer(), []
    for count, sequence in enumerate(there):
        out += arrive(buffer, [sequence])
        assert sum(n not in out for n in there[: count + 1]) < REORDER_PACKETS
    assert out == there


def test_numbers_wrap() -> None:
    sequences = [n % 65536 for n in range(65530, 65545) if n != 65536]
    assert len(arrive(PromptSoundBuffer(), sequences)) == len(sequences)


class Wire:
    """As much of a DTLS transport as a receiver and a sender use."""

    state = "connected"
    _stats_id = "wire"

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def _send_rtp(self, data: bytes) -> None:
        self.sent.append(data)


def test_a_receiver_takes_sound_at_once_in_order_and_not_too_much_of_it() -> None:
    async def main() -> None:
        receiver: Any = RTCRtpReceiver("audio", Wire())  # type: ignore[arg-type]
        clock = ManualClock(10.0)
        stamps = prepare_receiver(receiver, clock)
        codec = SimpleNamespace(name="opus", clockRate=RATE, mimeType="audio/opus")
        receiver._RTCRtpReceiver__codecs[111] = codec
        receiver._RTCRtpReceiver__decoder_thread = object()
        queue = receiver._RTCRtpReceiver__decoder_queue
        for sequence in (7, 9, 8):
            await receiver._handle_rtp_packet(packet(sequence), 0)
        assert [queue.get_nowait()[1].timestamp for _ in range(3)] == [0, BLOCK, 2 * BLOCK]
        await receiver._handle_rtp_packet(packet(10, b""), 0)
        assert queue.empty(), "an empty packet holds no sound"
        for sequence in range(11, 11 + 4 * PACKETS_S):
            await receiver._handle_rtp_packet(packet(sequence), 0)
        assert queue.qsize() < PACKETS_S, "a flood is let go"
        info = RtcpSenderInfo(current_ntp_time(), 7 * BLOCK + RATE, 0, 0)
        at = info.ntp_timestamp / 2**32 - 2_208_988_800
        await receiver._handle_rtcp_packet(RtcpSrPacket(1, info))
        assert stamps.captured(RATE) == pytest.approx(at, abs=1e-6)

    asyncio.run(main())


def reports(packets: list[bytes]) -> list[RtcpSenderInfo]:
    from aiortc.rtp import RtcpPacket

    parsed = [one for data in packets for one in RtcpPacket.parse(data)]
    return [one.sender_info for one in parsed if isinstance(one, RtcpSrPacket)]


def test_reports_tell_one_clock_even_where_stamps_wrap() -> None:
    """Also that aiortc still makes its reports where this expects them."""

    async def main() -> None:
        clock = ManualClock(100.0)
        wall = WallClock(clock, origin=90.0)
        senders: list[Any] = [RTCRtpSender(kind, Wire()) for kind in ("audio", "video")]  # type: ignore[arg-type]
        zeros: list[int | None] = [None, 4_000_000_000]
        for sender, rate, which in zip(senders, (RATE, 90_000), (0, 1), strict=True):
            report_by(sender, wall, lambda which=which: zeros[which], rate)  # type: ignore[misc]

        async def report(sender: Any, rtp: int) -> RtcpSenderInfo:
            info = RtcpSenderInfo(current_ntp_time(), rtp % 2**32, 0, 0)
            await sender._send_rtcp([RtcpSrPacket(sender._ssrc, info)])
            return info

        sound, pictures = senders
        assert (await report(sound, 5)).ntp_timestamp == 0, "no word while the origin is unknown"
        zeros[0] = 4_294_000_000
        begin = wall.ntp(0.0)
        for seconds in (1.0, *range(20, 100_000, 9000)):
            one = await report(sound, 4_294_000_000 + round(seconds * RATE))
            other = await report(pictures, 4_000_000_000 + round(seconds * 90_000))
            assert (one.ntp_timestamp - begin) / 2**32 == pytest.approx(seconds, abs=1e-3)
            assert (other.ntp_timestamp - begin) / 2**32 == pytest.approx(seconds, abs=1e-3)
        # The other side's answers still give the round trip.
        middle = one.ntp_timestamp >> 16 & 0xFFFFFFFF
        assert sound._RTCRtpSender__lsr == middle
        answer = RtcpReceiverInfo(sound._ssrc, 0, 0, 0, 0, middle, 1)
        sound._RTCRtpSender__lsr_time = 0.0
        await sound._handle_rtcp_packet(RtcpSrPacket(1, RtcpSenderInfo(0, 0, 0, 0), [answer]))
        assert sound._RTCRtpSender__rtt is not None

    asyncio.run(main())


def test_the_encoder_stamps_as_told_and_delays_as_stated() -> None:
    encoder, decoder = OpusEncoder(), opus.OpusDecoder()
    click = np.zeros((20 * BLOCK, 2), np.int16)
    click[5000:5400] = (9000 * np.sin(np.arange(400) * 2 * np.pi * 900 / RATE))[:, None]
    out = []
    for n in range(20):
        sent = encoder.encode(click[n * BLOCK : (n + 1) * BLOCK], pts=12_345 + n * BLOCK)
        assert sent.pts == 12_345 + n * BLOCK and 1 < sent.size < BITS // 8 // 10
        received = SimpleNamespace(data=bytes(sent), timestamp=n * BLOCK)
        frames: list[Any] = list(decoder.decode(received))  # type: ignore[arg-type]
        out += [frame.to_ndarray().reshape(-1, 2) for frame in frames]
    heard = np.concatenate(out)[:, 0].astype(float)
    matched = np.correlate(heard[: 12 * BLOCK], click[5000:5400, 0].astype(float), "valid")
    assert abs(int(np.argmax(matched)) - 5000 - ENCODER_DELAY) <= 2


def test_packets_skip_aiortcs_own_encoder() -> None:
    sent = OpusEncoder().encode(np.zeros((BLOCK, 2), np.int16), pts=77)
    assert isinstance(sent, av.Packet)
    payloads, timestamp = opus.OpusEncoder().pack(sent)
    assert payloads == [bytes(sent)] and timestamp == 77


ANSWER = "\r\n".join([
    "v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "m=audio 9 UDP/TLS/RTP/SAVPF 111",
    "c=IN IP4 0.0.0.0", "a=rtpmap:111 opus/48000/2", "a=fmtp:111 minptime=10", "a=sendrecv", "",
])  # fmt: skip


def test_an_answer_asks_for_stereo_once() -> None:
    text = with_stereo(ANSWER)
    (media,) = sdp.SessionDescription.parse(text).media
    assert media.rtp.codecs[0].parameters["stereo"] == 1
    assert text.count("a=fmtp:111") == 1 and with_stereo(text) == text
    silent = ANSWER.replace("opus", "PCMU")
    assert with_stereo(silent) == silent
