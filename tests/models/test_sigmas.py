"""Noise schedules: the shifted table, lookups, and how levels lie over chunks in flight."""

from __future__ import annotations

import pytest
from millrace.models.sigmas import (
    Level,
    Schedule,
    distilled_levels,
    sequential,
    shifted_table,
    sigma_of,
    stream_batch,
    uniform_levels,
)


def test_lookups_of_the_released_checkpoints() -> None:
    found = [round(sigma_of(t), 5) for t in (700, 500, 400, 200, 0)]
    assert found == [0.70023, 0.49972, 0.40026, 0.19835, 0.00794]
    assert sigma_of(1000) == 1.0


def test_lookup_is_the_nearest_of_all() -> None:
    table = shifted_table(8.0)
    assert len(table) == 1000 and list(table) == sorted(table, reverse=True)
    for timestep in range(0, 1001, 7):
        nearest = min(abs(1000 * sigma - timestep) for sigma in table)
        assert abs(1000 * sigma_of(timestep) - timestep) == pytest.approx(nearest)


def test_levels() -> None:
    assert [level.timestep for level in distilled_levels(2)] == [700, 500]
    assert uniform_levels(2, start=0.8) == (Level(0.8, 800.0), Level(0.4, 400.0))
    shifted = uniform_levels(4, shift=8.0)
    assert shifted[0].sigma == 1.0 and shifted[1].sigma == pytest.approx(0.96)


def test_stream_batch_and_sequential_are_settings() -> None:
    levels = distilled_levels(3)
    lanes = stream_batch(5, levels)
    assert (lanes.chunks, lanes.frames, lanes.micro_steps, lanes.delay) == (3, 1, 1, 2)
    assert [lanes.lane(i) for i in range(3)] == [(level,) for level in levels]
    passes = sequential(5, 2, levels)
    assert (passes.chunks, passes.micro_steps, passes.delay) == (1, 3, 0)
    assert passes.lane(0) == levels
    assert lanes.steps == passes.steps == 3
    assert [passes.sigma_after(i) for i in range(3)] == [levels[1].sigma, levels[2].sigma, 0.0]


def test_moving_buffer() -> None:
    levels = uniform_levels(6)
    buffer = Schedule(reference=0, chunks=3, frames=2, micro_steps=2, levels=levels)
    assert [level for place in range(3) for level in buffer.lane(place)] == list(levels)


def test_wrong_schedules_are_refused() -> None:
    levels = distilled_levels(2)
    with pytest.raises(ValueError, match="give 3"):
        Schedule(0, 3, 1, 1, levels)
    with pytest.raises(ValueError, match="fall strictly"):
        Schedule(0, 2, 1, 1, levels[::-1])
    with pytest.raises(ValueError, match="at least 1"):
        Schedule(0, 2, 0, 1, levels)
    with pytest.raises(ValueError, match="1 to 4"):
        distilled_levels(5)
    with pytest.raises(ValueError, match="outside 0..1000"):
        sigma_of(1001)
    with pytest.raises(ValueError, match="above 0"):
        uniform_levels(2, start=0.0)
