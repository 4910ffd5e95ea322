"""Encoder settings for a live, generated picture.

aiortc 1.16 fixes its encoders' settings and the bounds of their bitrate in the code, so these two
classes open the codec themselves and leave packets and timing to aiortc. They reach into private
parts of it; `tests/app/test_encoders.py` fails when an upgrade moves those or makes this file
unnecessary.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from aiortc import RTCRtpSender
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder, number_of_threads
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

RTP_RATE = 90_000
"""RTP clock of every video payload (RFC 3551 section 5)."""
STAMPS = Fraction(1, RTP_RATE)
"""Time base of the encoders. PyAV rounds a frame's stamp to it in place before aiortc reads the RTP
timestamp off the frame; with any other base the stamps that the page gets would miss by one."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How an encoder spends bits: bits per second within bounds, and the expected frame rate.

    Equal bounds pin the rate. aiortc builds a new encoder, and so sends a large key frame, each
    time the receiver's estimate moves by a tenth; pinned, it does so once.
    """

    low: int
    start: int
    high: int
    fps: float

    @staticmethod
    def around(bits: int, fps: float, pinned: bool) -> Rate:
        return Rate(bits, bits, bits, fps) if pinned else Rate(bits // 4, bits, bits * 2, fps)


class _LiveRate:
    """The bitrate property of both encoders, within our bounds instead of aiortc's constants."""

    rate: Rate
    _target: int
    codec: Any

    @property
    def target_bitrate(self) -> int:
        return self._target

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self._target = max(self.rate.low, min(bitrate, self.rate.high))

    def fits(self, frame: Any) -> bool:
        """Whether the open encoder serves this frame at the present rate."""
        if self.codec is None or (self.codec.width, self.codec.height) != (
            frame.width,
            frame.height,
        ):
            return False
        return bool(abs(self._target - self.codec.bit_rate) <= 0.1 * self.codec.bit_rate)


class LiveVp8Encoder(_LiveRate, Vp8Encoder):
    """VP8 without the denoiser, which smears generated texture (2 dB at 256x256, measured)."""

    def __init__(self, rate: Rate) -> None:
        super().__init__()
        self.rate = rate
        self._target = rate.start

    def encode(self, frame: Any, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        if not self.fits(frame):
            self.codec = self._open(frame.width, frame.height)
        return super().encode(frame, force_keyframe)

    def _open(self, width: int, height: int) -> Any:
        codec = av.CodecContext.create("libvpx", "w")
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.time_base = STAMPS
        codec.bit_rate = self._target
        codec.gop_size = 3000
        codec.qmin, codec.qmax = 2, 56
        bits = str(self._target)
        codec.options = {
            "deadline": "realtime",
            "cpu-used": "-8",
            "lag-in-frames": "0",
            "minrate": bits,
            "maxrate": bits,
            "bufsize": bits,
            "noise-sensitivity": "0",
            "static-thresh": "1",
            "overshoot-pct": "15",
            "undershoot-pct": "100",
        }
        codec.thread_count = number_of_threads(width * height, 2)
        return codec


class LiveH264Encoder(_LiveRate, H264Encoder):
    """H.264 with a preset for live use: x264's default takes ten times as long a frame."""

    def __init__(self, rate: Rate) -> None:
        super().__init__()
        self.rate = rate
        self._target = rate.start

    def encode(self, frame: Any, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        if not self.fits(frame):
            self.codec = self._open(frame.width, frame.height)
        return super().encode(frame, force_keyframe)

    def _open(self, width: int, height: int) -> Any:
        codec = av.CodecContext.create("libx264", "w")
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.bit_rate = self._target
        codec.framerate = Fraction(self.rate.fps).limit_denominator(1001)
        codec.time_base = STAMPS
        codec.options = {"preset": "superfast", "tune": "zerolatency", "level": "31"}
        codec.profile = "Baseline"
        return codec


def prepare_sender(sender: RTCRtpSender, codec: RTCRtpCodecParameters, rate: Rate) -> None:
    """Give a sender its encoder; call between negotiation and the first frame."""
    encoder = LiveH264Encoder if codec.name.upper() == "H264" else LiveVp8Encoder
    private: Any = sender
    private._RTCRtpSender__encoder = encoder(rate)
