"""Captions, questions and alerts on the data channel of a real peer, with a host that is told what
to tell."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from millrace.app import channel
from millrace.app.caption_desk import BURST, EVERY_S, CaptionDesk, Ration, TooOften
from millrace.app.rtc import Offer, Rtc
from millrace.app.settings import ServerSettings
from millrace.streaming.captions.host import CaptionEvent, CaptionOptions
from millrace.streaming.captions.supervisor import CaptionWorkerHost
from millrace.streaming.captions.track import Cue
from millrace.streaming.clock import ManualClock
from millrace.streaming.pipeline import StreamConfig

from .caption_fakes import FakeCaptionHost, FakeCaptions
from .rig import SIZE, Client, EchoHost

Body = Callable[["Place"], Awaitable[None]]


class Place:
    """A server's WebRTC, a client that is connected to it, and the fake that tells."""

    def __init__(self, host: FakeCaptionHost, desk: CaptionDesk, rtc: Rtc, client: Client) -> None:
        self.host, self.desk, self.rtc, self.client = host, desk, rtc, client

    async def on(self, **more: object) -> FakeCaptions:
        """Turn captions on and wait until a picture was looked at."""
        self.client.send({"type": "captions", "on": True, **more})
        await self.client.message("captions", lambda m: m["state"] == "live")
        await asyncio.to_thread(self.host.saw.wait, 15)
        return self.host.sessions[-1]


@asynccontextmanager
async def connected(host: Any, desk: CaptionDesk | None = None) -> AsyncIterator[Place]:
    desk = desk or CaptionDesk(host)
    desk.start()
    rtc = Rtc(EchoHost(), ServerSettings(), captions=desk)
    rtc.start()
    client = Client()
    try:
        answer = await rtc.open(Offer(await client.offer(), StreamConfig(*SIZE, user="me")))
        await client.accept(answer.sdp)
        await client.message("hello")
        yield Place(host, desk, rtc, client)
    finally:
        await client.close()
        await rtc.stop()
        desk.stop()


def run(body: Body, host: FakeCaptionHost | None = None) -> None:
    async def main() -> None:
        async with connected(host or FakeCaptionHost()) as place:
            await body(place)

    asyncio.run(main())


def test_captions_come_when_they_are_turned_on_and_stop_when_off() -> None:
    async def body(place: Place) -> None:
        client = place.client
        first = await client.message("captions")
        assert (first["state"], first["of"], first["on"]) == ("off", "source", False)
        assert first["info"]["limits"] == ["It tells what the test says.", "It cannot read."]
        assert not place.host.sessions, "nothing is looked at before the viewer wants it"
        session = await place.on()
        assert session.config.fps == 30.0
        told = await client.message("captions", lambda m: m["zero"] is not None)
        assert told["zero"] == pytest.approx(session.seen[0].captured_at * 1000)
        session.say("a red circle comes in", 3.0)
        cue = await client.message("cue")
        assert {k: cue[k] for k in ("text", "start", "end", "kind", "final", "delay")} == {
            "text": "a red circle comes in", "start": 3.0, "end": 4.0, "kind": "caption",
            "final": True, "delay": 0.4,
        }  # fmt: skip
        session.know(5.5)
        known = await client.message("seen")
        assert (known["until"], known["delay"]) == (5.5, 0.4)
        client.send({"type": "captions", "on": False})
        await client.message("captions", lambda m: m["state"] == "off" and m["zero"] is not None)
        seen = len(session.seen)
        await client.numbers(5)
        assert len(session.seen) == seen and session.cues()

    run(body)


def test_the_styled_picture_can_be_told_of_instead() -> None:
    async def body(place: Place) -> None:
        session = await place.on(of="styled", instruction="tell about colours")
        assert session.wishes[-1:] == ["tell about colours"] or (
            session.config.instruction == "tell about colours"
        )
        peer = place.rtc.peers()[0]
        assert peer.captions is not None and peer.captions.of == "styled"
        # The echo gives pictures back in order, each once: so none was seen twice.
        stamps = [frame.pts for frame in session.seen]
        assert len(set(stamps)) == len(stamps)

    run(body)


def test_an_answer_streams_and_questions_that_cannot_be_answered_are_answered_in_words() -> None:
    async def body(place: Place) -> None:
        client = place.client
        client.send({"type": "ask", "text": "What is there?", "id": 1})
        early = await client.message("answer", lambda m: m["id"] == 1)
        assert early["done"] and "Turn captions on first" in early["error"]
        session = await place.on()
        client.send({"type": "ask", "text": " What  is\nthere? ", "at": 2.5, "id": 2})
        last = await client.message("answer", lambda m: m["id"] == 2 and m["done"])
        assert session.asked == [("What is there?", 2.5)]
        assert (last["span"], last["looks"], last["error"]) == ([2.0, 4.5], [2.0, 3.0, 4.0], "")
        parts = [m["text"] for m in client.messages if m["type"] == "answer" and m["id"] == 2]
        assert len(parts) == 4 and "".join(parts) == "a red circle "
        for id, text, words in ((3, "x" * 10_000, "the most is 1000"), (4, "  ", "needs words")):
            client.send({"type": "ask", "text": text, "id": id})
            refused = await client.message("answer", lambda m, id=id: m["id"] == id)  # type: ignore[misc]
            assert refused["done"] and words in refused["error"]
        place.host.busy = True
        client.send({"type": "ask", "text": "And now?", "id": 5})
        assert "wait for one" in (await client.message("answer", lambda m: m["id"] == 5))["error"]
        _, questions, _, _ = place.desk.tally.counts()
        assert questions == {"answered": 1, "refused": 4}

    run(body)


def test_alerts_are_set_listed_fired_and_removed() -> None:
    async def body(place: Place) -> None:
        client = place.client
        session = await place.on()
        client.send({"type": "watch", "text": "there is a red circle"})
        (alert,) = (await client.message("alerts"))["list"]
        assert alert["text"] == "there is a red circle"
        session.fire(alert["alert"], 7.0)
        fired = await client.message("alert")
        assert (fired["alert"], fired["time"]) == (alert["alert"], 7.0)
        assert (await client.message("cue"))["kind"] == "alert"
        for text in ("one more", "too many"):
            client.send({"type": "watch", "text": text, "id": 9})
        refused = await client.message("error")
        assert refused["about"] == "watch" and "remove one first" in refused["message"]
        client.send({"type": "unwatch", "alert": alert["alert"]})
        await client.message("alerts", lambda m: [a["text"] for a in m["list"]] == ["one more"])
        assert list(session.watched.values()) == ["one more"]

    run(body)


def test_a_viewer_hears_of_a_worker_that_died_and_his_open_question_ends() -> None:
    async def body(place: Place) -> None:
        client = place.client
        place.host.answer = None
        session = await place.on()
        client.send({"type": "ask", "text": "What is there?", "id": 1})
        client.send({"type": "ping", "t": 1})
        await client.message("pong")
        session.interrupt(down=True)
        await client.message("captions", lambda m: m["state"] == "interrupted")
        lost = await client.message("answer")
        assert lost["done"] and "ask once more" in lost["error"]
        session.interrupt(down=False)
        count = len(client.messages)
        await client.message("captions", lambda m: client.messages.index(m) >= count - 1)
        assert place.rtc.peers()[0].captions.describe()["state"] == "live"  # type: ignore[union-attr]

    run(body)


def test_who_comes_while_the_model_is_loaded_is_served_when_it_is_there() -> None:
    host = FakeCaptionHost(hold=True)

    async def body(place: Place) -> None:
        assert (await place.client.message("captions"))["state"] == "loading"
        place.client.send({"type": "captions", "on": True})
        await place.client.message("captions", lambda m: m["on"])
        host.loaded.set()
        await place.client.message("captions", lambda m: m["state"] == "live")

    run(body, host)


@pytest.mark.parametrize(
    ("host", "state", "words"),
    [
        (FakeCaptionHost(broken="no such model: x"), "failed", "no such model: x"),
        (FakeCaptionHost(rooms=0), "failed", "viewers already"),
    ],
)
def test_captions_that_cannot_be_had_say_why_and_the_video_goes_on(
    host: FakeCaptionHost, state: str, words: str
) -> None:
    async def body(place: Place) -> None:
        place.client.send({"type": "captions", "on": True})
        told = await place.client.message("captions", lambda m: m["state"] == state)
        assert words in told["message"]
        await place.client.numbers(3)

    run(body, host)


def test_a_server_without_captions_says_how_to_have_them() -> None:
    async def main() -> None:
        desk = CaptionDesk(None)
        desk.start()
        assert desk.state == "none" and "--captions" in desk.message
        desk.stop()

    asyncio.run(main())


def test_closing_the_session_closes_its_captions() -> None:
    async def body(place: Place) -> None:
        session = await place.on()
        await place.rtc.close(place.rtc.peers()[0].id, "enough")
        assert session.closed.is_set()
        assert place.desk.tally.counts()[3] == 3, "what a session counted is kept"

    run(body)


def test_captions_that_the_host_ended_can_be_had_again_with_their_alerts() -> None:
    async def body(place: Place) -> None:
        client = place.client
        session = await place.on()
        client.send({"type": "watch", "text": "a cat comes"})
        await client.message("alerts")
        session.tell(CaptionEvent("error", "no room for another wish"))
        assert (await client.message("error"))["about"] == "captions"
        session.state = "closed"
        session.tell(CaptionEvent("closed", "the model failed"))
        told = await client.message("captions", lambda m: m["state"] == "failed")
        assert told["message"] == "the model failed"
        client.messages.clear()
        client.send({"type": "captions", "on": True})
        await client.message("captions", lambda m: m["state"] == "live" and m["zero"] is not None)
        again = place.host.sessions[-1]
        assert again is not session and list(again.watched.values()) == ["a cat comes"]

    run(body)


@pytest.mark.slow
def test_a_real_worker_tells_about_the_pictures_of_a_real_peer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))

    async def main() -> None:
        host = CaptionWorkerHost(CaptionOptions("caption_fakes:build"))
        desk = CaptionDesk(host)
        ready = threading.Event()
        desk.when_changed(ready.set)
        desk.start()
        assert await asyncio.to_thread(ready.wait, 120) and desk.state == "ready", desk.message
        async with connected(host, desk) as place:
            client = place.client
            client.send({"type": "captions", "on": True})
            cue = await client.message("cue")
            assert cue["text"].startswith("the picture is now level ") and cue["delay"] > 0
            client.send({"type": "ask", "text": "level", "id": 1})
            done = await client.message("answer", lambda m: m["done"])
            parts = [m["text"] for m in client.messages if m["type"] == "answer"]
            assert not done["error"] and "".join(parts).strip().startswith("it is ")
            captions = place.rtc.peers()[0].captions
            assert captions is not None and captions.session is not None
            picture = captions.session.thumbnail(cue["start"])
            assert picture is not None and picture[:2] == b"\xff\xd8"
            stats = await client.message("stats", lambda m: m["captions"].get("cues", 0) > 0)
            assert stats["captions"]["looks"]["superseded"] >= 0

    asyncio.run(main())


def test_questions_are_rationed_by_user() -> None:
    clock = ManualClock(5.0)
    desk = CaptionDesk(FakeCaptionHost(), clock)
    for _ in range(BURST):
        desk.ration("me")
    with pytest.raises(TooOften, match="ask again in 4 s"):
        desk.ration("me")
    desk.ration("you")
    clock.advance(EVERY_S)
    desk.ration("me")
    with pytest.raises(TooOften):
        desk.ration("me")


def test_a_ration_never_grows_above_its_burst() -> None:
    ration = Ration()
    assert [ration.wait(1e9) for _ in range(BURST)] == [0.0] * BURST
    assert ration.wait(1e9) == pytest.approx(EVERY_S)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type":"ask"}', "ask: expected a text"),
        ('{"type":"ask","text":"x","at":-1}', "seconds"),
        ('{"type":"ask","text":"x","at":true}', "seconds"),
        ('{"type":"ask","text":"x","id":"1"}', "whole number"),
        ('{"type":"watch","text":3}', "watch: expected a text"),
        ('{"type":"unwatch"}', "whole number"),
        ('{"type":"unwatch","alert":true}', "whole number"),
        ('{"type":"captions","on":1}', "true or false"),
        ('{"type":"captions","of":"both"}', "source or styled"),
        ('{"type":"captions","instruction":1}', "a text"),
    ],
)
def test_malformed_messages_are_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(channel.MessageError, match=message):
        channel.parse(text)


def test_well_formed_messages_are_read() -> None:
    assert channel.parse('{"type":"ask","text":"x","at":2,"id":3}') == channel.Ask("x", 2.0, 3)
    assert channel.parse('{"type":"captions","of":"styled"}') == channel.Captions(None, "styled")
    assert channel.cue(Cue(1, 0.5, 1.5, "x")) == {
        "id": 1, "start": 0.5, "end": 1.5, "text": "x", "kind": "caption", "final": True,
    }  # fmt: skip
