"""Counts of an engine over its lives, and what a session adds to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from millrace.streaming.telemetry import SessionTelemetry
from millrace.streaming.totals import HISTOGRAMS, TIMES, BusyShare, Ledger, Tally, Totals, added


@given(st.lists(st.floats(0, 5), max_size=40))
def test_a_histogram_holds_each_value_in_the_bucket_of_its_bound(values: list[float]) -> None:
    totals = Totals()
    for value in values:
        totals.observe("stage_seconds", "model", value)
    if not values:
        assert totals.plain() == {}
        return
    *counts, total = totals.plain()["stage_seconds"]["model"]
    assert sum(counts) == len(values) and total == pytest.approx(sum(values))
    for number, bound in enumerate(TIMES):
        assert sum(counts[: number + 1]) == sum(value <= bound for value in values)


def test_bounds_ascend() -> None:
    for bounds in HISTOGRAMS.values():
        assert list(bounds) == sorted(set(bounds))


@given(st.lists(st.one_of(st.none(), st.integers(1, 9)), max_size=30))
def test_a_ledger_never_falls_whenever_the_worker_dies(steps: list[int | None]) -> None:
    ledger, totals, before, expected = Ledger(), Totals(), 0.0, 0
    for step in steps:
        if step is None:
            ledger.ended()
            totals = Totals()
        else:
            totals.count("drops", "superseded", step)
            expected += step
            ledger.report(totals.plain())
        total = ledger.total()
        now = total["drops"]["superseded"][0] if total else 0
        assert now == expected and now >= before
        before = now


def test_tallies_add_number_by_number() -> None:
    one: Tally = {"drops": {"a": (1,)}, "x": {"all": (1, 2)}}
    assert added(one, {"drops": {"a": (2,), "b": (5,)}}, one) == {
        "drops": {"a": (4,), "b": (5,)},
        "x": {"all": (2, 4)},
    }
    assert added() == {}


def test_a_session_counts_for_its_engine_too() -> None:
    totals = Totals()
    for telemetry in (SessionTelemetry(totals), SessionTelemetry(totals)):
        telemetry.took(1.1, 1.0)
        telemetry.stage(1.2, "model", 0.02)
        telemetry.due(1.2, 0.05, frames=4)
        telemetry.due(1.3, -0.01)
        telemetry.finished(1.2, 1.0)
        telemetry.dropped("late_drop", 3)
        telemetry.rung(down=True)
        telemetry.snapshot(1.3, 1 / 30, superseded=2)
        numbers = telemetry.snapshot(1.3, 1 / 30, superseded=3)
        assert numbers["deadline_miss_rate"] == 0.5
        assert numbers["slack_ms"] == {"p05": -10.0, "p50": -10.0}
    tally = totals.plain()
    assert tally["drops"] == {"late_drop": (6,), "superseded": (6,)}
    assert tally["deadlines"] == {"met": (8,), "missed": (8,)}
    assert tally["frames"] == {"made": (2,)} and tally["rung_changes"] == {"down": (2,)}
    assert sum(tally["slack_seconds"]["all"][:-1]) == 4
    assert set(tally["stage_seconds"]) == {"wait", "model", "total"}


def test_the_busy_share_looks_back_some_seconds_only() -> None:
    share = BusyShare(seconds=5.0)
    assert share.of(0.0, 0.0) == 0.0
    assert share.of(2.0, 1.0) == 0.5
    for second in range(3, 20):
        found = share.of(second, 1.0)
    assert found == 0.0
    assert share.of(20.0, 1.0 + 2.5) == pytest.approx(0.5)
