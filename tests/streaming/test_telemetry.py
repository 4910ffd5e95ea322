"""Windows, rates and a session's numbers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from millrace.streaming.telemetry import Rate, SessionTelemetry, Window, percentile


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0.01, 1.0))
def test_percentile_is_the_nearest_rank(values: list[float], share: float) -> None:
    expected = np.quantile(values, share, method="inverted_cdf")
    assert percentile(sorted(values), share) == pytest.approx(expected)


def test_percentile_of_nothing_is_unknown() -> None:
    assert math.isnan(percentile([], 0.5))


@given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from([1.0, 2.0, 3.0])), max_size=60))
def test_a_window_knows_the_last_seconds_only(steps: list[tuple[float, float]]) -> None:
    window, now = Window(10.0, limit=8), 0.0
    kept: list[tuple[float, float]] = []
    for step, value in steps:
        now += step
        window.add(now, value)
        kept = [(t, v) for t, v in [*kept, (now, value)] if t >= now - 10.0][-8:]
        values = sorted(v for _, v in kept)
        assert len(window) == len(values)
        assert window.least(now) == values[0]
        assert window.percentiles(now, (0.5,)) == [percentile(values, 0.5)]


@pytest.mark.parametrize("fps", [5.0, 30.0, 120.0])
def test_a_rate_is_right_from_the_second_event_and_fades_when_they_stop(fps: float) -> None:
    rate = Rate(2.0)
    for index in range(int(fps * 4)):
        now = index / fps
        rate.add(now)
        assert rate.per_second(now) == pytest.approx(fps if index else 0.0)
    assert rate.per_second(now + 1.0) < 0.7 * fps
    assert rate.per_second(now + 3.0) == 0.0
    assert rate.total == int(fps * 4)


@pytest.mark.parametrize("burst", [1, 4, 12])
def test_pictures_that_leave_at_once_do_not_raise_the_rate(burst: int) -> None:
    """Chunks of a slow model, one each half second: between two of them lie all of one."""
    rate = Rate(2.0)
    for chunk in range(8):
        for _ in range(burst):
            rate.add(0.5 * chunk)
        assert rate.per_second(0.5 * chunk) == pytest.approx(2.0 * burst if chunk else 0.0)
    assert rate.total == 8 * burst


def test_a_snapshot_is_plain_data_even_before_anything_happened() -> None:
    telemetry = SessionTelemetry()
    empty = json.loads(json.dumps(telemetry.snapshot(0.0, 1 / 30, 0), allow_nan=False))
    assert empty["e2e_ms"] == {"p50": None, "p95": None, "p99": None}
    telemetry.opened(1.0)
    telemetry.took(1.1, 1.0)
    telemetry.finished(1.2, 1.0)
    telemetry.finished(1.25, 1.05, repeated=True)
    telemetry.dropped("outbox", 3)
    numbers = telemetry.snapshot(1.25, 1 / 30, 1)
    assert numbers["ttff_ms"] == pytest.approx(200)
    assert numbers["jitter_ms"] == pytest.approx(50 - 1000 / 30, abs=0.01)
    assert numbers["drops"] == {"superseded": 1, "outbox": 3}
    assert numbers["superseded_rate"] == 0.5 and numbers["repeated"] == 1
