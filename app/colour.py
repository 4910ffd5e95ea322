"""In which colours a browser sends, and how its pictures become the ones that models expect.

The planes that we pass on are BT.601 in limited range, as WebRTC's default has it. Chrome sends a
camera so, but a canvas or a screen in BT.709 and full range, and says so in an RTP header extension
("color-space") that aiortc ignores. Without it every such picture gains contrast on its way. This
reaches into private parts of aiortc like `rtc_patches.py`, with tests of the same kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
from aiortc import RTCRtpReceiver
from aiortc.codecs import HEADER_EXTENSIONS
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensions, HeaderExtensionsMap, unpack_header_extensions
from av.video.reformatter import ColorRange, Colorspace

URI = "http://www.webrtc.org/experiments/rtp-hdrext/color-space"
LOCAL_ID = 5
"""Number of the extension in offers of ours; in an answer the browser's holds."""


@dataclass(frozen=True, slots=True)
class Colour:
    """How luma and chroma were made of red, green and blue."""

    bt709: bool = False
    full_range: bool = False

    @staticmethod
    def parse(value: bytes) -> Colour | None:
        """From the extension: primaries, transfer, matrix (ITU-T H.273 numbers), then a byte with
        the range in bits 4 and 5 (1 limited, 2 full). None when it is cut short or says nothing."""
        if len(value) < 4 or value[2] == 2:
            return None
        return Colour(value[2] == 1, value[3] >> 4 & 3 == 2)

    @staticmethod
    def of(picture: av.VideoFrame) -> Colour:
        """As the decoder says it, from the bitstream; WebRTC's default where it says nothing."""
        full = picture.format.name == "yuvj420p" or picture.color_range == ColorRange.JPEG
        return Colour(int(picture.colorspace) == int(Colorspace.ITU709), full)


WEBRTC = Colour()
"""BT.601, limited range."""


def negotiate() -> None:
    """Let aiortc agree with browsers on the extension. Affects all later connections."""
    known = HEADER_EXTENSIONS["video"]
    if all(extension.uri != URI for extension in known):
        known.append(RTCRtpHeaderExtensionParameters(id=LOCAL_ID, uri=URI))


class ColourWatch(HeaderExtensionsMap):
    """Reads the extension off the packets of a transport as they are parsed.

    Only key frames carry it, so what was read last holds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.current: Colour | None = None
        self._id: int | None = None

    def configure(self, parameters: RTCRtpParameters) -> None:
        super().configure(parameters)
        for extension in parameters.headerExtensions:
            if extension.uri == URI:
                self._id = extension.id

    def get(self, extension_profile: int, extension_value: bytes) -> HeaderExtensions:
        if self._id is not None:
            for number, value in unpack_header_extensions(extension_profile, extension_value):
                if number == self._id:
                    self.current = Colour.parse(value) or self.current
        return super().get(extension_profile, extension_value)


def watch(receiver: RTCRtpReceiver) -> ColourWatch:
    """Watch a receiver's transport; call between the remote and the local description."""
    private: Any = receiver.transport
    private._rtp_header_extensions_map = watcher = ColourWatch()
    return watcher


def to_webrtc(picture: av.VideoFrame, colour: Colour, width: int, height: int) -> av.VideoFrame:
    """The picture scaled, in BT.601 limited range, planar 4:2:0."""
    return picture.reformat(
        width,
        height,
        format="yuv420p",
        interpolation="AREA",
        src_colorspace=Colorspace.ITU709 if colour.bt709 else Colorspace.ITU601,
        dst_colorspace=Colorspace.ITU601,
        src_color_range=ColorRange.JPEG if colour.full_range else ColorRange.MPEG,
        dst_color_range=ColorRange.MPEG,
    )
