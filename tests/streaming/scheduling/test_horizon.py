"""The look ahead: everything that is made is in time, at the least loss."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.streaming.scheduling.horizon import Part, due_of, fill, in_time
from millrace.streaming.scheduling.menu import Menu

MENU = Menu((0, 1, 2), (0.069, 0.039, 0.024, 0.0), (3.3, 10.0, 31.0), 3)


def part(release: float, due: float, worth: float = 1.0) -> Part:
    return Part(release, due, MENU, worth)


parts = st.lists(
    st.builds(
        lambda release, slack, worth: part(release, release + slack, worth),
        st.floats(-0.1, 0.3),
        st.floats(0.0, 0.3),
        st.floats(0.1, 5.0),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(parts)
def test_whatever_is_made_is_in_time(found: list[Part]) -> None:
    found.sort(key=due_of)
    outcome = fill(0.0, found)
    assert in_time(0.0, found)
    time = 0.0
    for one in found:
        time = max(time, one.release) + one.menu.costs[one.choice]
    assert outcome.end == pytest.approx(time)
    assert outcome.lost == pytest.approx(sum(one.worth * lost(one.choice) for one in found))


def lost(choice: int) -> float:
    steps = zip(MENU.costs, MENU.costs[1:], MENU.prices, strict=False)
    return sum((a - b) * price for a, b, price in itertools.islice(steps, choice))


def test_enough_for_all_lowers_nobody() -> None:
    found = [part(0.0, 0.1), part(0.0, 0.2), part(0.1, 0.3)]
    assert fill(0.0, found).price == 0.0
    assert [one.choice for one in found] == [0, 0, 0]


def test_the_cheapest_steps_are_taken_first() -> None:
    """Three chunks and 0.13 seconds: two passes for all, rather than nothing for one."""
    found = [part(0.0, 0.13) for _ in range(3)]
    fill(0.0, found)
    assert sorted(one.choice for one in found) == [1, 1, 1]


def test_whoever_is_worth_less_gives_way() -> None:
    found = [part(0.0, 0.1), part(0.0, 0.1, worth=0.01)]
    fill(0.0, found)
    assert [one.choice for one in found] == [0, 2]


def test_what_an_idle_time_separates_is_left_alone() -> None:
    """Two chunks that come together later cannot be helped by lowering the one before them."""
    found = [part(0.0, 0.1), part(0.5, 0.58), part(0.5, 0.58)]
    fill(0.0, found)
    assert [one.choice for one in found] == [0, 1, 1]


def test_a_sure_part_is_made_even_against_dearer_ones() -> None:
    found = [part(0.0, 0.05, worth=0.001), part(0.0, 0.05, worth=100.0)]
    found[0].sure = True
    fill(0.0, found)
    assert found[0].choice == 2


def test_nobody_is_lowered_for_a_part_that_is_given_up_anyway() -> None:
    """The second one is worth next to nothing, and all of it would not be enough."""
    found = [part(0.0, 0.2), part(0.0, 0.03, worth=0.001)]
    fill(0.0, found)
    assert [one.choice for one in found] == [0, 3]
