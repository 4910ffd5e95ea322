"""From options to an engine that is ready: the same steps in a worker, a thread and a benchmark.

Loads torch only when called.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from .. import __version__
from . import cores, kernel_choices
from .allocator import keep_freed_memory
from .clock import Clock
from .config import Config, EngineConfig, Options, resolve
from .host import HostInfo
from .pipeline import Pipeline, PipelineContext
from .registry import build_pipeline, check_pipeline
from .scheduling.cost_store import cost_file, load_costs, save_costs
from .scheduling.costs import CostTable
from .session import usual_size
from .stage_runs import told

if TYPE_CHECKING:
    from .engine import Engine


@dataclass(frozen=True, slots=True)
class Assembled:
    """An engine, what it is and the complete configuration behind it."""

    engine: Engine
    info: HostInfo


SHORT_SPIN = "5000"
"""Turns of a waiting OpenMP thread before it sleeps, where nobody else needs the cores.

Measured with the embedded model on two cores: a lone engine made 32 frames a second with 5000 turns
and 26 with 1000, a frame taking 35 ms with 1000 and 50 ms with none. Beside one busy neighbour it
was the other way round, 70 ms with 1000 turns and 54 ms with none, so live workers do without."""


def quiet_threads(environment: MutableMapping[str, str], alone: bool = False) -> str:
    """Ask OpenMP for threads that sleep while they wait; only works before torch is loaded.

    A spinning team starves whoever else wants a core (measured: 25 times slower with one busy
    neighbour on two cores).

    Args:
        alone: no codec, browser or second engine shares the cores, so a short spin pays.

    Returns:
        A sentence that says what holds now.
    """
    late = "torch" in sys.modules and "OMP_WAIT_POLICY" not in environment
    chosen = environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if late:
        return "Waiting threads: asked to sleep, but torch was loaded before and may not heed it."
    if alone:
        spin = environment.setdefault("GOMP_SPINCOUNT", SHORT_SPIN)
        return f"Waiting threads: sleep after {spin} turns, as nothing else needs the cores."
    return f"Waiting threads: OMP_WAIT_POLICY={chosen}, so that idle ones leave the cores alone."


Around = Callable[[Pipeline, Config], Pipeline]
"""Puts something between an engine and its pipeline."""


def as_it_is(pipeline: Pipeline, config: Config) -> Pipeline:
    """Nothing between them."""
    return pipeline


def assemble(
    options: Options,
    clock: Clock,
    wake: Callable[[], None],
    alone: bool = False,
    around: Around = as_it_is,
    binds: bool = False,
) -> Assembled:
    """Measure, choose, build and warm up. Takes seconds.

    Args:
        alone: nothing beside this engine needs the processor (a file, a benchmark).
        binds: this process is the engine's own, and may be bound to some of the cores.
        around: given the pipeline once it is built; the engine runs what it gives back.

    Raises:
        ConfigError, PipelineError, and whatever the pipeline's factory raises.
    """
    memory, waiting = keep_freed_memory(), quiet_threads(os.environ, alone)
    import torch

    from .calibrate import cache_folder, measure

    config = resolve(options, measure(options, clock), alone)
    left = _bind(config) if binds else ()
    torch.set_num_threads(config.threads)
    context = PipelineContext(config.device, config.dtype, _pipeline_options(config))
    pipeline = build_pipeline(config.pipeline, context)
    choices = (*config.choices, waiting, memory)
    file = cost_file(cache_folder(os.environ), _machine(config, pipeline))
    costs = load_costs(file)
    run = around(pipeline, config)
    with kernel_choices.measured(config.device, cache_folder(os.environ)):
        built = _start(
            run, config.engine, config.dtype, config.threads, choices, clock, wake, costs
        )
    if costs is None:
        save_costs(file, built.engine.costs)
    return replace(built, info=replace(built.info, left_cores=left))


def _bind(config: Config) -> tuple[int, ...]:
    """Bind this process to the model's own cores, where it is to have some; what is left."""
    division = cores.divide(cores.allowed(), config.threads) if config.apart else None
    if division is None:
        return ()
    cores.keep_to(division.model)
    return division.others


def _machine(config: Config, pipeline: Pipeline) -> list[str]:
    """All that makes launches take another time."""
    from .calibrate import machine
    from .warmup import ROWS

    size = "x".join(map(str, usual_size(pipeline.info, config.engine.size)))
    # Where there are fewer places than that, fewer rows were measured.
    rows = f"{min(config.engine.max_sessions, max(ROWS))} rows"
    settings = sorted(f"{name}={value}" for name, value in config.settings.items())
    parts = (config.pipeline, size, config.device, config.dtype, rows, f"{config.threads} threads")
    return [*machine(config.device), __version__, *parts, *settings]


def assemble_around(
    pipeline: Pipeline, config: EngineConfig, clock: Clock, wake: Callable[[], None]
) -> Assembled:
    """An engine around a pipeline that exists already. Nothing is measured or chosen."""
    import torch

    check_pipeline(type(pipeline).__name__, pipeline)
    return _start(pipeline, config, "float32", torch.get_num_threads(), (), clock, wake)


class Ticking(Protocol):
    """An engine: of pictures, or of captions."""

    def tick(self) -> bool: ...

    def wait_time(self) -> float | None: ...

    def shutdown(self, reason: str) -> None: ...


def run_engine(
    engine: Ticking,
    wake: threading.Event,
    stopping: Callable[[], bool],
    between: Callable[[], None] = lambda: None,
) -> None:
    """Tick until `stopping()`, asleep while there is nothing to do; then close all sessions.

    Args:
        wake: set by whoever brings work, asks something or wants to stop.
        between: called after each tick, on this thread.
    """
    while True:
        # Cleared before the question, so that whatever is set from here on ends the wait below.
        wake.clear()
        if stopping():
            break
        busy = engine.tick()
        between()
        if not busy:
            wake.wait(engine.wait_time())
    engine.shutdown("the server stopped")


def _start(
    pipeline: Pipeline,
    config: EngineConfig,
    dtype: str,
    threads: int,
    choices: tuple[str, ...],
    clock: Clock,
    wake: Callable[[], None],
    costs: CostTable | None = None,
) -> Assembled:
    from .engine import Engine

    engine = Engine(pipeline, config, clock, wake, costs)
    engine.warm_up()
    said = (*choices, *told(pipeline), *kernel_choices.told())
    return Assembled(engine, HostInfo(engine.info, config.device, dtype, threads, said))


def _pipeline_options(config: Config) -> dict[str, object]:
    """What a built-in pipeline may want to know besides device and type; settings win."""
    return {
        "schedule": config.schedule,
        "max_sessions": config.engine.max_sessions,
        "size": config.engine.size,
        **config.settings,
    }
