"""How the server listens, what it sends and to whom; frozen and complete."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from .ice import IceServer
from .manners import DEAF_S
from .viewers import Pass

Codec = Literal["auto", "vp8", "h264"]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of the web process. The engine has its own (`streaming.config`).

    Attributes:
        host, port: where to listen. Port 0 picks a free one.
        token: what every request must show; needed for any address but loopback.
        passes: further tokens, each with its own class of service.
        width, height, fps: size and rate of a session when the page does not ask for another.
        ice_servers: STUN and TURN servers, given to both sides.
        codec: video codec towards the browser; "auto" takes the browser's first choice.
        bitrate: picture bits per second in each direction; 0 chooses by size and rate.
        pin_bitrate: keep the bitrate whatever the receiver estimates. Right on loopback and a LAN,
            where congestion control only costs quality; wrong over the internet.
        allowed_hosts: further names by which this server may be called (a reverse proxy's, say).
        encode_threads: threads that encode video.
        gather_timeout: seconds that STUN and TURN servers have to answer before a session opens
            without them.
        deaf_timeout: seconds without a sign that pictures are received, until a session is freed.
        connect_timeout: seconds until a session whose browser never connects is freed.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    token: str = ""
    width: int = 256
    height: int = 256
    fps: float = 30.0
    ice_servers: tuple[IceServer, ...] = ()
    codec: Codec = "auto"
    bitrate: int = 0
    pin_bitrate: bool = True
    allowed_hosts: tuple[str, ...] = ()
    encode_threads: int = 2
    connect_timeout: float = 20.0
    gather_timeout: float = 0.9
    deaf_timeout: float = DEAF_S
    passes: tuple[Pass, ...] = ()

    def __post_init__(self) -> None:
        if not self.token and not self.passes and not is_loopback(self.host):
            raise ValueError(
                f"{self.host} can be reached from other machines: give a token with --token, "
                "or listen on 127.0.0.1"
            )
        if self.fps <= 0 or self.fps > 120:
            raise ValueError(f"fps: {self.fps} is outside 1 to 120")

    def video_bitrate(self, width: int, height: int) -> int:
        """Bits per second for a picture of this size.

        Generated pictures shimmer more than a camera does: at 256x256 and 30 frames a second VP8
        needs about 1.5 Mbit/s for 33 dB and 3.75 Mbit/s for 41 dB (measured), so the default is
        1.25 bit a pixel and frame-second at 30, kept between 1 and 8 Mbit/s.
        """
        if self.bitrate:
            return self.bitrate
        return int(min(max(1.25 * width * height * self.fps, 1_000_000), 8_000_000))


def is_loopback(host: str) -> bool:
    """Whether an address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
