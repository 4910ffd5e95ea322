"""One policy at one load, from a scenario to the benchmark's numbers."""

from __future__ import annotations

from typing import Any

from ..scheduling.admission import admit
from ..scheduling.policies import policy_named
from ..scheduling.quotes import Quotes
from ..scheduling.scheduler import Scheduler
from .arrivals import Visit
from .calibration import measured_costs
from .device import FakeDevice
from .loads import Load, offered
from .metrics import Ledger, summary
from .scenario import STEADY, Scenario
from .simulate import Simulation

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


def run(
    policy: str, load: Load, scenario: Scenario = STEADY, *, ladder: bool | None = None
) -> dict[str, Any]:
    """The numbers of one run, with `offered_load`: what really came.

    Args:
        policy: one of `POLICIES`.
        ladder: whether efforts below and above the fixed one may be used; None: if the policy can.
    """
    crowd = load.visits(scenario)
    ledger, busy = play(policy, load, scenario, ladder=ladder, guests=crowd)
    came = round(offered(scenario, crowd, load), 4)
    return {"offered_load": came} | summary(ledger, load.seconds, busy)


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
    # What the device took at the start: a door that follows its noise would be no fair comparison.
    quotes = Quotes(measured_costs(scenario, load.seed))
    simulation = Simulation(
        Scheduler(policy_named(policy), costs),
        device,
        load.visits(scenario) if guests is None else guests,
        lambda visit: scenario.profile(visit, ladder=may),
        load.seed,
        (lambda there, one: admit(quotes, there, one).admitted) if load.admission else None,
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
