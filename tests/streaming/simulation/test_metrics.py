"""The ledger and the numbers that come out of it, on lives short enough to reckon by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from millrace.streaming.pipeline import Effort
from millrace.streaming.scheduling.tasks import Profile, Shape, Task
from millrace.streaming.simulation.metrics import Ledger, jain, quality, summary, user_service

FOUR, TWO, ONE = (Effort(f"{n}", q, passes=n) for n, q in ((4, 1.0), (2, 0.9), (1, 0.75)))
LOW = Effort("low", 0.55, passes=1, scale=0.5)
PROFILE = Profile("a", "ann", Shape(64, 64, 4), 16, 0.2, 4, (FOUR, TWO, ONE, LOW))


def chunk(number: int, session: str = "a", still: bool = False) -> Task:
    return Task(session, number, number * 0.25, number * 0.25 + 0.2, still)


def ledger_of(fates: str, profile: Profile = PROFILE) -> Ledger:
    """A life in letters: d done in 0.1 s, l late, D dropped late, s superseded, r still, h half
    rate, o still open."""
    ledger = Ledger()
    ledger.joined(0.0, profile)
    for number, fate in enumerate(fates):
        task = chunk(number, profile.session)
        ledger.released(task)
        if fate in "dl":
            ledger.finished(task.released + (0.1 if fate == "d" else 0.3), task, TWO, 2)
        elif fate in "Dsrh":
            causes = {"D": "late_drop", "s": "superseded", "r": "still", "h": "half_rate"}
            ledger.held(task.released, task, causes[fate])  # type: ignore[arg-type]
    return ledger


def test_rates_count_what_they_say() -> None:
    ledger = ledger_of("ddddlDsrho")
    ledger.end(9 * 0.25 + 0.1)
    numbers = summary(ledger, 2.5, 1.0)
    assert numbers["deadline_miss_rate"] == pytest.approx(2 / 7, abs=1e-4)
    assert numbers["superseded_rate"] == pytest.approx(1 / 9, abs=1e-4)
    assert numbers["mean_quality"] == pytest.approx((4 * 0.9 + 0.95) / 9, abs=1e-4)
    assert numbers["continuous_play_ratio"] == pytest.approx(5 / 9, abs=1e-4)
    assert numbers["goodput_fps"] == 4 * 4 / 2.5 and numbers["raw_fps"] == 5 * 4 / 2.5
    assert numbers["e2e_ms"] == {"p50": 100.0, "p95": 300.0, "p99": 300.0}
    assert numbers["ttff_ms"]["p50"] == 100.0
    assert numbers["jitter_ms"] == 200.0
    assert numbers["rungs"] == {"2": 5, "still": 1}
    assert numbers["gpu_busy"] == 0.4
    assert numbers["drops"] == {
        "half_rate": 1, "late": 1, "late_drop": 1, "still": 1, "superseded": 1,
    }  # fmt: skip
    assert numbers["chunks"] == {"released": 10, "done": 4, "open": 1, "overdue": 0}


def test_what_should_be_done_by_the_end_was_missed() -> None:
    ledger = ledger_of("o")
    ledger.end(0.3)
    assert summary(ledger, 0.3, 0)["deadline_miss_rate"] == 1.0


def test_replaced_after_its_deadline_is_missed() -> None:
    ledger = ledger_of("")
    for number, at in ((0, 0.19), (1, 0.46)):
        ledger.released(chunk(number))
        ledger.held(at, chunk(number), "superseded")
    assert dict(ledger.lives["a"].fates) == {"superseded": 1, "late_drop": 1}


def test_a_chunk_has_one_fate() -> None:
    ledger = ledger_of("d")
    with pytest.raises(RuntimeError, match="two fates"):
        ledger.held(1.0, chunk(0), "late_drop")


def test_what_waits_of_a_session_that_left_is_not_missed() -> None:
    ledger = ledger_of("do")
    ledger.left(0.5, "a")
    ledger.end(10.0)
    assert dict(ledger.lives["a"].fates) == {"done": 1, "left": 1}
    assert summary(ledger, 10, 0)["deadline_miss_rate"] == 0.0


@pytest.mark.parametrize(
    ("effort", "passes", "worth"),
    [(FOUR, 4, 1.0), (FOUR, 3, 0.95), (FOUR, 1, 0.75), (TWO, 2, 0.9), (LOW, 1, 0.55), (TWO, 6, 1)],
)
def test_early_exit_is_worth_what_its_passes_are(effort: Effort, passes: int, worth: float) -> None:
    assert quality(PROFILE, effort, passes) == pytest.approx(worth)


def test_fewer_passes_than_any_rung_are_worth_their_share() -> None:
    assert quality(replace(PROFILE, efforts=(FOUR,)), FOUR, 1) == 0.25


def test_service_is_counted_by_user_and_weight() -> None:
    ledger = ledger_of("dddd")
    others = [replace(PROFILE, session=s, user="bob", weight=2.0) for s in ("b", "c")]
    for profile in others:
        ledger.joined(0.0, profile)
        for number in range(4):
            ledger.released(chunk(number, profile.session))
            ledger.finished(number * 0.25 + 0.1, chunk(number, profile.session), TWO, 2)
    ledger.end(1.0)
    service = user_service(ledger.lives.values())
    assert service["ann"] == pytest.approx(service["bob"]) == pytest.approx(3.6)
    assert summary(ledger, 1.0, 0)["fairness_jain"] == 1.0


def test_repeats_of_still_pictures_are_no_service() -> None:
    ledger = ledger_of("drdrrd")
    ledger.end(1.4)
    assert user_service(ledger.lives.values())["ann"] == pytest.approx(3 * 0.9 / (6 * 0.25))
    assert ledger.lives["a"].quality > ledger.lives["a"].served == pytest.approx(2.7)


def test_visits_one_after_the_other_add_their_time() -> None:
    ledger = ledger_of("dd")
    ledger.left(0.5, "a")
    ledger.joined(1.0, replace(PROFILE, session="b"))
    ledger.released(chunk(4, "b"))
    ledger.finished(1.1, chunk(4, "b"), TWO, 2)
    ledger.end(2.0)
    assert user_service(ledger.lives.values())["ann"] == pytest.approx(0.9 / 0.25)


def test_jain() -> None:
    assert jain([1, 1, 1]) == 1.0
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([]) == 1.0 == jain([0, 0])


def test_nothing_at_all_is_no_error() -> None:
    numbers = summary(Ledger(), 1.0, 0.0)
    assert numbers["deadline_miss_rate"] == 0.0 and numbers["e2e_ms"]["p50"] is None
