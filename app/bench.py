"""`millrace bench`: the live engine on this machine without a browser, in numbers.

The engine is assembled as the worker process assembles it: same measurement, data type, threads and
waiting policy. Two ways of feeding it: closed loop (the next chunk lies ready whenever the engine
asks: what it can do at most), and open loop (frames come at a fixed rate, the newest wins, each has
a deadline: what a viewer gets).
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..streaming.assemble import Assembled
from ..streaming.clock import Clock, SystemClock
from ..streaming.config import Options
from ..streaming.controls import ControlError, Schema
from ..streaming.host import HostRefused
from . import control_values, local_engine, machine, soak
from .bench_load import ClosedLoop, Load, OpenLoop, moving_source
from .bench_report import summary, table
from .errors import CallError, CommandError

if TYPE_CHECKING:
    from ..streaming.engine import Engine

WINDOWS = 5
"""Each run is judged in this many equal parts, so that a spread can be told."""
WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        options: what to assemble; its size and rate are the sessions'.
        seconds: length of each run after warming up.
        steps: one run for each value of the control `steps`; empty takes all that there are.
        open_fps: also run with frames coming at this rate; 0 leaves the open loop out.
        deadline_ms: in the open loop, when a frame must be done after its capture.
        sessions: viewers at the same time.
        controls: further controls, as typed.
        browser: measure the whole way through a server and Chromium instead of the engine alone.
        report: where the JSON goes; "-" is the standard output, None nowhere.
    """

    options: Options
    seconds: float
    steps: tuple[int, ...]
    open_fps: float
    deadline_ms: float
    sessions: int
    controls: Mapping[str, str]
    browser: bool
    report: str | None


def run(plan: Plan) -> None:
    """Measure, print the table and write the report.

    Raises:
        CallError: a control, size or device that the model or the machine does not have.
        CommandError: the model failed, or the report cannot be written.
    """
    if plan.browser:
        report = _in_browser(plan)
        lines = [line for run in report["runs"] for line in (f"steps {run['steps']}", run["table"])]
    else:
        report = _engine_alone(plan)
        lines = table(report)
    # With "-" the report alone is on the standard output.
    print("\n".join(lines), file=sys.stderr if plan.report == "-" else sys.stdout)
    if plan.report:
        _write(report, plan.report)


def _head(plan: Plan) -> dict[str, Any]:
    return {
        "benchmark": "browser" if plan.browser else "engine",
        "model": plan.options.pipeline,
        "size": [plan.options.width, plan.options.height],
        "seconds": plan.seconds,
        "random_weights": bool(plan.options.settings.get("random_weights")),
    }


def _engine_alone(plan: Plan) -> dict[str, Any]:
    clock = SystemClock()
    load_before = machine.load_average()
    built = local_engine.start(plan.options, clock)
    try:
        runs = _all_runs(plan, built, clock)
    except (ControlError, HostRefused) as error:
        raise CallError(str(error)) from error
    return _head(plan) | {"environment": _environment(built, load_before), "runs": runs}


def _in_browser(plan: Plan) -> dict[str, Any]:
    options = plan.options
    arguments = [
        "--pipeline", options.pipeline, "--device", options.device, "--dtype", options.dtype,
        "--threads", str(options.threads), "--size", f"{options.width}x{options.height}",
        "--fps", str(plan.open_fps or options.fps),
    ]  # fmt: skip
    runs = []
    for steps in plan.steps or (None,):
        changes = {name: _guess(text) for name, text in plan.controls.items()}
        changes |= {} if steps is None else {"steps": steps}
        try:
            found = soak.measure(arguments, "camera", changes, plan.seconds)
        except RuntimeError as error:
            raise CommandError(str(error)) from error
        runs.append({"mode": "browser", "steps": steps} | found | {"table": soak.table(found)})
    return _head(plan) | {"environment": machine.facts(), "runs": runs}


def _guess(text: str) -> object:
    """A number or a truth value where the text is one in JSON: the schema is not known here."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _all_runs(plan: Plan, built: Assembled, clock: Clock) -> list[dict[str, Any]]:
    schema = built.info.pipeline.controls
    steps = _steps(plan.steps, schema)
    controls = control_values.read(schema, plan.controls)
    loops: list[tuple[str, float]] = [("closed", 0.0)]
    if plan.open_fps:
        loops.append(("open", plan.open_fps))
    runs = []
    for mode, fps in loops:
        for value in steps:
            changes = controls | ({} if value is None else {"steps": value})
            load = _measure(plan, built.engine, clock, fps, changes)
            numbers = summary(load, plan.deadline_ms / 1e3, plan.seconds, WINDOWS)
            runs.append({"mode": mode, "steps": value, "source_fps": fps or None} | numbers)
    return runs


def _measure(
    plan: Plan, engine: Engine, clock: Clock, fps: float, changes: Mapping[str, object]
) -> Load:
    """One run: sessions open, warm up, run for the time asked, and close."""
    source = moving_source(plan.options.width, plan.options.height)
    loop = OpenLoop if fps else ClosedLoop
    rate = fps or plan.options.fps
    load: Load = loop(engine, clock, source, plan.options, plan.sessions, changes, rate)
    load.run(WARM_UP_S)
    load.forget()
    load.run(plan.seconds)
    load.close()
    return load


def _steps(asked: Sequence[int], schema: Schema) -> list[int | None]:
    """The values of `steps` to run, [None] for a model without that control."""
    control = next((c for c in schema if c.name == "steps" and c.kind == "int"), None)
    if control is None:
        if asked:
            raise CallError("this model has no control `steps`; leave --steps out")
        return [None]
    every = range(int(control.minimum or 1), int(control.maximum or 1) + 1)
    return [int(control.check(value)) for value in (asked or every)]


def _environment(built: Assembled, load_before: Sequence[float]) -> dict[str, Any]:
    return machine.facts() | {
        "device": built.info.device,
        "dtype": built.info.dtype,
        "threads": built.info.threads,
        "choices": list(built.info.choices),
        "load_average_before": list(load_before),
        "process_threads": threading.active_count(),
        "wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
    }


def _write(report: Mapping[str, Any], place: str) -> None:
    text = json.dumps(report, indent=2) + "\n"
    if place == "-":
        sys.stdout.write(text)
        return
    try:
        Path(place).write_text(text, "utf-8")
    except OSError as error:
        raise CommandError(f"{place} cannot be written: {error.strerror}") from error
