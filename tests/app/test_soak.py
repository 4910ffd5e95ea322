"""The parts of the long measurement that can be wrong without anybody noticing."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from millrace.app.processes import resident_mb, tree
from millrace.app.trend import percentile, trend


def series(slope_per_min: float, noise: float, seconds: int = 600) -> list[tuple[float, float]]:
    """One value a second around 100 with correlated noise, as latencies have."""
    rng = np.random.default_rng(1)
    wander = np.convolve(rng.normal(0, noise, seconds + 9), np.ones(10) / 10, "valid")
    return [(t, 100 + slope_per_min * t / 60 + wander[t]) for t in range(seconds)]


def test_growth_is_found() -> None:
    found = trend(series(2.0, 5.0))
    assert found.grows and found.slope == pytest.approx(2.0, abs=3 * found.error)


@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_noise_and_shrinking_are_no_growth(slope: float) -> None:
    assert not trend(series(slope, 20.0)).grows


def test_too_little_says_nothing() -> None:
    short = trend([(0.0, 1.0), (1.0, 9.0)])
    assert math.isinf(short.error) and not short.grows
    assert short.as_dict()["error"] is None


def test_percentiles() -> None:
    assert percentile(range(100), 0.95) == 95
    assert percentile([3.0], 0.5) == 3.0
    assert math.isnan(percentile([], 0.5))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux")
def test_children_are_found_and_weighed() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        pids = tree(os.getpid())
        assert child.pid in pids and pids[0] == os.getpid()
        assert resident_mb(pids) > 5
        child.communicate(b"\n")
    assert child.pid not in tree(os.getpid())
    assert resident_mb([child.pid]) == 0
