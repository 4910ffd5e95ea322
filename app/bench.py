"""`millrace bench`: the live engine on this machine without a browser, in numbers.

The engine is assembled as the worker process assembles it: same measurement, data type, threads and
waiting policy. Two ways of feeding it: closed loop (the next chunk lies ready whenever the engine
asks: what it can do at most), and open loop (frames come at a fixed rate, the newest wins, each has
a deadline: what a viewer gets). Further modes put a crowd before it (`bench_sessions`), compare it
with several engines (`bench_separate`), or measure through WebRTC (`bench_webrtc`) or a browser.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ..streaming.assemble import Assembled
from ..streaming.captions.host import CaptionOptions
from ..streaming.clock import Clock, SystemClock
from ..streaming.config import Options
from ..streaming.controls import ControlError, Controls, Schema
from ..streaming.host import HostRefused
from ..streaming.trace import Trace, chrome
from . import bench_separate, bench_sessions, control_values, local_engine, machine, reports, soak
from .bench_load import ClosedLoop, Load, OpenLoop, moving_source
from .bench_report import heading, summary, table
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
        arrivals: "steady" or "bursty" viewers on the real engine; empty for the loops.
        capacity: measure what the engine can do, then offer it 0.9 and 1.5 of that.
        separate: one engine with all sessions against as many engines with one each.
        webrtc: a real server and real peer connections over loopback.
        captions: the video with captions and without, in turns; `seconds` is each turn's.
        vlm: which language model tells then.
        seed: of who comes when.
        trace: where a Chrome trace of the run goes, or None.
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
    arrivals: Literal["", "steady", "bursty"] = ""
    capacity: bool = False
    separate: bool = False
    webrtc: bool = False
    captions: bool = False
    vlm: str = "tiny"
    seed: int = 0
    trace: str | None = None


def run(plan: Plan) -> None:
    """Measure, print the table and write the report.

    Raises:
        CallError: a control, size or device that the model or the machine does not have.
        CommandError: the model failed, or the report cannot be written.
    """
    report, lines = _chosen(plan)(plan)
    # With "-" the report alone is on the standard output.
    print("\n".join(lines), file=sys.stderr if plan.report == "-" else sys.stdout)
    if plan.report:
        reports.write(json.dumps(report, indent=2) + "\n", plan.report)


Outcome = tuple[dict[str, Any], list[str]]
"""The report, and the same as text."""


def _chosen(plan: Plan) -> Callable[[Plan], Outcome]:
    """The one mode that was asked for.

    Raises:
        CallError: several at once.
    """
    modes: dict[str, tuple[bool, Callable[[Plan], Outcome]]] = {
        "--browser": (plan.browser, _in_browser),
        "--arrivals": (bool(plan.arrivals), _crowd),
        "--capacity": (plan.capacity, _crowd),
        "--separate": (plan.separate, _separate),
        "--webrtc": (plan.webrtc, _webrtc),
        "--captions": (plan.captions, _captions),
    }
    asked = [name for name, (wanted, _) in modes.items() if wanted]
    if len(asked) > 1:
        raise CallError(f"{' and '.join(asked)} are different benchmarks; leave all but one out")
    if plan.trace and not set(asked) <= {"--arrivals"}:
        raise CallError(f"--trace goes with the engine alone or --arrivals, not with {asked[0]}")
    return modes[asked[0]][1] if asked else _engine_alone


def _head(plan: Plan, kind: str) -> dict[str, Any]:
    return {
        "benchmark": kind,
        "model": plan.options.pipeline,
        "size": [plan.options.width, plan.options.height],
        "seconds": plan.seconds,
        "random_weights": bool(plan.options.settings.get("random_weights")),
    }


def _engine_alone(plan: Plan) -> Outcome:
    clock = SystemClock()
    load_before = machine.load_average()
    built = local_engine.start(plan.options, clock)
    with _traced(plan, built.engine):
        try:
            runs = _all_runs(plan, built, clock)
        except (ControlError, HostRefused) as error:
            raise CallError(str(error)) from error
    report = _head(plan, "engine") | {"environment": _environment(built, load_before), "runs": runs}
    return report, table(report)


def _crowd(plan: Plan) -> Outcome:
    clock, wake = SystemClock(), threading.Event()
    load_before = machine.load_average()
    built = local_engine.start(plan.options, clock, wake.set)
    changes = _changes(plan, built.info.pipeline.controls)
    load = replace(_load(plan), changes=changes)
    measure = bench_sessions.capacity_runs if plan.capacity else bench_sessions.runs
    with _traced(plan, built.engine):
        try:
            runs = measure(built.engine, clock, wake, load)
        except HostRefused as error:
            raise CallError(str(error)) from error
    report = _head(plan, "sessions") | {
        "arrivals": plan.arrivals or "steady",
        "seed": plan.seed,
        "environment": _environment(built, load_before),
        "runs": runs,
    }
    return report, [*heading(report), "", *bench_sessions.table(runs)]


def _separate(plan: Plan) -> Outcome:
    # The controls are checked where the model is, in the engines' own processes.
    changes = dict(plan.controls) | ({"steps": str(plan.steps[0])} if plan.steps else {})
    found = bench_separate.measure(replace(_load(plan), changes=changes))
    report = _head(plan, "separate") | {"environment": machine.facts(), "runs": [found]}
    return report, bench_separate.table(found)


def _webrtc(plan: Plan) -> Outcome:
    # Here, as it brings aiortc along.
    from . import bench_webrtc

    found = bench_webrtc.measure(_load(plan))
    report = _head(plan, "webrtc") | {"environment": machine.facts(), "runs": [found]}
    return report, bench_webrtc.table(found)


def _captions(plan: Plan) -> Outcome:
    from ..streaming.captions.supervisor import CaptionWorkerHost
    from ..streaming.fleet import Fleet
    from . import bench_captions

    options, load_before = plan.options, machine.load_average()
    asked = CaptionOptions(plan.vlm, options.device, options.dtype, max_sessions=1)
    try:
        found, video, teller = bench_captions.measure(
            Fleet(options, spare=False),
            CaptionWorkerHost(asked),
            (options.width, options.height),
            plan.open_fps or options.fps,
            plan.seconds,
            SystemClock(),
        )
    except (RuntimeError, TimeoutError) as error:
        raise CommandError(str(error)) from error
    environment = machine.facts() | {
        "device": video.device,
        "dtype": video.dtype,
        "threads": video.threads,
        "vlm": {"name": teller.name, "device": teller.device, "dtype": teller.dtype},
        "load_average_before": list(load_before),
    }
    report = _head(plan, "captions") | {"environment": environment, "runs": [found]}
    return report, [*heading(report), "", *bench_captions.table(found)]


def _load(plan: Plan) -> bench_sessions.Load:
    return bench_sessions.Load(
        plan.options,
        plan.sessions,
        plan.arrivals or "steady",
        plan.open_fps,
        plan.deadline_ms,
        plan.seconds,
        plan.seed,
        {},
    )


def _changes(plan: Plan, schema: Schema) -> dict[str, object]:
    """Controls as typed, and the one number of steps that a crowd runs with."""
    try:
        changes: dict[str, object] = dict(control_values.read(schema, plan.controls))
        if plan.steps:
            changes["steps"] = control_values.steps_to_run(plan.steps[:1], schema)[0]
        Controls.defaults(schema).changed(schema, changes)
    except ControlError as error:
        raise CallError(str(error)) from error
    return changes


@contextmanager
def _traced(plan: Plan, engine: Engine) -> Iterator[None]:
    """Record where each frame spends its time, where that was asked for."""
    if not plan.trace:
        yield
        return
    engine.trace = trace = Trace()
    yield
    engine.trace = None
    reports.write(json.dumps(chrome(trace.drain())) + "\n", plan.trace)


def _in_browser(plan: Plan) -> Outcome:
    options = plan.options
    arguments = [
        "--pipeline", options.pipeline, "--device", options.device, "--dtype", options.dtype,
        "--threads", str(options.threads), "--size", f"{options.width}x{options.height}",
        "--fps", str(plan.open_fps or options.fps),
    ]  # fmt: skip
    if options.settings.get("random_weights"):
        arguments.append("--random-weights")
    elif folder := options.settings.get("weights"):
        arguments += ["--weights", str(folder)]
    runs = []
    for steps in plan.steps or (None,):
        changes = {name: _guess(text) for name, text in plan.controls.items()}
        changes |= {} if steps is None else {"steps": steps}
        try:
            found = soak.measure(arguments, "camera", changes, plan.seconds)
        except RuntimeError as error:
            raise CommandError(str(error)) from error
        runs.append({"mode": "browser", "steps": steps} | found | {"table": soak.table(found)})
    report = _head(plan, "browser") | {"environment": machine.facts(), "runs": runs}
    lines = [line for run in runs for line in (f"steps {run['steps']}", str(run["table"]))]
    return report, lines


def _guess(text: str) -> object:
    """A number or a truth value where the text is one in JSON: the schema is not known here."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _all_runs(plan: Plan, built: Assembled, clock: Clock) -> list[dict[str, Any]]:
    schema = built.info.pipeline.controls
    steps = control_values.steps_to_run(plan.steps, schema)
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
