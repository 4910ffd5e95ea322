"""`millrace bench --model NAME --steps 1,2,4`: one model at fixed quality, stage by stage.

The engine is assembled as the worker process assembles it and given one session that always has its
next chunk ready. Several step counts, and rivals if asked for, run in alternating windows, so that
a machine that does other things as well hits all of them alike. What was reached is held against
what a large matrix product and a large copy reach in the same run.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ..streaming.assemble import Assembled, quiet_threads
from ..streaming.clock import Clock, SystemClock
from ..streaming.config import Config, Options
from ..streaming.controls import ControlError, Controls
from ..streaming.host import HostRefused
from ..streaming.pipeline import Pipeline
from . import (
    bench_goals,
    bench_model_report,
    bench_model_rivals,
    control_values,
    local_engine,
    machine,
    reports,
)
from .bench_load import moving_source
from .errors import CallError, CommandError

if TYPE_CHECKING:
    from ..streaming.measuring.launches import Watched

WINDOWS = 5
"""Each run is cut into this many, in turns with those of the other runs."""


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """What to measure.

    Attributes:
        options: what to assemble; its size is the pictures'.
        seconds: of each run, all its windows together.
        steps: one run for each; empty takes all that the model has.
        controls: further controls, as typed.
        compare: rivals by name.
        report: where the JSON goes; "-" is the standard output, None nowhere.
    """

    options: Options
    seconds: float
    steps: tuple[int, ...] = ()
    controls: Mapping[str, str] = field(default_factory=dict)
    compare: tuple[str, ...] = ()
    report: str | None = None


def run(plan: ModelPlan) -> None:
    """Measure, print the table and write the report.

    Raises:
        CallError: a model, size, device, control or rival that there is not.
        CommandError: the model failed, or the report cannot be written.
    """
    report = measure(plan)
    lines = bench_model_report.table(report)
    # With "-" the report alone is on the standard output.
    print("\n".join(lines), file=sys.stderr if plan.report == "-" else sys.stdout)
    if plan.report:
        reports.write(json.dumps(report, indent=2) + "\n", plan.report)


@dataclass(slots=True)
class _Built:
    """Our side, ready to run."""

    engine: Assembled
    config: Config
    watched: Watched
    build_s: float
    warm_up_s: float


def measure(plan: ModelPlan) -> dict[str, Any]:
    """The report. Raises: see `run`."""
    clock, load_before = SystemClock(), machine.load_average()
    # Before torch is loaded, which only then heeds it.
    quiet_threads(os.environ, alone=True)
    with ExitStack() as ends, _told():
        prepared = bench_model_rivals.prepare(plan.compare, plan.options, clock, ends)
        built = _build(plan, clock)
        numbers = _measure(plan, built, clock, prepared)
    report = _head(plan, built) | {"environment": _environment(built, load_before)} | numbers
    for one in report["runs"]:
        one["goals"] = bench_goals.of_run(report, one)
    return report


def _measure(
    plan: ModelPlan, built: _Built, clock: Clock, prepared: bench_model_rivals.Prepared
) -> dict[str, Any]:
    import torch

    from ..streaming.measuring.contender import Source
    from ..streaming.measuring.model import Asked, Side, measure

    options, config = plan.options, built.config
    schema = built.engine.info.pipeline.controls
    size = (options.width, options.height)
    steps = control_values.steps_to_run(plan.steps, schema)
    changes = control_values.read(schema, plan.controls)
    Controls.defaults(schema).changed(schema, changes)
    source = Source(moving_source(*size), size, options.fps)
    rivals = prepared.build(built.watched.pipeline, changes)
    total = len(steps) * (1 + len(rivals)) * (1 + WINDOWS)
    with tqdm(total=total, desc="measuring", file=sys.stderr, disable=None) as bar:
        return measure(
            Side(built.engine.engine, built.watched, config.device, getattr(torch, config.dtype)),
            Asked(source, steps, changes, plan.seconds, WINDOWS),
            rivals,
            clock,
            bar.update,
        )


@contextmanager
def _told() -> Iterator[None]:
    """Failures of the model and refused calls as those of a command."""
    try:
        yield
    except (ControlError, HostRefused) as error:
        raise CallError(str(error)) from error
    except RuntimeError as error:
        from ..streaming.measuring.feed import ModelFailed
        from ..streaming.measuring.rivals import RivalError

        if isinstance(error, RivalError):
            raise CallError(f"--compare: {error}") from error
        if isinstance(error, ModelFailed):
            raise CommandError(f"the model failed: {error}") from error
        raise


def _build(plan: ModelPlan, clock: Clock) -> _Built:
    began = clock.now()
    found: list[tuple[Watched, Config, float]] = []

    def around(pipeline: Pipeline, config: Config) -> Pipeline:
        import torch

        from ..streaming.measuring.launches import Watched

        watched = Watched(pipeline, clock, torch.device(config.device))
        found.append((watched, config, clock.now()))
        return pipeline

    engine = local_engine.start(plan.options, clock, around=around)
    ((watched, config, loaded),) = found
    return _Built(engine, config, watched, loaded - began, clock.now() - loaded)


def _head(plan: ModelPlan, built: _Built) -> dict[str, Any]:
    options, settings = plan.options, plan.options.settings
    return {
        "benchmark": "model",
        "model": options.pipeline,
        "size": [options.width, options.height],
        "seconds": plan.seconds,
        "windows": WINDOWS,
        "random_weights": bool(settings.get("random_weights")),
        "settings": {name: str(value) for name, value in settings.items()},
        "schedule": settings.get("schedule", built.config.schedule),
        "chunk": built.engine.info.pipeline.chunk,
        "build_s": round(built.build_s, 3),
        "warm_up_s": round(built.warm_up_s, 3),
    }


def _environment(built: _Built, load_before: list[float]) -> dict[str, Any]:
    info = built.engine.info
    return machine.facts() | {
        "device": info.device,
        "dtype": info.dtype,
        "threads": info.threads,
        "choices": list(info.choices),
        "load_average_before": load_before,
        "process_threads": threading.active_count(),
        "wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
    }
