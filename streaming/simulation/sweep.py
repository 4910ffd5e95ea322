"""One policy at one load, from a scenario to the benchmark's numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..scheduling.policies import policy_named
from ..scheduling.scheduler import Scheduler
from .arrivals import Visit, bursty, mean_length, mean_rate, steady
from .calibration import measured_costs
from .device import FakeDevice
from .metrics import Ledger, summary
from .scenario import STEADY, Scenario
from .simulate import Simulation
from .trace import Row, visits

POLICIES = ("fifo", "edf-drop", "edf-ladder", "millrace")
LADDER = ("edf-ladder", "millrace")
"""Policies that may change the effort; the others always make the scenario's fixed one."""
FIXED = (
    "deadline_miss_rate",
    "superseded_rate",
    "goodput_fps",
    "raw_fps",
    "e2e_ms",
    "mean_quality",
)
"""What is told of the run at fixed quality, in which a ladder cannot hide a slow device."""


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
    """

    load: float
    seconds: float
    seed: int = 0
    kind: str = "steady"
    scale: float = 1.0
    rps: float | None = None
    rows: tuple[Row, ...] = ()

    def visits(self, scenario: Scenario) -> tuple[Visit, ...]:
        """Who comes, for this scenario's device."""
        if self.rows:
            return self._recorded(scenario)
        if self.kind == "steady":
            sessions = max(1, round(self.load * scenario.capacity()))
            return steady(sessions, self.seconds, scenario.fps)
        return bursty(self._arrivals(scenario), self.seconds, self.seed, scale=self.scale)

    def _arrivals(self, scenario: Scenario) -> float:
        """Mean arrivals a second that make this load."""
        if self.rps is not None:
            return self.rps * self.load
        each = scenario.demand(mean_rate()) * mean_length() / self.scale
        return self.load / each

    def _recorded(self, scenario: Scenario) -> tuple[Visit, ...]:
        """The trace with its starts moved together or apart until they make this load; how long a
        visit lasts stays."""
        found = visits(self.rows, self.seed, self.scale)
        span = max(visit.start for visit in found)
        if self.rps is not None:
            stretch = len(found) / (self.rps * self.load) / span if span else 1.0
        else:
            offered = sum(scenario.demand(v.fps) * (v.end - v.start) for v in found)
            stretch = offered / self.load / span if span else 1.0
        moved = (_later(visit, visit.start * (stretch - 1)) for visit in found)
        return tuple(visit for visit in moved if visit.start < self.seconds)


def run(
    policy: str, load: Load, scenario: Scenario = STEADY, *, ladder: bool | None = None
) -> dict[str, Any]:
    """The numbers of one run.

    Args:
        policy: one of `POLICIES`.
        ladder: whether efforts below and above the fixed one may be used; None: if the policy can.
    """
    ledger, busy = play(policy, load, scenario, ladder=ladder)
    return summary(ledger, load.seconds, busy)


def play(
    policy: str,
    load: Load,
    scenario: Scenario = STEADY,
    *,
    ladder: bool | None = None,
    guests: tuple[Visit, ...] | None = None,
) -> tuple[Ledger, float]:
    """One run, chunk by chunk: its ledger and the seconds in which the device worked.

    Args:
        guests: who comes, instead of what the load says.
    """
    may = policy in LADDER if ladder is None else ladder
    device = FakeDevice(scenario.device, load.seed)
    costs = measured_costs(scenario, load.seed)
    simulation = Simulation(
        Scheduler(policy_named(policy), costs),
        device,
        load.visits(scenario) if guests is None else guests,
        lambda visit: scenario.profile(visit, ladder=may),
        load.seed,
    )
    ledger = simulation.run(load.seconds)
    return ledger, device.busy


def entry(policy: str, load: Load, scenario: Scenario = STEADY) -> dict[str, Any]:
    """One entry of the report: the run, and `fixed_quality`: the same at the fixed effort."""
    numbers = run(policy, load, scenario)
    fixed = run(policy, load, scenario, ladder=False) if policy in LADDER else numbers
    return (
        {"policy": policy, "load": load.load}
        | numbers
        | {"fixed_quality": {name: fixed[name] for name in FIXED}}
    )


def _later(visit: Visit, by: float) -> Visit:
    return replace(
        visit,
        start=visit.start + by,
        end=visit.end + by,
        pauses=tuple((a + by, b + by) for a, b in visit.pauses),
        prompts=tuple(at + by for at in visit.prompts),
    )
