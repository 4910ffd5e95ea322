"""The hosts of captions: in this process, and in a worker that may die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from caption_fakes import DEADLY, Ear, fake_model, grey, levels, luma_of
from millrace.streaming.captions.counts import added
from millrace.streaming.captions.host import (
    CaptionConfig,
    CaptionEvent,
    CaptionHost,
    CaptionOptions,
    CaptionRefused,
    CaptionSession,
    Said,
)
from millrace.streaming.captions.local import LocalCaptionHost
from millrace.streaming.captions.supervisor import CaptionWorkerHost
from millrace.streaming.captions.track import Cue
from millrace.streaming.clock import ManualClock, SystemClock

READY_S = 240.0
"""A worker loads torch; at low priority on a busy machine that takes long."""
FAKE = CaptionOptions("caption_fakes:build", max_sessions=2)
CONFIG = CaptionConfig()


@pytest.fixture(scope="module", params=["local", "worker"])
def host(request: pytest.FixtureRequest) -> Iterator[CaptionHost]:
    kind = LocalCaptionHost if request.param == "local" else CaptionWorkerHost
    host = kind(FAKE)
    host.start()
    host.ready(READY_S)
    yield host
    host.stop()


def now() -> float:
    """When a film begins: ahead, so that no look is late however slow this machine is."""
    return SystemClock().now() + 600


def opened(host: CaptionHost, ear: Ear) -> CaptionSession:
    session = host.open(CONFIG, ear)
    ear.wait(lambda ear: "live" in ear.events())
    return session


def watch_film(session: CaptionSession, ear: Ear, plan: list[int], start: float) -> None:
    """Show a film, waiting for each level to be said: nothing may be superseded here."""
    said = len(ear.texts())
    for second, level in enumerate(plan):
        for frame in levels([level], start=start + second):
            session.see(frame)
        said += 1
        ear.wait(lambda ear, n=said: len(ear.texts()) >= n)


def test_a_session_is_told_what_it_shows(host: CaptionHost) -> None:
    ear = Ear()
    session = opened(host, ear)
    assert session.state == "live"
    watch_film(session, ear, [10, 20, 30], now())
    assert ear.texts() == [f"the picture is now level {n}" for n in (10, 20, 30)]
    assert [cue.id for cue in session.cues()] == [1, 2, 3]
    number = session.ask("what level is it")
    ear.wait(lambda ear: ear.parts() and ear.parts()[-1].done)
    assert ear.answer(number) == "it is 30"
    assert len([part for part in ear.parts(number) if part.text]) == 3  # word by word
    session.close("enough")
    ear.wait(lambda ear: "closed" in ear.events())
    assert session.state == "closed"


def test_questions_about_the_past_name_their_thumbnails(host: CaptionHost) -> None:
    ear = Ear()
    session = opened(host, ear)
    watch_film(session, ear, [10, 20, 30, 40], now())
    number = session.ask("what was it", at=1.2)
    ear.wait(lambda ear: ear.parts() and ear.parts()[-1].done)
    last = ear.parts(number)[-1]
    assert last.span == (1.0, 2.0) and last.looks == (1.0, 2.0)
    jpeg = session.thumbnail(last.looks[0])
    assert jpeg is not None and jpeg.startswith(b"\xff\xd8")
    assert session.thumbnail(float("nan")) is None
    session.close()
    ear.wait(lambda ear: "closed" in ear.events())


def test_alerts_fire_and_can_be_removed(host: CaptionHost) -> None:
    ear = Ear()
    session = opened(host, ear)
    start = now()
    alert = session.watch("Tell me when level 30")
    watch_film(session, ear, [10, 35], start)
    ear.wait(lambda ear: ear.fired())
    assert (ear.fired()[0].alert, ear.fired()[0].condition) == (alert, "level 30")
    assert ear.texts("alert") == ["level 30"]
    session.unwatch(alert)
    watch_film(session, ear, [10, 40, 12], start + 2)
    assert len(ear.fired()) == 1
    session.close()
    ear.wait(lambda ear: "closed" in ear.events())


def test_bad_input_is_refused_with_words(host: CaptionHost) -> None:
    ear = Ear()
    session = opened(host, ear)
    with pytest.raises(CaptionRefused, match="nothing was seen"):
        session.ask("what is it")
    watch_film(session, ear, [10], now())
    for question in ("", " \n\t", "x" * 10_000):
        with pytest.raises(CaptionRefused, match="question"):
            session.ask(question)
    for at in (float("nan"), float("inf"), -1.0, 1e6):
        with pytest.raises(CaptionRefused, match="cannot be asked about"):
            session.ask("what", at)
    with pytest.raises(CaptionRefused, match="8 alerts"):
        for number in range(100):
            session.watch(f"level {number % 60}")
    with pytest.raises(CaptionRefused, match="what to watch for"):
        session.watch("tell me when")
    with pytest.raises(CaptionRefused, match="at most 500"):
        session.instruct("please " * 200)
    with pytest.raises(CaptionRefused, match="captured_at"):
        session.see(grey(0, 50, start=float("nan")))
    with pytest.raises(CaptionRefused, match="place in the track"):
        session.hear(Cue(1, float("nan"), 2.0, "hello", "speech"), 0.1)
    with pytest.raises(CaptionRefused, match="memory policy"):
        host.open(CaptionConfig(memory="elephant"), ear)
    # And the stream goes on.
    session.ask("what is it")
    ear.wait(lambda ear: ear.parts() and ear.parts()[-1].done)
    assert ear.answer() == "it is 10"
    session.close()
    ear.wait(lambda ear: "closed" in ear.events())
    with pytest.raises(CaptionRefused, match="ended"):
        session.ask("what is it")


def test_there_is_room_for_so_many(host: CaptionHost) -> None:
    ears = [Ear(), Ear()]
    sessions = [opened(host, ear) for ear in ears]
    with pytest.raises(CaptionRefused, match="all 2 places"):
        host.open(CONFIG, Ear())
    for session, ear in zip(sessions, ears, strict=True):
        session.close()
        ear.wait(lambda ear: "closed" in ear.events())
    again = Ear()
    opened(host, again).close()
    again.wait(lambda ear: "closed" in ear.events())


def test_speech_takes_its_place_in_the_track(host: CaptionHost) -> None:
    ear = Ear()
    session = opened(host, ear)
    session.hear(Cue(7, 0.5, 1.0, "hel", "speech", final=False), 0.1)
    watch_film(session, ear, [10], now())
    session.hear(Cue(7, 0.5, 1.5, "hello there", "speech"), 0.2)
    session.hear(Cue(7, 2.0, 2.5, "another", "speech"), 0.2)
    by_id = {cue.id: cue.text for cue in session.cues()}
    assert list(by_id.values()) == ["hello there", "the picture is now level 10", "another"]
    assert ear.texts("speech") == ["hel", "hello there", "another"]
    session.close()
    ear.wait(lambda ear: "closed" in ear.events())


def test_numbers_are_told(host: CaptionHost) -> None:
    ear = Ear()
    session = opened(host, ear)
    watch_film(session, ear, [10, 20], now())
    session.ask("what is it")
    ear.wait(lambda ear: ear.parts() and ear.parts()[-1].done)
    stats: Any = session.stats()
    assert stats["questions"] == 1 and stats["cues"] == 2
    assert stats["seen_age_ms"]["p95"] is not None and stats["seen_age_s"] is not None
    assert stats["delay_ms"]["p95"] is not None and stats["first_word_ms"]["p50"] > 0
    assert stats["looks"]["superseded"] == 0
    session.close()
    ear.wait(lambda ear: "closed" in ear.events())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_killed_worker_comes_back() -> None:
    host = CaptionWorkerHost(FAKE)
    host.start()
    try:
        host.ready(READY_S)
        ear = Ear()
        session = opened(host, ear)
        session.watch("level 50")
        start = now()
        watch_film(session, ear, [10, 20], start)
        os.kill(host.stats()["worker"]["pid"], signal.SIGKILL)
        ear.wait(lambda ear: "interrupted" in ear.events())
        assert session.state == "interrupted"
        number = session.ask("what is it")  # refused politely, and not by raising
        ear.wait(lambda ear: ear.parts(number))
        assert "started again" in ear.parts(number)[-1].error
        ear.wait(lambda ear: ear.events().count("live") == 2)
        # A film goes on later than the one before ended, however soon the worker is there again.
        watch_film(session, ear, [55], start + 10)
        ear.wait(lambda ear: ear.fired())
        assert ear.texts()[-1] == "the picture is now level 55"
        assert [cue.id for cue in session.cues()][:3] == [1, 2, 3]
        assert host.stats()["worker"]["restarts"] == 1
        assert session.stats()["cues"] >= 4
        session.close("done")
        ear.wait(lambda ear: "closed" in ear.events())
    finally:
        host.stop()
    assert host.state == "stopped"


def test_a_session_that_ends_worker_after_worker_is_ended_alone() -> None:
    """The first death may be anybody's fault; at the second one only the guilty was at work."""
    host = CaptionWorkerHost(CaptionOptions("caption_fakes:build_fragile", max_sessions=2))
    host.start()
    try:
        host.ready(READY_S)
        good, bad = Ear(), Ear()
        session, deadly = opened(host, good), opened(host, bad)
        start = now()
        watch_film(session, good, [10], start)
        for lives in (1, 2):
            for frame in levels([DEADLY], start=start + 10 * lives):
                deadly.see(frame)
            good.wait(lambda ear, n=lives: ear.events().count("live") == n + 1)
        bad.wait(lambda ear: "closed" in ear.events())
        (told,) = (t for t in bad.all if isinstance(t, CaptionEvent) and t.kind == "closed")
        assert "died twice" in told.message and "exit code 3" in told.message
        assert deadly.state == "closed" and session.state == "live"
        watch_film(session, good, [20, 30], start + 30)
        assert good.texts()[-1] == "the picture is now level 30"
        assert (host.state, host.stats()["sessions"]) == ("live", 1)
    finally:
        host.stop()


def test_a_model_that_is_not_there_is_told() -> None:
    host = CaptionWorkerHost(CaptionOptions("no/such/model"))
    host.start()
    with pytest.raises(RuntimeError, match="no/such/model"):
        host.ready(READY_S)
    with pytest.raises(CaptionRefused, match="no/such/model"):
        host.open(CONFIG, Ear())
    host.stop()


def test_a_stopped_host_ends_its_sessions() -> None:
    host = LocalCaptionHost(fake_model(), SystemClock())
    with pytest.raises(CaptionRefused, match="not running"):
        host.open(CONFIG, Ear())
    host.start()
    host.ready(READY_S)
    ear = Ear()
    opened(host, ear)
    host.stop()
    host.stop()
    assert ear.events()[-1] == "closed"


def test_the_delay_is_told_from_the_capture_of_the_last_picture() -> None:
    clock = ManualClock(100.0)
    host = LocalCaptionHost(fake_model(), clock)
    host.start()
    host.ready(READY_S)
    ear = Ear()
    session = host.open(CONFIG, ear)
    for index in range(3):
        session.see(grey(index, luma_of(10), start=99.0))
    ear.wait(lambda ear: ear.texts())
    (delay,) = (told.delay for told in ear.all if isinstance(told, Said))
    assert delay == pytest.approx(0.5)  # taken at 99.5 s
    host.stop()


def test_counts_of_a_worker_that_is_gone_are_added() -> None:
    past = {"turns": 3, "tokens_kept": 9, "looks": {"taken": 3, "late": 1}, "turn_ms": {"p50": 1.0}}
    now = {"turns": 2, "tokens_kept": 4, "looks": {"taken": 2, "unchanged": 5}}
    assert added(past, now) == {
        "turns": 5,
        "tokens_kept": 4,
        "looks": {"taken": 5, "late": 1, "unchanged": 5},
        "turn_ms": {"p50": 1.0},
    }
    assert added({}, now) == now
