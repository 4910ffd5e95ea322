"""What goes to a page on its data channel: messages that are small and may be late, or lost."""

from __future__ import annotations

from typing import Any

from aiortc import RTCDataChannel

from . import channel

MOST_WAITING = 1 << 18
"""Bytes that wait for a browser; what would come on top of them is let go."""
KEPT = 16
"""Events and notes that are kept until the channel is there; the oldest go first."""


class Wire:
    """The sending end. Before the channel is there, events and notes wait for it; the rest is old
    by then."""

    def __init__(self) -> None:
        self._channel: RTCDataChannel | None = None
        self._pending: list[str] = []

    @property
    def begun(self) -> bool:
        """Whether there is a channel, or was."""
        return self._channel is not None

    @property
    def waiting(self) -> int:
        """Bytes that the browser has not taken yet."""
        return self._channel.bufferedAmount if self._channel else 0

    def begin(self, opened: RTCDataChannel, /, **hello: Any) -> None:
        """The channel is there: greet, then send what waited for it."""
        self._channel = opened
        self.send("hello", v=channel.PROTOCOL, **hello)
        for text in self._pending:
            opened.send(text)
        self._pending.clear()

    def send(self, kind: str, /, **fields: Any) -> None:
        """A message, unless the browser is far behind or gone."""
        text = channel.encode(kind, **fields)
        if self._channel is None:
            if kind in ("event", "notes"):
                self._pending = [*self._pending[1 - KEPT :], text]
        elif self._channel.readyState == "open" and self.waiting < MOST_WAITING:
            self._channel.send(text)
