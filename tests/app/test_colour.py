"""Colours arrive as they were sent, and aiortc still does not see to it."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from aiortc import rtp
from aiortc.codecs import HEADER_EXTENSIONS
from aiortc.rtp import pack_header_extensions
from hypothesis import given
from hypothesis import strategies as st
from millrace.app.colour import URI, WEBRTC, Colour, ColourWatch, negotiate, to_webrtc

FULL_709 = Colour(bt709=True, full_range=True)
RED, GREEN, BLUE, WHITE, BLACK = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (0, 0, 0)


def yuv(rgb: tuple[int, int, int], colour: Colour) -> tuple[float, float, float]:
    """The definition (ITU-T H.273, section 8.3): luma and chroma of full or no red, green, blue."""
    kr, kb = (0.2126, 0.0722) if colour.bt709 else (0.299, 0.114)
    r, g, b = rgb
    y = kr * r + (1 - kr - kb) * g + kb * b
    u, v = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    if colour.full_range:
        return 255 * y, 128 + 255 * u, 128 + 255 * v
    return 16 + 219 * y, 128 + 224 * u, 128 + 224 * v


def plain(values: tuple[float, float, float]) -> av.VideoFrame:
    y, u, v = (int(np.clip(round(value), 0, 255)) for value in values)
    planes = np.full((48, 32), y, np.uint8)
    planes[32:40], planes[40:] = u, v
    return av.VideoFrame.from_ndarray(planes, "yuv420p")


@pytest.mark.parametrize("rgb", [RED, GREEN, BLUE, WHITE, BLACK])
@pytest.mark.parametrize("colour", [FULL_709, Colour(False, True), Colour(True, False), WEBRTC])
def test_every_colour_becomes_webrtcs(rgb: tuple[int, int, int], colour: Colour) -> None:
    planes: Any = to_webrtc(plain(yuv(rgb, colour)), colour, 32, 32).to_ndarray()
    got = (planes[16, 16], planes[36, 16], planes[44, 16])
    assert got == pytest.approx(yuv(rgb, WEBRTC), abs=2)


@pytest.mark.parametrize(
    ("value", "colour"),
    [
        (bytes([1, 13, 1, 0x20]), FULL_709),
        (bytes([6, 6, 6, 0x10]), WEBRTC),
        (bytes([6, 6, 6, 0x25]) + bytes(24), Colour(False, True)),
        (bytes([2, 2, 2, 0x10]), None),
        (b"\x01", None),
    ],
)
def test_the_extension_is_read(value: bytes, colour: Colour | None) -> None:
    assert Colour.parse(value) == colour


@given(st.binary(max_size=40))
def test_no_extension_does_harm(value: bytes) -> None:
    said = Colour.parse(value)
    assert said is None or (len(value) >= 4 and value[2] != 2)


def test_what_was_read_holds_until_something_else_is() -> None:
    watcher = ColourWatch()
    parameters: Any = SimpleNamespace(headerExtensions=[SimpleNamespace(uri=URI, id=7)])
    watcher.configure(parameters)
    assert watcher.current is None
    for value in (bytes([1, 13, 1, 0x20]), bytes([1, 13, 2, 0x20])):
        watcher.get(*pack_header_extensions([(7, value), (3, b"abc")]))
        assert watcher.current == FULL_709
    watcher.get(*pack_header_extensions([(7, bytes([6, 6, 6, 0x10]))]))
    assert watcher.current == WEBRTC


def test_negotiating_twice_adds_it_once() -> None:
    negotiate()
    negotiate()
    assert [extension.uri for extension in HEADER_EXTENSIONS["video"]].count(URI) == 1


def test_aiortc_still_ignores_it() -> None:
    assert "color-space" not in inspect.getsource(rtp)


def test_a_decoder_that_knows_is_believed() -> None:
    picture = av.VideoFrame(32, 32, "yuvj420p")
    assert Colour.of(picture).full_range
    assert Colour.of(av.VideoFrame(32, 32, "yuv420p")) == WEBRTC
