"""Clients that behave badly learn why, and nobody else notices."""

from __future__ import annotations

from typing import Any

import pytest
from millrace.app.manners import FAULTS, Deafness, Faults, Rated, Silence
from millrace.app.settings import ServerSettings

from .rig import Client, Numbers
from .test_rtc import Running, freed, with_rtc


async def all_arrive(running: Running, client: Client, count: int = 40) -> None:
    """A neighbour gets its pictures in order, and none is lost unaccounted for."""
    numbers = await client.numbers(count)
    assert numbers == sorted(numbers)
    missing = numbers[-1] - numbers[0] + 1 - len(set(numbers))
    drops = running.rtc.totals().drops
    assert missing <= drops["ingest"] + drops["egress"]


def test_who_sends_too_fast_is_told_and_slows_nobody_down() -> None:
    async def scenario(running: Running) -> None:
        async with running.viewer() as good, running.viewer(Numbers(fps=90.0)) as bad:
            said = await bad.message("event", lambda m: m["event"] == "error")
            assert "more than the 30 pictures a second" in said["message"]
            await all_arrive(running, good)
            stats = await bad.message("stats", lambda m: m["drops"].get("too_fast", 0) > 5)
            assert stats["state"] == "live"
            assert len([m for m in bad.messages if m["type"] == "event"]) == 1, "said once"
            assert not [m for m in good.messages if m["type"] == "event"]

    with_rtc(scenario)


def test_who_sends_nonsense_is_cut_off_after_a_while() -> None:
    async def scenario(running: Running) -> None:
        async with running.viewer() as good, running.viewer() as bad:
            await bad.message("hello")
            (_, session) = running.host.sessions()
            for _ in range(FAULTS - 1):
                bad.send({"type": "controls", "values": {"strength": "much"}})
            bad.send({"type": "ping", "t": 1})
            await bad.message("pong")
            assert session.state == "live", "one more is allowed"
            bad.send("{")
            closed = await bad.message("event", lambda m: m["event"] == "closed")
            assert f"{FAULTS} bad messages" in closed["message"] and await freed(session)
            await all_arrive(running, good)
            assert running.rtc.closed == {"malformed": 1}

    with_rtc(scenario)


def test_who_stops_reading_loses_its_place() -> None:
    async def scenario(running: Running) -> None:
        async with running.viewer() as good, running.viewer() as bad:
            await bad.numbers(3)
            (_, session) = running.host.sessions()

            async def nothing(data: bytes) -> None:
                """Its reports and its acknowledgements get lost: it may as well not be there."""

            transport: Any = bad.pc.getSenders()[0].transport
            transport._send_rtp = transport._send_data = nothing
            assert await freed(session)
            assert session.reason == "you took no picture for 2 s"
            await all_arrive(running, good)
            assert running.rtc.closed == {"deaf": 1}

    with_rtc(scenario, settings=ServerSettings(deaf_timeout=2.0))


def test_a_rate_is_kept_with_some_slack() -> None:
    rated = Rated(30.0)
    assert sum(rated.takes(i / 36) for i in range(360)) == 360, "a fast camera passes"
    rated = Rated(30.0)
    passed = sum(rated.takes(i / 120) for i in range(1200))
    assert 10 * 30 < passed < 10 * 30 * 1.25 + 20
    assert Rated(30.0).takes(0.0)
    late = Rated(30.0)
    assert [late.takes(now) for now in (0.0, *[5.0] * 15)].count(False) == 0, "a short burst passes"


def test_faults_are_forgiven_with_time() -> None:
    faults = Faults()
    assert not any(faults.another(2.0 * i) for i in range(500))
    assert [faults.another(1000.0) for _ in range(FAULTS)].count(True) >= 1


def test_silence_is_mentioned_once_each_time() -> None:
    silence = Silence()
    assert not silence.noticed(100, None, paused=False), "it never began"
    assert not silence.noticed(104, 100, paused=False)
    assert not silence.noticed(106, 100, paused=True)
    assert silence.noticed(106, 100, paused=False)
    assert not silence.noticed(107, 100, paused=False)
    assert not silence.noticed(108, 107.9, paused=False)
    assert silence.noticed(114, 107.9, paused=False)


@pytest.mark.parametrize(
    ("reports", "waiting", "seconds"), [(1, 100, 4.0), (2, 100, 0.0), (1, 99, 0.0), (1, 500, 4.0)]
)
def test_taking_anything_is_a_sign_of_life(reports: int, waiting: int, seconds: float) -> None:
    deafness = Deafness()
    assert deafness.lasts(10.0, 1, 100) == 0.0
    assert deafness.lasts(14.0, reports, waiting) == seconds
