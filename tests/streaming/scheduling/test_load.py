"""The load that lasts: how many rows are expected together, and when anybody steps down for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from millrace.streaming.pipeline import Effort
from millrace.streaming.scheduling.costs import CostTable
from millrace.streaming.scheduling.desk import Desk, Seat
from millrace.streaming.scheduling.load import Place, SteadyLoad, batch_of
from millrace.streaming.scheduling.tasks import Profile, Shape

EFFORTS = (Effort("full"), Effort("half rate", 0.5, rate=0.5))
PROFILE = Profile("a", "a", Shape(128, 128, 1), 20.0, 0.1, 1, EFFORTS)


@pytest.mark.parametrize(
    ("alike", "deadline", "rows"),
    [(1, 0.1, 1), (4, 0.1, 4), (4, 1.0, 4), (4, 0.05, 2), (8, 0.1, 8), (4, 0.001, 1)],
)
def test_who_is_released_within_half_a_deadline_goes_together(
    alike: int, deadline: float, rows: int
) -> None:
    assert batch_of(alike, replace(PROFILE, deadline=deadline)) == rows


def crowd(costs: CostTable) -> tuple[Desk, Mapping[str, Place], SteadyLoad]:
    """Three viewers who ask for more than the device is said to have."""
    desk = Desk(costs)
    for name in ("a", "b", "c"):
        desk.seats[name] = Seat(replace(PROFILE, session=name, user=name))
    places = {s.profile.session: Place.of(s.profile, ((0,), (1,))) for s in desk.seats.values()}
    return desk, places, SteadyLoad(places, lambda seat: 1.0)


@pytest.mark.parametrize("pressed", [True, False])
def test_nobody_steps_down_for_an_estimate_alone(pressed: bool) -> None:
    costs = CostTable()
    costs.seed("pass", PROFILE.shape, None, 0.0, 0.03)
    desk, places, load = crowd(costs)
    load.review(1.0, desk, list(desk.seats.values()), pressed=pressed)
    assert any(place.rung.position for place in places.values()) is pressed
