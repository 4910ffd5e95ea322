"""Encoders for a live picture: quality, stamps, few key frames; and that they are still needed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from aiortc.codecs import h264, vpx
from aiortc.codecs.h264 import h264_depayload
from aiortc.codecs.vpx import Vp8Encoder, vp8_depayload
from millrace.app.encoders import LiveH264Encoder, LiveVp8Encoder, Rate

SIZE = 128
PINNED = Rate.around(1_500_000, 30.0, pinned=True)


def clip(count: int) -> Iterator[av.VideoFrame]:
    """Moving texture with noise, stamped as a jittery live stream is."""
    rng = np.random.default_rng(0)
    texture: Any = rng.integers(60, 190, (SIZE, 2 * SIZE)).astype(np.float32)
    texture = (texture + np.roll(texture, 1, 0) + np.roll(texture, 1, 1)) / 3
    for i in range(count):
        planes = np.full((SIZE * 3 // 2, SIZE), 128, np.uint8)
        planes[:SIZE] = texture[:, 2 * i % SIZE :][:, :SIZE]
        frame = av.VideoFrame.from_ndarray(planes, "yuv420p")
        frame.pts = 1_000_003 + i * 3000 + int(rng.integers(0, 700))
        frame.time_base = Fraction(1, 90_000)
        yield frame


def is_key(encoder: Any, payloads: list[bytes]) -> bool:
    if isinstance(encoder, Vp8Encoder):
        return not vp8_depayload(payloads[0])[0] & 1
    return any(data[0] & 31 == 7 or b"\x67" in data[:6] for data in payloads[:1])


@pytest.mark.parametrize("encoder", [LiveVp8Encoder(PINNED), LiveH264Encoder(PINNED)])
def test_stamps_pass_unchanged(encoder: Any) -> None:
    for frame in clip(12):
        pts = frame.pts
        _, timestamp = encoder.encode(frame)
        assert timestamp == pts


@pytest.mark.parametrize(
    ("encoder", "name", "depayload"),
    [
        (LiveVp8Encoder(PINNED), "vp8", vp8_depayload),
        (LiveH264Encoder(PINNED), "h264", h264_depayload),
    ],
)
def test_pictures_survive(encoder: Any, name: str, depayload: Any) -> None:
    decoder: Any = av.CodecContext.create(name, "r")
    errors = []
    for frame in clip(30):
        source = frame.to_ndarray()[:SIZE].astype(np.float32)
        payloads, _ = encoder.encode(frame)
        data = b"".join(depayload(payload) for payload in payloads)
        for picture in decoder.decode(av.Packet(data)):
            errors.append(np.square(picture.to_ndarray()[:SIZE] - source).mean())
    assert len(errors) >= 28, "no picture is held back"
    assert 10 * np.log10(255**2 / np.mean(errors[5:])) > 30


@pytest.mark.parametrize("make", [LiveVp8Encoder, LiveH264Encoder])
def test_a_pinned_rate_gives_one_key_frame_whatever_is_estimated(make: Any) -> None:
    encoder = make(PINNED)
    keys = 0
    for i, frame in enumerate(clip(30)):
        encoder.target_bitrate = 300_000 if i % 2 else 3_000_000
        keys += is_key(encoder, encoder.encode(frame)[0])
    assert keys == 1


def test_an_open_rate_follows_the_estimate_within_bounds() -> None:
    encoder = LiveVp8Encoder(Rate.around(1_000_000, 30.0, pinned=False))
    for estimate, expected in ((10_000, 250_000), (1_500_000, 1_500_000), (9**9, 2_000_000)):
        encoder.target_bitrate = estimate
        assert encoder.target_bitrate == expected


def test_a_key_frame_comes_when_asked_for() -> None:
    encoder = LiveVp8Encoder(PINNED)
    keys = [is_key(encoder, encoder.encode(f, i == 7)[0]) for i, f in enumerate(clip(10))]
    assert [i for i, key in enumerate(keys) if key] == [0, 7]


def test_aiortc_still_fixes_low_rates_and_slow_settings() -> None:
    assert vpx.MAX_BITRATE <= 1_500_000 and h264.MAX_BITRATE <= 3_000_000
    assert '"preset"' not in inspect.getsource(h264)
    assert '"noise-sensitivity": "4"' in inspect.getsource(vpx)
