"""`millrace bench`: what can be asked of it. Nothing heavy is imported before it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from . import cli_options as options
from .cli_captions import Vlm
from .errors import CallError

Arrivals = Literal["steady", "bursty"]
SIMULATED = {"policies", "loads", "arrivals_csv", "scale", "rps", "admission", "plot"}
EITHER = {"simulate", "seconds", "arrivals", "seed", "report"}

Seconds = Annotated[
    float,
    typer.Option(
        "--seconds",
        min=0.0,
        help="Length of each run, after warming up.",
        show_default="20; simulated 60",
    ),
]
Steps = Annotated[
    str | None,
    typer.Option(
        "--steps",
        metavar="N[,N...]",
        help="One run for each value of the control `steps`; all that there are by default.",
    ),
]
Fps = Annotated[
    float,
    typer.Option("--fps", min=0, max=1000, help="Frames come at this rate."),
]
Deadline = Annotated[
    float,
    typer.Option("--deadline", min=0, help="Ms until a frame is late; 0: by the rate."),
]
Sessions = Annotated[
    int, typer.Option("--sessions", min=1, max=1024, help="Viewers at the same time.")
]
Report = Annotated[
    str | None,
    typer.Option("--json", metavar="PATH", help="Write the numbers here; - prints them."),
]
Trace = Annotated[
    str | None,
    typer.Option("--trace", metavar="PATH", help="Write a Chrome trace of the run here."),
]
Browser = Annotated[
    bool, typer.Option("--browser", help="The whole way, through a server and Chromium.")
]
ArrivalsOption = Annotated[
    Arrivals | None,
    typer.Option("--arrivals", help="Viewers that stay, or that come and go."),
]
Capacity = Annotated[
    bool, typer.Option("--capacity", help="Measure the capacity, then offer 0.9 and 1.5 of it.")
]
Separate = Annotated[
    bool,
    typer.Option("--separate", help="One engine for all sessions against one engine each."),
]
Webrtc = Annotated[
    bool, typer.Option("--webrtc", help="A real server and real peers over loopback.")
]
Captions = Annotated[
    bool,
    typer.Option("--captions", help="The video with captions and without, in turns."),
]
Compare = Annotated[
    str | None,
    typer.Option(
        "--compare",
        metavar="NAME[,NAME...]",
        help="In turns with these, which must be installed: diffusers, streamdiffusionv2. See "
        "docs/benchmarks.md.",
    ),
]
Simulate = Annotated[
    bool,
    typer.Option("--simulate", help="The scheduler's policies over load, on a made-up device."),
]
Policies = Annotated[
    str | None,
    typer.Option("--policies", metavar="A[,B...]", help="Simulated: which; all by default."),
]
Loads = Annotated[
    str | None,
    typer.Option("--loads", metavar="X[,Y...]", help="Simulated: shares of the capacity."),
]
ArrivalsCsv = Annotated[
    str | None,
    typer.Option("--arrivals-csv", metavar="CSV", help="Simulated: a trace like BurstGPT's."),
]
Scale = Annotated[
    float | None, typer.Option("--scale", help="Simulated: time compression of arrivals.")
]
Rps = Annotated[
    float | None, typer.Option("--rps", help="Simulated: mean arrivals a second at load 1.")
]
Admission = Annotated[
    bool, typer.Option("--admission", help="Simulated: refuse what cannot be served.")
]
Plot = Annotated[
    str | None, typer.Option("--plot", metavar="SVG", help="Simulated: draw the curves here.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of who comes when.")]


def bench(
    context: typer.Context,
    pipeline: options.Pipeline = "tiny",
    size: options.Size = None,
    seconds: Seconds = 0.0,
    steps: Steps = None,
    fps: Fps = 0.0,
    deadline: Deadline = 0.0,
    sessions: Sessions = 1,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = 0,
    settings: options.Settings = None,
    weights: options.Weights = None,
    random_weights: options.RandomWeights = False,
    option: options.Loading = None,
    report: Report = None,
    trace: Trace = None,
    browser: Browser = False,
    arrivals: ArrivalsOption = None,
    capacity: Capacity = False,
    separate: Separate = False,
    webrtc: Webrtc = False,
    captions: Captions = False,
    vlm: Vlm = "tiny",
    compare: Compare = None,
    simulate: Simulate = False,
    policies: Policies = None,
    loads: Loads = None,
    arrivals_csv: ArrivalsCsv = None,
    scale: Scale = None,
    rps: Rps = None,
    admission: Admission = False,
    plot: Plot = None,
    seed: Seed = 0,
) -> None:
    """Measure a model on this machine, stage by stage and beside others; or the live engine: at a
    rate, with a browser, with many viewers; or plan many viewers on a simulated device."""
    if context.invoked_subcommand:
        what = context.invoked_subcommand
        _refuse(context, set(context.params), f"an option of `bench {what}` stands behind {what}")
    elif simulate:
        _refuse(context, set(context.params) - SIMULATED - EITHER, "--simulate runs no engine")
        _simulate(context.params)
    else:
        _refuse(context, SIMULATED, "that is for simulations; add --simulate")
        _measure(context.params)


def _refuse(context: typer.Context, names: set[str], why: str) -> None:
    """Raises CallError when one of these options was typed."""
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        # By its name: typer has a click of its own or the real one, by version.
        if option.name in names and source is not None and source.name == "COMMANDLINE":
            raise CallError(f"{option.opts[0]}: {why}")


def _simulate(asked: Mapping[str, Any]) -> None:
    from .bench_simulate import SimulationPlan, run

    policies, loads = asked["policies"], asked["loads"]
    given = {
        "policies": options.parse_names(policies) if policies else None,
        "loads": options.parse_numbers("--loads", loads) if loads else None,
        "seconds": asked["seconds"] or None,
        "scenario": asked["arrivals"],
        "trace": asked["arrivals_csv"],
        **{name: asked[name] for name in ("seed", "scale", "rps", "admission", "report", "plot")},
    }
    run(SimulationPlan(**{name: value for name, value in given.items() if value is not None}))


def _measure(asked: Mapping[str, Any]) -> None:
    from ..streaming.config import Options
    from . import bench as command
    from .weights import settings as weight_settings

    width, height = options.parse_size(asked["size"] or "256x256")
    loop = not any(asked[mode] for mode in ("arrivals", "capacity", "separate", "webrtc"))
    engine = Options(
        **{name: asked[name] for name in ("pipeline", "device", "dtype", "threads")},
        width=width,
        height=height,
        max_sessions=asked["sessions"],
        settings=weight_settings(
            asked["pipeline"],
            asked["weights"],
            asked["random_weights"],
            asked["option"],
            os.environ,
        ),
    )
    if _is_of_model(asked):
        _measure_model(engine, asked)
        return
    if asked["compare"]:
        raise CallError("--compare is for the model alone; leave the other ways to measure out")
    same = (
        "sessions", "browser", "report", "capacity", "separate", "webrtc", "captions", "vlm",
        "seed", "trace"
    )  # fmt: skip
    plan = command.Plan(
        options=engine,
        seconds=asked["seconds"] or 20.0,
        steps=options.parse_steps(asked["steps"]) if asked["steps"] else (),
        open_fps=asked["fps"],
        deadline_ms=asked["deadline"] or (100.0 if loop else 0.0),
        controls=options.parse_settings(asked["settings"] or []),
        arrivals=asked["arrivals"] or "",
        **{name: asked[name] for name in same},
    )
    command.run(plan)


OTHER_WAYS = (
    "browser", "arrivals", "capacity", "separate", "webrtc", "captions", "trace", "fps", "deadline"
)  # fmt: skip
"""Options that ask for more than one session in a closed loop."""


def _is_of_model(asked: Mapping[str, Any]) -> bool:
    return asked["sessions"] == 1 and not any(asked[name] for name in OTHER_WAYS)


def _measure_model(engine: Any, asked: Mapping[str, Any]) -> None:
    from .bench_model import ModelPlan, run

    compare = options.parse_names(asked["compare"] or "")
    if asked["compare"] is not None and not compare:
        raise CallError(f"--compare {asked['compare']!r} names no system; write it as diffusers")
    plan = ModelPlan(
        options=engine,
        seconds=asked["seconds"] or 20.0,
        steps=options.parse_steps(asked["steps"]) if asked["steps"] else (),
        controls=options.parse_settings(asked["settings"] or []),
        compare=compare,
        report=asked["report"],
    )
    run(plan)
