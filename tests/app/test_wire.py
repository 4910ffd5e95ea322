"""Messages to a page: what waits for the channel, and what a slow browser does not get."""

from __future__ import annotations

import json
from typing import Any

from millrace.app.wire import KEPT, MOST_WAITING, Wire


class FakeChannel:
    """Takes messages; `bufferedAmount` and `readyState` are knobs."""

    def __init__(self) -> None:
        self.bufferedAmount, self.readyState = 0, "open"
        self.sent: list[dict[str, Any]] = []

    def send(self, text: str) -> None:
        self.sent.append(json.loads(text))


def test_events_wait_for_the_channel_and_the_oldest_go_first() -> None:
    wire, channel = Wire(), FakeChannel()
    for number in range(KEPT + 3):
        wire.send("event", message=str(number))
        wire.send("stats", fps=number)
    assert not wire.begun and wire.waiting == 0
    wire.begin(channel, session="a")  # type: ignore[arg-type]
    hello, *events = channel.sent
    assert (hello["type"], hello["session"]) == ("hello", "a") and wire.begun
    assert [event["message"] for event in events] == [str(n) for n in range(3, KEPT + 3)]


def test_a_browser_that_is_far_behind_or_gone_gets_nothing_more() -> None:
    wire, channel = Wire(), FakeChannel()
    wire.begin(channel)  # type: ignore[arg-type]
    channel.bufferedAmount = MOST_WAITING
    wire.send("stats", fps=1)
    channel.bufferedAmount, channel.readyState = 0, "closed"
    wire.send("stats", fps=2)
    channel.readyState = "open"
    wire.send("stats", fps=3)
    assert [message.get("fps") for message in channel.sent[1:]] == [3]
