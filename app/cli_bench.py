"""`millrace bench`: what can be asked of it. Nothing heavy is imported before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from . import cli_options as options
from .errors import CallError

Arrivals = Literal["steady", "bursty"]


def bench(
    pipeline: options.Pipeline = "tiny",
    size: options.Size = None,
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds",
            min=0.0,
            help="Length of each run, after warming up.",
            show_default="20; simulated 60",
        ),
    ] = 0.0,
    steps: Annotated[
        str | None,
        typer.Option(
            "--steps",
            metavar="N[,N...]",
            help="One run for each value of the control `steps`; all that there are by default.",
        ),
    ] = None,
    fps: Annotated[
        float,
        typer.Option("--fps", min=0, max=1000, help="Frames come at this rate."),
    ] = 0.0,
    deadline: Annotated[
        float,
        typer.Option("--deadline", min=0, help="Ms until a frame is late; 0: by the rate."),
    ] = 0.0,
    sessions: Annotated[
        int, typer.Option("--sessions", min=1, max=1024, help="Viewers at the same time.")
    ] = 1,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = 0,
    settings: options.Settings = None,
    random_weights: Annotated[
        bool,
        typer.Option("--random-weights", help="The model's speed without its weights or looks."),
    ] = False,
    report: Annotated[
        str | None,
        typer.Option("--json", metavar="PATH", help="Write the numbers here; - prints them."),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option("--trace", metavar="PATH", help="Write a Chrome trace of the run here."),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser", help="The whole way, through a server and Chromium.")
    ] = False,
    arrivals: Annotated[
        Arrivals | None,
        typer.Option("--arrivals", help="Viewers that stay, or that come and go."),
    ] = None,
    capacity: Annotated[
        bool, typer.Option("--capacity", help="Measure the capacity, then offer 0.9 and 1.5 of it.")
    ] = False,
    separate: Annotated[
        bool,
        typer.Option("--separate", help="One engine for all sessions against one engine each."),
    ] = False,
    webrtc: Annotated[
        bool, typer.Option("--webrtc", help="A real server and real peers over loopback.")
    ] = False,
    simulate: Annotated[
        bool,
        typer.Option("--simulate", help="The scheduler's policies over load, on a made-up device."),
    ] = False,
    policies: Annotated[
        str | None,
        typer.Option("--policies", metavar="A[,B...]", help="Simulated: which; all by default."),
    ] = None,
    loads: Annotated[
        str | None,
        typer.Option("--loads", metavar="X[,Y...]", help="Simulated: shares of the capacity."),
    ] = None,
    arrivals_csv: Annotated[
        str | None,
        typer.Option("--arrivals-csv", metavar="CSV", help="Simulated: a trace like BurstGPT's."),
    ] = None,
    scale: Annotated[
        float | None, typer.Option("--scale", help="Simulated: time compression of arrivals.")
    ] = None,
    rps: Annotated[
        float | None, typer.Option("--rps", help="Simulated: mean arrivals a second at load 1.")
    ] = None,
    admission: Annotated[
        bool, typer.Option("--admission", help="Simulated: refuse what cannot be served.")
    ] = False,
    plot: Annotated[
        str | None, typer.Option("--plot", metavar="SVG", help="Simulated: draw the curves here.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of who comes when.")] = 0,
) -> None:
    """Measure the live engine on this machine: alone, with a browser, with many viewers, or plan
    many viewers on a simulated device."""
    simulated = {
        "--policies": options.parse_names(policies) if policies else None,
        "--loads": options.parse_numbers("--loads", loads) if loads else None,
        "--arrivals-csv": arrivals_csv,
        "--scale": scale,
        "--rps": rps,
        "--admission": admission or None,
        "--plot": plot,
    }
    given = {name: value for name, value in simulated.items() if value is not None}
    if simulate:
        if browser or capacity or separate or webrtc:
            raise CallError("--simulate runs no engine; leave the other kinds of benchmark out")
        common = {"seconds": seconds or None, "scenario": arrivals, "report": report, "seed": seed}
        _simulate(given | {name: value for name, value in common.items() if value is not None})
        return
    if given:
        raise CallError(f"{next(iter(given))} is for simulations; add --simulate")
    from ..streaming.config import Options
    from . import bench as command

    width, height = options.parse_size(size or "256x256")
    loop = not (arrivals or capacity or separate or webrtc)
    command.run(
        command.Plan(
            options=Options(
                pipeline,
                device,
                dtype,
                threads,
                width,
                height,
                max_sessions=sessions,
                settings={"random_weights": True} if random_weights else {},
            ),
            seconds=seconds or 20.0,
            steps=options.parse_steps(steps) if steps else (),
            open_fps=fps,
            deadline_ms=deadline or (100.0 if loop else 0.0),
            sessions=sessions,
            controls=options.parse_settings(settings or []),
            browser=browser,
            report=report,
            arrivals=arrivals or "",
            capacity=capacity,
            separate=separate,
            webrtc=webrtc,
            seed=seed,
            trace=trace,
        )
    )


def _simulate(given: Mapping[str, Any]) -> None:
    from . import bench_simulate as command

    names = {"--arrivals-csv": "trace"}
    plan = {names.get(name, name.removeprefix("--")): value for name, value in given.items()}
    command.run(command.SimulationPlan(**plan))
