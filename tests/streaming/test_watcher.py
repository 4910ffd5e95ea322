"""What a watcher decides by: who is blamed, when to ask, when to start again. No process here."""

from __future__ import annotations

from millrace.streaming.suspects import Blame, LaunchMark
from millrace.streaming.watcher import Heartbeat, Restarts


def test_two_are_blamed_once_and_one_twice() -> None:
    blame = Blame(window_s=60)
    assert blame.died(0, ["a", "b", "c"]) == frozenset()
    assert blame.suspects("b")
    assert blame.died(30, ["b"]) == {"b"}
    assert blame.lapsed(59) == frozenset() and blame.lapsed(61) == {"a", "c"}
    assert blame.died(62, ["a"]) == frozenset(), "the first time was long ago"


def test_a_mark_outlives_its_writer() -> None:
    ours = LaunchMark()
    theirs = LaunchMark(ours.name)
    assert ours.read() == ()
    theirs.write(["s1", "s22"])
    theirs.close()
    assert ours.read() == ("s1", "s22")
    ours.write([])
    assert ours.read() == ()
    ours.remove()


def test_restarts_back_off_and_end() -> None:
    policy = Restarts(limit=5, window_s=60)
    assert [policy.died(now) for now in (0, 1, 2, 3, 4)] == [0.0, 0.25, 0.5, 1.0, None]
    patient = Restarts(limit=5, window_s=60)
    assert [patient.died(now) for now in range(0, 1000, 61)] == [0.0] * 17


def test_a_heartbeat_asks_one_question_at_a_time() -> None:
    heart = Heartbeat(hang_s=5.0)
    assert not heart.asks(1e9), "not before the worker is ready"
    heart.begin(10.0)
    assert heart.asks(10.0) and not heart.asks(12.0)
    assert heart.hangs_at == heart.due == 15.0
    heart.answered(13.0)
    assert not heart.asks(13.4) and heart.due == 13.5 and heart.asks(13.5)
    heart.stop()
    assert heart.due == float("inf")
