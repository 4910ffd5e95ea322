"""A viewer without a browser against the real WebRTC side: pictures, messages, faults, leaving."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.app import channel
from millrace.app.ice import IceServer
from millrace.app.offers import BadOffer
from millrace.app.rtc import Offer, Rtc
from millrace.app.settings import Codec, ServerSettings
from millrace.streaming.controls import ControlError
from millrace.streaming.host import Event, HostRefused
from millrace.streaming.pipeline import StreamConfig

from .rig import SIZE, Client, EchoHost, EchoSession, Numbers

CONFIG = StreamConfig(*SIZE)


@dataclass
class Running:
    """One server's WebRTC side and the host behind it."""

    rtc: Rtc
    host: EchoHost

    @asynccontextmanager
    async def viewer(self, source: Numbers | None = None) -> AsyncIterator[Client]:
        client = Client(source)
        answer = await self.rtc.open(Offer(await client.offer(), CONFIG))
        await client.accept(answer.sdp)
        try:
            yield client
        finally:
            await client.close()

    @property
    def session(self) -> EchoSession:
        (session,) = self.host.sessions()
        return session


def with_rtc(
    scenario: Callable[[Running], Awaitable[None]], settings: ServerSettings | None = None
) -> None:
    async def run() -> None:
        host = EchoHost()
        running = Running(Rtc(host, settings or ServerSettings()), host)
        running.rtc.start()
        try:
            await scenario(running)
        finally:
            await running.rtc.stop()

    asyncio.run(run())


async def freed(session: EchoSession) -> bool:
    return await asyncio.to_thread(session.closed.wait, 10)


def test_pictures_come_back_in_order_and_each_loss_is_counted() -> None:
    async def scenario(running: Running) -> None:
        async with running.viewer() as client:
            numbers = await client.numbers(30)
            dropped = running.rtc.totals().drops
        assert numbers == sorted(numbers), "one may be repeated after half a second of nothing"
        missing = numbers[-1] - numbers[0] + 1 - len(set(numbers))
        assert missing <= dropped["ingest"] + dropped["egress"]

    with_rtc(scenario)


def test_a_change_is_acknowledged_and_told_of_when_it_shows() -> None:
    async def scenario(running: Running) -> None:
        async with running.viewer() as client:
            await client.message("hello")
            await client.numbers(1)
            client.send({"type": "controls", "values": {"prompt": "bold"}, "id": 7})
            changed = await client.message("changed")
            assert changed["id"] == 7
            assert running.session.controls.text("prompt") == "bold"
            await client.numbers(2)
            applied = await client.message("applied")
            assert applied["epoch"] == changed["epoch"]
            client.send({"type": "reset"})
            again = await client.message("changed", lambda m: m["epoch"] > changed["epoch"])
            assert again["epoch"] == changed["epoch"] + 1

    with_rtc(scenario)


@pytest.mark.parametrize(
    ("message", "part"),
    [
        ("{", "not JSON"),
        ("[]", "object"),
        ({"type": "dance"}, "dance"),
        ({"type": "controls", "values": {"strength": 7}}, "outside"),
        ({"type": "controls", "values": {"nothing": 7}}, "no such control"),
        ({"type": "controls", "values": {"prompt": "x" * 3000}}, "shorten"),
        ('{"type": "ping", "t": NaN}', "not JSON"),
        ("x" * 20_000, "the most is"),
    ],
)
def test_a_bad_message_gets_an_error_and_loses_nothing(message: object, part: str) -> None:
    async def scenario(running: Running) -> None:
        async with running.viewer() as client:
            await client.message("hello")
            client.send(message)
            error = await client.message("error")
            assert part in error["message"]
            client.send({"type": "ping", "t": 4.5})
            assert (await client.message("pong"))["t"] == 4.5
            assert await client.numbers(2)

    with_rtc(scenario)


def test_numbers_that_json_lacks_become_null() -> None:
    text = channel.encode("stats", a=float("nan"), b={"c": (1, float("inf"))}, d=Event("live"))
    sent = json.loads(text)
    assert sent["a"] is None and sent["b"] == {"c": [1, None]} and "live" in sent["d"]


@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_the_codec_can_be_chosen(codec: Codec) -> None:
    async def scenario(running: Running) -> None:
        async with running.viewer() as client:
            await client.numbers(3)
            video = client.pc.remoteDescription.sdp.partition("a=rtpmap:")[2]
            assert codec in video.partition("\r\n")[0].lower()

    with_rtc(scenario, settings=ServerSettings(codec=codec))


def test_statistics_and_stamps_arrive() -> None:
    async def scenario(running: Running) -> None:
        async with running.viewer() as client:
            pictures = [await client.picture() for _ in range(60)]
            stats = await client.message("stats", lambda m: m["sent"] > 10)
            assert stats["drops"].keys() >= {"superseded", "ingest", "egress"}
            await client.message("stamps", lambda m: m["clock"] == "browser")
            assert client.clock is not None and client.clock.origin is not None
            shown = {((p.pts or 0) + client.clock.origin) % (1 << 32) for p in pictures}
        stamps = [pair for m in client.messages if m["type"] == "stamps" for pair in m["list"]]
        told = {rtp for rtp, _ in stamps}
        assert len(shown & told) > 40, "the stamps name the pictures by their RTP timestamps"
        times = [ms for _, ms in stamps if ms > 1e12]
        # A later sender report may move the sender's clock, by its jitter; far less than a picture
        # that were out of place.
        assert all(b > a - 200 for a, b in zip(times, times[1:], strict=False))

    with_rtc(scenario)


def test_lost_packets_do_not_stop_the_picture() -> None:
    async def scenario(running: Running) -> None:
        async with running.viewer() as client:
            await client.numbers(5)
            transport: Any = client.pc.getSenders()[0].transport
            send, chance = transport._send_rtp, random.Random(3)

            async def lossy(data: bytes) -> None:
                is_media = not 192 <= data[1] <= 223
                if not (is_media and chance.random() < 0.08):
                    await send(data)

            transport._send_rtp = lossy
            before = client.source.sent
            numbers = await client.numbers(60)
            assert numbers == sorted(numbers)
            assert numbers[-1] >= before + 40

    with_rtc(scenario)


def test_the_source_may_change_its_size() -> None:
    async def scenario(running: Running) -> None:
        source = Numbers(size=(320, 256))
        async with running.viewer(source) as client:
            await client.picture()
            source.size = (200, 160)
            for _ in range(40):
                picture = await client.picture()
                assert (picture.width, picture.height) == SIZE
            assert running.rtc.peers()[0].stats()["source_size"] == (200, 160)

    with_rtc(scenario)


def test_while_the_worker_is_down_the_last_picture_is_repeated() -> None:
    async def scenario(running: Running) -> None:
        async with running.viewer() as client:
            await client.numbers(5)
            running.host.interrupt(True)
            await client.message("event", lambda m: m["event"] == "interrupted")
            stats = await client.message("stats", lambda m: m["repeated"] >= 2)
            running.host.interrupt(False)
            await client.message("event", lambda m: m["event"] == "live")
            before, seen = client.source.sent, [0]
            while seen[-1] < before:
                seen += await client.numbers(1)
        assert stats["repeated"] >= 2
        assert seen == sorted(seen), "what was repeated did not come again after newer ones"

    with_rtc(scenario)


def test_a_paused_viewer_costs_the_model_nothing() -> None:
    async def scenario(running: Running) -> None:
        async with running.viewer() as client:
            await client.message("hello")
            await client.numbers(2)
            client.send({"type": "pause", "on": True})
            await client.message("paused")
            taken = len(running.session.frames)
            await client.message("stats", lambda m: m["repeated"] >= 1)
            assert len(running.session.frames) <= taken + 1
            client.send({"type": "pause", "on": False})
            await client.message("paused", lambda m: not m["on"])
            await client.numbers(2)

    with_rtc(scenario)


def test_leaving_frees_the_session() -> None:
    async def scenario(running: Running) -> None:
        async with running.viewer() as client:
            await client.numbers(1)
            session = running.session
        assert await freed(session)
        assert running.host.sessions() == () and running.rtc.peers() == ()

    with_rtc(scenario)


def test_closing_the_data_channel_is_leaving() -> None:
    async def scenario(running: Running) -> None:
        async with running.viewer() as client:
            await client.message("hello")
            session = running.session
            client.channel.close()
            assert await freed(session)

    with_rtc(scenario)


def test_a_session_that_the_engine_ends_says_why() -> None:
    async def scenario(running: Running) -> None:
        async with running.viewer() as client:
            await client.message("hello")
            session = running.session
            session.tell(Event("closed", "the model failed on chunk 3"))
            event = await client.message("event", lambda m: m["event"] == "closed")
            assert event["message"] == "the model failed on chunk 3"
            assert await freed(session)

    with_rtc(scenario)


def test_a_viewer_that_never_connects_is_freed() -> None:
    async def scenario(running: Running) -> None:
        client = Client()
        await running.rtc.open(Offer(await client.offer(), CONFIG))
        assert await freed(running.session)
        await client.close()

    with_rtc(scenario, settings=ServerSettings(connect_timeout=0.2))


def test_a_dead_stun_server_holds_nobody_up() -> None:
    async def scenario(running: Running) -> None:
        client = Client()
        offer = Offer(await client.offer(), CONFIG)
        async with asyncio.timeout(4):  # aioice on its own would take 5
            answer = await running.rtc.open(offer)
        assert "typ host" in answer.sdp and "typ srflx" not in answer.sdp
        await client.close()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        server = IceServer(f"stun:127.0.0.1:{deaf.getsockname()[1]}")
        with_rtc(scenario, settings=ServerSettings(ice_servers=(server,), gather_timeout=0.2))


def test_refusals_leave_nothing_behind() -> None:
    async def scenario(running: Running) -> None:
        client = Client()
        sdp = await client.offer()
        running.host.rooms = 0
        with pytest.raises(HostRefused, match="taken"):
            await running.rtc.open(Offer(sdp, CONFIG))
        running.host.rooms = 1
        with pytest.raises(ControlError):
            await running.rtc.open(Offer(sdp, CONFIG, {"strength": "much"}))
        silent = sdp.replace("m=video", "m=audio")
        with pytest.raises(BadOffer):
            await running.rtc.open(Offer(silent, CONFIG))
        assert running.host.sessions() == () and running.rtc.peers() == ()
        await client.close()

    with_rtc(scenario)


@st.composite
def broken_offers(draw: st.DrawFn, sdp: str) -> str:
    """An offer with lines lost, doubled, cut or overwritten."""
    lines = sdp.split("\r\n")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(("lose", "double", "cut", "overwrite"))):
            case "lose":
                lines[at] = ""
            case "double":
                lines.insert(at, lines[at])
            case "cut":
                lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
            case _:
                lines[at] = draw(st.text(max_size=30))
    return "\r\n".join(lines)


def test_no_offer_however_broken_does_harm() -> None:
    async def scenario(running: Running) -> None:
        client = Client()
        sdp = await client.offer()
        outer = asyncio.get_running_loop()

        @settings(max_examples=60, deadline=None)
        @given(st.one_of(broken_offers(sdp), st.text(max_size=200)))
        def never_harms(offer: str) -> None:
            async def attempt() -> None:
                try:
                    answer = await running.rtc.open(Offer(offer, CONFIG))
                except BadOffer:
                    return
                await running.rtc.close(answer.id, "done")

            asyncio.run_coroutine_threadsafe(attempt(), outer).result(10)

        await asyncio.to_thread(never_harms)
        assert running.host.sessions() == () and running.rtc.peers() == ()
        await client.close()

    with_rtc(scenario)
