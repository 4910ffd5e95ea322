"""The cost table: quantiles, interpolation, the neighbour's factor, and the file it is kept in."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from millrace.streaming.scheduling.cost_store import cost_file, load_costs, save_costs
from millrace.streaming.scheduling.costs import ENOUGH, SAMPLES, CostTable
from millrace.streaming.scheduling.tasks import Shape

SHAPE = Shape(128, 128, 4)


def measured(points: dict[int, float]) -> CostTable:
    table = CostTable()
    for rows, seconds in points.items():
        for _ in range(ENOUGH):
            table.observe("pass", SHAPE, rows, None, seconds)
    return table


def test_nothing_known_costs_nothing_and_a_formula_serves_until_enough_is_measured() -> None:
    table = CostTable()
    assert table.seconds("pass", SHAPE, 1, None) == 0.0
    table.seed("pass", SHAPE, None, fixed=0.01, per_row=0.02)
    assert table.seconds("pass", SHAPE, 3, None, 0.5) == pytest.approx(0.07)
    assert table.seconds("pass", SHAPE, 3, None, 0.99) == pytest.approx(0.07 * 1.15)
    for _ in range(ENOUGH):
        table.observe("pass", SHAPE, 3, None, 0.05)
    assert table.seconds("pass", SHAPE, 3, None, 0.5) == pytest.approx(0.05)


def test_rows_between_measured_ones_are_interpolated_and_none_is_guessed_low() -> None:
    table = measured({2: 0.02, 4: 0.03})
    assert table.seconds("pass", SHAPE, 3, None) == pytest.approx(0.025)
    assert table.seconds("pass", SHAPE, 8, None) == pytest.approx(0.06)
    assert table.seconds("pass", SHAPE, 1, None) == pytest.approx(0.02)


@given(st.dictionaries(st.integers(1, 8), st.floats(0.001, 1.0), min_size=1))
def test_more_rows_never_cost_less(points: dict[int, float]) -> None:
    table = measured(points)
    # Where a dip was measured exactly it is told as measured; between the points nothing dips.
    counts = [n for n in range(1, 17) if n not in points]
    costs = [table.seconds("pass", SHAPE, n, None, 0.5) for n in counts]
    assert all(a <= b + 1e-9 for a, b in zip(costs, costs[1:], strict=False))


def test_a_larger_picture_costs_in_proportion_and_a_smaller_one_saves_nothing_for_sure() -> None:
    table = measured({1: 0.02})
    assert table.seconds("pass", Shape(256, 128, 4), 1, None) == pytest.approx(0.04)
    assert table.seconds("pass", Shape(64, 64, 4), 1, None) == pytest.approx(0.02)


def test_quantiles_come_from_the_newest_samples() -> None:
    table = CostTable()
    random = Random(0)
    values = [random.uniform(0.010, 0.0102) for _ in range(2 * SAMPLES)]
    for value in values:
        table.observe("pass", SHAPE, 1, None, value)
    newest = sorted(values[-SAMPLES:])
    assert table.seconds("pass", SHAPE, 1, None, 0.5) == newest[SAMPLES // 2]
    assert table.seconds("pass", SHAPE, 1, None, 0.99) == newest[int(0.99 * SAMPLES)]


def test_cold_samples_are_left_out() -> None:
    table = measured({1: 0.01})
    table.observe("pass", SHAPE, 1, None, 5.0, cold=True)
    assert table.seconds("pass", SHAPE, 1, None) == pytest.approx(0.01)


def launch(table: CostTable, seconds: float, times: int = 1) -> None:
    for _ in range(times):
        for _ in range(4):
            table.observe("pass", SHAPE, 1, None, seconds)
        table.launched()


def test_a_neighbour_is_believed_soon_and_forgotten_slowly() -> None:
    table = measured({1: 0.010})
    launch(table, 0.010, 40)
    launch(table, 0.050)
    assert table.interference == 1.0, "one hiccup is no neighbour"
    launch(table, 0.020, 6)
    assert table.interference > 1.6
    assert table.seconds("pass", SHAPE, 1, None, 0.5) > 0.016
    launch(table, 0.010, 10)
    assert 1.2 < table.interference < 1.9
    launch(table, 0.010, 100)
    assert table.interference == pytest.approx(1.0, abs=0.05)
    launch(table, 9.0, 9)
    assert table.interference <= 4.0


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    table = measured({1: 0.01, 4: 0.03})
    table.observe("encode", SHAPE, 1, 2, 0.004)
    file = cost_file(tmp_path / "new", ("cpu", "2.13", "float32"))
    assert load_costs(file) is None
    save_costs(file, table)
    kept = load_costs(file)
    assert kept is not None
    for rows in (1, 2, 4, 8):
        expected = table.seconds("pass", SHAPE, rows, None)
        assert kept.seconds("pass", SHAPE, rows, None) == pytest.approx(expected, abs=1e-6)
    assert cost_file(tmp_path, ("cpu", "2.14", "float32")).name != file.name


@pytest.mark.parametrize("text", ["{", "7", json.dumps([["sleep", 1, 1, 1, 1, None, [0.1]]])])
def test_a_broken_file_is_said_and_measured_again(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "costs.json"
    file.write_text(text)
    with caplog.at_level(logging.WARNING):
        assert load_costs(file) is None
    assert "measuring again" in caplog.text
