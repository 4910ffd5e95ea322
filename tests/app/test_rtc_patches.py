"""Each change to aiortc: that it works, and that aiortc still needs it."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from aiortc import RTCRtpReceiver, RTCRtpSender, rtcrtpreceiver, sdp
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtcpReceiverInfo, RtcpRrPacket, RtcpSenderInfo, RtcpSrPacket, RtpPacket
from hypothesis import given
from hypothesis import strategies as st
from millrace.app.rtc_patches import (
    NTP_TO_UNIX,
    PromptJitterBuffer,
    ReceiverClock,
    Recovery,
    packets_sent,
    prepare_receiver,
    with_start_bitrate,
)


def packet(sequence: int, timestamp: int, marker: bool = False) -> RtpPacket:
    made: Any = RtpPacket(sequence_number=sequence, timestamp=timestamp, marker=int(marker))
    made._data = bytes([sequence % 256])
    return made


STREAM = [packet(0, 0), packet(1, 0, True), packet(2, 3000, True), packet(3, 6000, True)]


def frames_of(buffer: PromptJitterBuffer, packets: list[RtpPacket]) -> list[tuple[int, bytes]]:
    """All frames that come out, as the receiver takes them."""
    found = []
    for arriving in packets:
        _, frame = buffer.add(arriving)
        while frame is not None:
            found.append((frame.timestamp, frame.data))
            frame = buffer.pop_marked()
    return found


WHOLE = [(0, b"\x00\x01"), (3000, b"\x02"), (6000, b"\x03")]


def test_aiortc_still_waits_for_the_next_frame() -> None:
    buffer = JitterBuffer(capacity=128, is_video=True)
    assert [buffer.add(p)[1] for p in STREAM[:2]] == [None, None]


def test_a_frame_leaves_with_its_marker() -> None:
    assert frames_of(PromptJitterBuffer(), STREAM) == WHOLE


@given(st.permutations(STREAM[1:]))
def test_order_of_arrival_changes_nothing(rest: list[RtpPacket]) -> None:
    assert frames_of(PromptJitterBuffer(), [STREAM[0], *rest]) == WHOLE


def test_a_hole_holds_back_what_follows_and_no_more() -> None:
    buffer = PromptJitterBuffer()
    assert frames_of(buffer, [STREAM[0], STREAM[2], STREAM[3]]) == []
    assert frames_of(buffer, [STREAM[1]]) == WHOLE


def test_a_lost_packet_does_not_stop_the_stream_for_long() -> None:
    buffer = PromptJitterBuffer(capacity=16)
    packets = [packet(n, n * 3000, True) for n in range(40) if n != 3]
    found = [timestamp for timestamp, _ in frames_of(buffer, packets)]
    assert found[:3] == [0, 3000, 6000] and found[-1] == 39 * 3000


def test_after_a_gap_the_next_whole_frame_comes() -> None:
    buffer = PromptJitterBuffer()
    assert frames_of(buffer, [STREAM[0], STREAM[2]]) == []
    assert buffer.has_gap() and buffer.skip_gap()
    assert not buffer.has_gap() and not buffer.skip_gap()
    assert frames_of(buffer, [STREAM[3]]) == WHOLE[2:]
    assert frames_of(buffer, [STREAM[1]]) == [], "too late"


def test_without_a_frame_behind_the_gap_there_is_nothing_to_skip_to() -> None:
    buffer = PromptJitterBuffer()
    frames_of(buffer, [packet(0, 0), packet(2, 3000)])
    assert buffer.has_gap() and not buffer.skip_gap()


def test_missing_packets_are_asked_for_again_and_given_up_in_time() -> None:
    recovery = Recovery()
    decisions = {ms: recovery.decide(True, ms) for ms in range(1000, 1400, 10)}
    assert [ms for ms, d in decisions.items() if d == "ask"] == [1080, 1160, 1240, 1320]
    assert next(ms for ms, d in decisions.items() if d == "give up") == 1350
    assert recovery.decide(False, 1400) == "go on"
    assert recovery.decide(True, 1410) == "go on", "a new gap starts anew"


def test_aiortc_still_asks_only_once() -> None:
    source = inspect.getsource(rtcrtpreceiver.RTCRtpReceiver)
    assert source.count("_send_rtcp_nack(") == 2, "one definition, one call"


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(-90_000, 900_000), max_size=30))
def test_stamps_count_on_over_the_wrap(origin: int, steps: list[int]) -> None:
    clock = ReceiverClock()
    true = 0
    assert clock.map(origin) == 0
    for step in steps:
        true += step
        assert clock.map((origin + true) % 2**32) == true


def report(unix: float, rtp: int) -> RtcpSrPacket:
    ntp = int((unix + NTP_TO_UNIX) * 2**32)
    return RtcpSrPacket(1, RtcpSenderInfo(ntp, rtp % 2**32, 0, 0))


@given(st.integers(0, 2**32 - 1), st.integers(-450_000, 450_000))
def test_a_sender_report_dates_every_frame(origin: int, between: int) -> None:
    clock = ReceiverClock()
    clock.map(origin)
    assert clock.captured(0) is None
    clock.on_report(report(1_700_000_000.0, origin + between))
    assert clock.captured(90_000) == pytest.approx(1_700_000_001.0 - between / 90_000, abs=1e-4)


def test_other_reports_say_nothing() -> None:
    clock = ReceiverClock()
    clock.map(5)
    clock.on_report(RtcpRrPacket(1, [RtcpReceiverInfo(1, 0, 0, 0, 0, 0, 0)]))
    clock.on_report(RtcpSrPacket(1, RtcpSenderInfo(0, 0, 0, 0)))
    assert clock.captured(0) is None


PRIVATE = ("jitter_buffer", "timestamp_mapper", "codecs", "decoder_queue", "nack_generator")


def test_the_private_parts_are_where_they_were() -> None:
    transport: Any = SimpleNamespace(state="new")

    async def check() -> None:
        receiver: Any = RTCRtpReceiver("video", transport)
        for name in PRIVATE:
            assert hasattr(receiver, f"_RTCRtpReceiver__{name}"), name
        clock = prepare_receiver(receiver)
        assert receiver._RTCRtpReceiver__timestamp_mapper is clock
        sender: Any = RTCRtpSender("video", transport)
        assert packets_sent(sender) == 0
        for name in ("rtp_timestamp", "encoder"):
            assert hasattr(sender, f"_RTCRtpSender__{name}"), name

    asyncio.run(check())


ANSWER = "\r\n".join(
    (
        "v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "m=video 9 UDP/TLS/RTP/SAVPF 97 98 99",
        "c=IN IP4 0.0.0.0", "a=mid:0", "a=sendrecv", "a=rtpmap:97 VP8/90000",
        "a=rtpmap:98 rtx/90000", "a=fmtp:98 apt=97", "a=rtpmap:99 H264/90000",
        "a=fmtp:99 packetization-mode=1;profile-level-id=42e01f", "",
    )
)  # fmt: skip


def test_the_answer_names_a_bitrate_for_each_codec_and_no_other_format() -> None:
    described = sdp.SessionDescription.parse(with_start_bitrate(ANSWER, 2_000_000))
    by_name = {codec.name: codec.parameters for codec in described.media[0].rtp.codecs}
    for name in ("VP8", "H264"):
        assert by_name[name]["x-google-start-bitrate"] == "2000"
        assert by_name[name]["x-google-max-bitrate"] == "4000"
    assert by_name["H264"]["packetization-mode"] == "1"
    assert by_name["rtx"] == {"apt": 97}
