"""Sound through the real WebRTC side: it comes back with its picture."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median

import pytest
from aiortc.mediastreams import MediaStreamError
from millrace.app.audio import zero_of
from millrace.app.audio_line import RATE
from millrace.app.offers import BadOffer
from millrace.app.rtc import Offer, Rtc
from millrace.app.rtc_patches import ReceiverClock
from millrace.app.settings import ServerSettings
from millrace.streaming.pipeline import StreamConfig

from .rig import SIZE, Client
from .sound_rig import FPS, PERIOD, TONES, LateHost, SoundClient

CONFIG = StreamConfig(*SIZE)


@dataclass
class Running:
    rtc: Rtc
    host: LateHost

    @asynccontextmanager
    async def viewer(self, client: SoundClient) -> AsyncIterator[SoundClient]:
        answer = await self.rtc.open(Offer(await client.offer(), CONFIG))
        await client.accept(answer.sdp)
        try:
            yield client
        finally:
            await client.close()


def with_rtc(scenario: Callable[[Running], Awaitable[None]], behind: int = 5) -> None:
    async def run() -> None:
        host = LateHost(behind)
        running = Running(Rtc(host, ServerSettings()), host)
        running.rtc.start()
        try:
            await scenario(running)
        finally:
            await running.rtc.stop()

    asyncio.run(run())


@pytest.mark.parametrize("behind", [0, 8])
def test_beeps_leave_with_their_pictures(behind: int) -> None:
    """Both tracks' stamps, through their sender reports, on the server's clock: soon after both
    have reports, beeps and the pictures of their moment stay together."""

    async def scenario(running: Running) -> None:
        async with running.viewer(SoundClient()) as client:
            pictures: dict[int, float] = {}
            watching = asyncio.ensure_future(watch(client, pictures))
            apart: list[int] = []
            async for at, number in heard(client, 40):
                begun = [t - n / FPS for n, t in pictures.items() if abs(n - 15 * number) <= 20]
                apart.append(round(1000 * (at - number * PERIOD / RATE - median(begun or [0.0]))))
                if len(apart) > 6 and all(abs(ms) <= 30 for ms in apart[-4:]):
                    break
            else:
                raise AssertionError(f"sound and pictures stay apart, by {apart} ms")
            watching.cancel()
            stats = running.rtc.peers()[0].stats()["sound"]
        assert stats["delay_ms"] >= 1000 * (behind - 1) / FPS
        assert stats["drops"]["overflow"] == 0

    with_rtc(scenario, behind)


async def watch(client: SoundClient, pictures: dict[int, float]) -> None:
    """When each picture left, on the server's clock, by its number."""
    with contextlib.suppress(MediaStreamError):
        while True:
            pts, number = await client.counted()
            pictures[number] = client.left(pts)


async def heard(client: SoundClient, count: int) -> AsyncIterator[tuple[float, int]]:
    """When beeps left, on the server's clock, and their numbers."""
    before, turns = 0, 0
    for _ in range(count):
        pts, number = await client.beep()
        turns += number < before
        before = number
        yield client.sounded(pts), number + TONES * turns


def test_an_offer_without_sound_goes_on_as_before() -> None:
    async def scenario(running: Running) -> None:
        client = Client()
        answer = await running.rtc.open(Offer(await client.offer(), CONFIG))
        assert "m=audio" not in answer.sdp
        await client.accept(answer.sdp)
        assert len(await client.numbers(5)) == 5
        assert "sound" not in running.rtc.peers()[0].stats()
        await client.close()

    with_rtc(scenario)


def test_sound_alone_is_refused_with_words() -> None:
    async def scenario(running: Running) -> None:
        client = SoundClient()
        sdp = await client.offer()
        alone = sdp.replace("m=video", "m=audio")
        with pytest.raises(BadOffer, match="audio, audio; expected one video section"):
            await running.rtc.open(Offer(alone, CONFIG))
        without_opus = sdp.replace("opus/48000/2", "speex/16000").replace("PCM", "XCM")
        with pytest.raises(BadOffer, match="Opus"):
            await running.rtc.open(Offer(without_opus, CONFIG))
        assert running.host.sessions() == ()
        await client.close()

    with_rtc(scenario)


@pytest.mark.parametrize("rate", [RATE, 90_000])
def test_the_sources_clock_is_told_after_any_number_of_hours(rate: int) -> None:
    clock = ReceiverClock(rate=rate)
    told = []
    for hour in range(30):
        rtp = (12_345 + hour * 3600 * rate) % 2**32
        pts = clock.map(rtp)
        clock.report = (1e9 + hour * 3600, rtp)
        told.append(zero_of(clock, pts + rate))
    assert told == pytest.approx([1e9] * 30, abs=1e-3)
