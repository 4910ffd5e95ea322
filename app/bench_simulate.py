"""`millrace bench --simulate`: the scheduler's policies over load, with a made-up device.

Simulated time: a minute of many viewers takes about a second, and the same seed gives the same
numbers on every machine.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .. import __version__
from ..streaming.simulation.loads import Load
from ..streaming.simulation.scenario import STEADY
from ..streaming.simulation.sweep import POLICIES, entry
from ..streaming.simulation.trace import Row, TraceError, read
from . import reports
from .errors import CallError
from .line_chart import Panel, draw

SCENARIOS = ("steady", "bursty")
LOADS = (0.5, 0.75, 1.0, 1.25, 1.5)
MOST_LOAD = 20.0
SCALES = {"steady": 1.0, "bursty": 5.0, "trace": 1.0}
"""Bursty: a session lasts minutes, and a minute of it should see many of them come and go."""


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """What to simulate.

    Attributes:
        policies: of `POLICIES`.
        loads: of the capacity; 1 fills the device at the fixed effort.
        seconds: of simulated time for each run.
        scenario: "steady" (sessions that stay) or "bursty" (they come and go).
        trace: CSV file in BurstGPT's schema whose arrivals take the place of the scenario's.
        seed: of everything that is drawn.
        scale: time compression of bursty arrivals and traces; None takes `SCALES`.
        rps: mean arrivals a second at load 1; None derives it from the capacity.
        admission: whether there is a door with a line; without one everyone gets in.
        report: where the JSON goes; "-" is the standard output, None nowhere.
        plot: where the SVG goes; None nowhere.
    """

    policies: tuple[str, ...] = POLICIES
    loads: tuple[float, ...] = LOADS
    seconds: float = 60.0
    scenario: str = "steady"
    trace: str | None = None
    seed: int = 0
    scale: float | None = None
    rps: float | None = None
    admission: bool = False
    report: str | None = None
    plot: str | None = None


def run(plan: SimulationPlan) -> None:
    """Simulate, print the table, write the report and the plot.

    Raises:
        CallError: a value that makes no sense, or a trace that cannot be read.
        CommandError: the report or the plot cannot be written.
    """
    _check(plan)
    rows = _trace(plan)
    runs = [
        entry(policy, _load(plan, load, rows))
        for load, policy in tqdm(
            list(product(plan.loads, plan.policies)),
            desc="simulating",
            unit="run",
            file=sys.stderr,
            leave=False,
        )
    ]
    report = _head(plan) | {"runs": runs}
    # With "-" the report alone is on the standard output.
    print("\n".join(table(report)), file=sys.stderr if plan.report == "-" else sys.stdout)
    if plan.report:
        reports.write(json.dumps(report, indent=2) + "\n", plan.report)
    if plan.plot:
        reports.write(plot(report), plan.plot)


def _load(plan: SimulationPlan, load: float, rows: tuple[Row, ...]) -> Load:
    scale = _scale(plan)
    return Load(load, plan.seconds, plan.seed, plan.scenario, scale, plan.rps, rows, plan.admission)


def _scale(plan: SimulationPlan) -> float:
    return plan.scale or SCALES["trace" if plan.trace else plan.scenario]


def _check(plan: SimulationPlan) -> None:
    unknown = [policy for policy in plan.policies if policy not in POLICIES]
    if unknown or not plan.policies:
        raise CallError(f"no policy {', '.join(unknown) or 'given'}; there are {_list(POLICIES)}")
    if plan.scenario not in SCENARIOS:
        raise CallError(f"no scenario {plan.scenario!r}; there are {_list(SCENARIOS)}")
    if not plan.loads or not all(0 < load <= MOST_LOAD for load in plan.loads):
        raise CallError(f"loads must be above 0 and at most {MOST_LOAD:g}; got {_list(plan.loads)}")
    for name, value in (("seconds", plan.seconds), ("scale", plan.scale), ("rps", plan.rps)):
        if value is not None and not 0 < value < float("inf"):
            raise CallError(f"{name} must be a number above 0; got {value}")
    if plan.scenario == "steady" and not plan.trace and (plan.scale not in (None, 1) or plan.rps):
        raise CallError("scale and rps are of arrivals; add the bursty scenario or a trace")


def _list(values: Sequence[object]) -> str:
    return ", ".join(str(value) for value in values) or "none"


def _trace(plan: SimulationPlan) -> tuple[Row, ...]:
    if plan.trace is None:
        return ()
    try:
        return read(Path(plan.trace))
    except TraceError as error:
        raise CallError(str(error)) from error


def _head(plan: SimulationPlan) -> dict[str, Any]:
    return {
        "benchmark": "simulation",
        "scenario": Path(plan.trace).name if plan.trace else plan.scenario,
        "seconds": plan.seconds,
        "seed": plan.seed,
        "scale": _scale(plan),
        "rps": plan.rps,
        "admission": plan.admission,
        "capacity_sessions": round(STEADY.capacity(), 2),
        "fixed_effort": STEADY.efforts[STEADY.fixed].name,
        "environment": {"millrace": __version__, "python": platform.python_version()},
    }


def table(report: Mapping[str, Any]) -> list[str]:
    """The report as text."""
    lines = [
        f"{report['scenario']}, {report['seconds']:g} s simulated, seed {report['seed']}; "
        f"load 1 is {report['capacity_sessions']:g} sessions at {report['fixed_effort']}",
        "",
        "load  came  policy      in/refused  missed  superseded  quality  at fixed  on time fps"
        "  p50/p99 ms       busy  fairness",
    ]
    for one in report["runs"]:
        e2e = "/".join(_text(one["e2e_ms"][name]) for name in ("p50", "p99"))
        in_and_out = f"{one['sessions']['admitted']}/{one['sessions']['rejected']}"
        lines.append(
            f"{one['load']:<5g} {one['offered_load']:<5.2f} {one['policy']:<11} "
            f"{in_and_out:>10} "
            f"{one['deadline_miss_rate']:>7.1%} {one['superseded_rate']:>11.1%} "
            f"{one['mean_quality']:>8.3f} {one['fixed_quality']['mean_quality']:>9.3f} "
            f"{one['goodput_fps']:>12.1f}  {e2e:<15} {one['gpu_busy']:>5.0%} "
            f"{one['fairness_jain']:>9.3f}"
        )
    return lines


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def plot(report: Mapping[str, Any]) -> str:
    """The report as an SVG picture."""
    runs = report["runs"]
    policies = list(dict.fromkeys(one["policy"] for one in runs))

    def lines(name: str) -> list[tuple[str, list[tuple[float, float]]]]:
        return [
            (
                policy,
                [(x["load"], _value(x, name)) for x in report["runs"] if x["policy"] == policy],
            )
            for policy in policies
        ]

    panels = [
        Panel("Deadline misses", lines("deadline_miss_rate"), percent=True),
        Panel("Mean quality (a miss counts 0)", lines("mean_quality")),
        Panel("Chunk latency p99, ms", lines("p99"), log=True),
        Panel("Frames in time per second", lines("goodput_fps")),
    ]
    title = f"{report['scenario']}: one device, {report['seconds']:g} s simulated"
    return draw(title, "load (1 = capacity)", panels)


def _value(one: Mapping[str, Any], name: str) -> float:
    """A number to draw; nothing finished is drawn as 1 ms, the floor of the logarithmic axis."""
    return max(1.0, one["e2e_ms"][name] or 1.0) if name == "p99" else float(one[name])
