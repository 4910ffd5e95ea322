"""How many viewers make a load: who comes in one run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from .arrivals import PAUSED_SHARE, Visit, bursty, mean_length, mean_rate, steady
from .scenario import Scenario
from .trace import Row, visits

DRAWS = 12
"""Crowds that are drawn for one load: the one is taken that offers nearest to it. A minute of
bursts alone can offer half or twice its mean, and a sweep over load would compare luck."""


@dataclass(frozen=True, slots=True)
class Load:
    """What arrives in a run.

    Attributes:
        load: of the device's capacity at the fixed effort; 1 fills it.
        seconds: simulated.
        seed: of everything that is drawn.
        kind: "steady" (sessions that stay) or "bursty".
        scale: time compression of bursty arrivals and traces.
        rps: mean arrivals a second at load 1; None derives it from the capacity.
        rows: of a recorded trace, which then takes the place of `kind`.
        admission: whether there is a door; without one everyone gets in, and only the dispatch is
            judged.
    """

    load: float
    seconds: float
    seed: int = 0
    kind: str = "steady"
    scale: float = 1.0
    rps: float | None = None
    rows: tuple[Row, ...] = ()
    admission: bool = False

    def visits(self, scenario: Scenario) -> tuple[Visit, ...]:
        """Who comes, for this scenario's device."""
        if self.rows:
            return self._recorded(scenario)
        if self.kind == "steady":
            sessions = max(1, round(self.load * scenario.capacity()))
            return steady(sessions, self.seconds, scenario.fps)
        if self.rps is not None:
            return self._draw(self.rps * self.load, 0)
        each = scenario.demand(mean_rate()) * mean_length() / self.scale * (1 - PAUSED_SHARE)
        crowds = [self._draw(self.load / each, number) for number in range(DRAWS)]
        return min(crowds, key=lambda crowd: abs(offered(scenario, crowd, self) - self.load))

    def _draw(self, per_second: float, number: int) -> tuple[Visit, ...]:
        return bursty(per_second, self.seconds, self.seed * DRAWS + number, scale=self.scale)

    def _recorded(self, scenario: Scenario) -> tuple[Visit, ...]:
        """The trace with its starts moved together or apart until they make this load; how long a
        visit lasts stays."""
        found = visits(self.rows, self.seed, self.scale)
        span = max(visit.start for visit in found)
        if self.rps is not None:
            wanted = len(found) / (self.rps * self.load)
        else:
            wanted = sum(_work(scenario, visit, visit.end) for visit in found) / self.load
        stretch = wanted / span if span else 1.0
        moved = (_later(visit, visit.start * (stretch - 1)) for visit in found)
        return tuple(visit for visit in moved if visit.start < self.seconds)


def offered(scenario: Scenario, crowd: Iterable[Visit], load: Load) -> float:
    """The load that really comes: mean share of the device that the crowd asks for."""
    return sum(_work(scenario, visit, load.seconds) for visit in crowd) / load.seconds


def _work(scenario: Scenario, visit: Visit, until: float) -> float:
    """Seconds of the device that a visit asks for until then."""
    end = min(visit.end, until)
    paused = sum(max(0.0, min(b, end) - max(a, visit.start)) for a, b in visit.pauses)
    return scenario.demand(visit.fps) * (max(0.0, end - visit.start) - paused)


def _later(visit: Visit, by: float) -> Visit:
    return replace(
        visit,
        start=visit.start + by,
        end=visit.end + by,
        pauses=tuple((a + by, b + by) for a, b in visit.pauses),
        prompts=tuple(at + by for at in visit.prompts),
    )
