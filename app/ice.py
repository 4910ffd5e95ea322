"""STUN and TURN servers from configuration, in the forms that both sides take."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from aiortc import RTCConfiguration

_URL = re.compile(
    r"^(?P<scheme>stuns?|turns?):(?://)?(?:(?P<user>[^:@]+):(?P<password>[^@]*)@)?"
    r"(?P<host>\[[0-9a-fA-F:]+\]|[\w.-]+)(?::(?P<port>\d{1,5}))?"
    r"(?:\?transport=(?P<transport>udp|tcp))?$"
)


@dataclass(frozen=True, slots=True)
class IceServer:
    """One STUN or TURN server."""

    url: str
    username: str = ""
    credential: str = ""

    @staticmethod
    def parse(text: str) -> IceServer:
        """From `stun:host:port`, or `turn:user:password@host:port?transport=tcp`.

        User and password may be percent-encoded.

        Raises:
            ValueError: another form; a TURN server without credentials.
        """
        match = _URL.match(text.strip())
        if match is None:
            raise ValueError(
                f"ICE server {text!r}: expected stun:HOST[:PORT] or "
                "turn:USER:PASSWORD@HOST[:PORT][?transport=tcp]"
            )
        scheme, user, password = match["scheme"], match["user"], match["password"]
        if scheme.startswith("turn") and not user:
            raise ValueError(
                f"ICE server {text!r}: TURN needs credentials: turn:USER:PASSWORD@{match['host']}"
            )
        url = f"{scheme}:{match['host']}"
        url += f":{match['port']}" if match["port"] else ""
        url += f"?transport={match['transport']}" if match["transport"] else ""
        return IceServer(url, unquote(user or ""), unquote(password or ""))

    def for_browser(self) -> dict[str, Any]:
        """An RTCIceServer dictionary."""
        entry: dict[str, Any] = {"urls": [self.url]}
        if self.username:
            entry |= {"username": self.username, "credential": self.credential}
        return entry


def peer_configuration(servers: tuple[IceServer, ...]) -> RTCConfiguration:
    """What aiortc takes. An empty list is passed as such: left out, aiortc asks a public STUN
    server, which can hold the answer back for seconds on a closed network."""
    from aiortc import RTCConfiguration, RTCIceServer

    return RTCConfiguration(
        iceServers=[RTCIceServer(s.url, s.username or None, s.credential or None) for s in servers]
    )
