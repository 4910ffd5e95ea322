"""`millrace bench --arrivals`: real sessions that come and go on the real engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ..streaming.clock import Clock
from ..streaming.config import Options
from ..streaming.simulation.arrivals import Visit, bursty, mean_length, steady
from .bench_crowd import Crowd, Setting
from .bench_load import ClosedLoop, moving_source
from .bench_verdict import verdict
from .errors import CallError

if TYPE_CHECKING:
    from ..streaming.engine import Engine

Arrivals = Literal["steady", "bursty"]
VISITS_A_RUN = 4.0
"""Bursty sessions are shortened so that a run sees each place taken about this often."""
SLACK_OF_PERIOD, LEAST_DEADLINE_S = 0.8, 0.06
"""The deadline where none is asked for: this share of a chunk's length, at least so long."""
CAPACITY_LOADS = (0.9, 1.5)
WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """What comes.

    Attributes:
        sessions: viewers at the same time; their mean number where they come and go.
        fps: of each source; 0 leaves the mixture of the arrivals (30, 24 and 16).
        deadline_ms: from a chunk's last frame to its picture; 0 derives it from the rate.
        seed: of who comes when.
    """

    options: Options
    sessions: int
    arrivals: Arrivals
    fps: float
    deadline_ms: float
    seconds: float
    seed: int
    changes: Mapping[str, object]


def visits_of(load: Load) -> tuple[Visit, ...]:
    """Who comes when: a pure function of the load.

    Raises:
        CallError: steady viewers without a rate.
    """
    if load.arrivals == "steady":
        if load.fps <= 0:
            raise CallError("--arrivals steady needs the rate of the viewers: add --fps, 16 say")
        return steady(load.sessions, load.seconds, load.fps)
    scale = mean_length() / (load.seconds / VISITS_A_RUN)
    per_second = load.sessions * scale / mean_length()
    visits = bursty(per_second, load.seconds, load.seed, scale=scale)
    return tuple(replace(v, fps=load.fps) for v in visits) if load.fps else visits


def deadline_of(load: Load, chunk: int, visits: Sequence[Visit]) -> float:
    """Seconds; one deadline for all, by the fastest source where none was asked for."""
    if load.deadline_ms:
        return load.deadline_ms / 1e3
    fastest = max((visit.fps for visit in visits), default=load.fps or 30.0)
    return max(LEAST_DEADLINE_S, SLACK_OF_PERIOD * chunk / fastest)


def runs(engine: Engine, clock: Clock, wake: threading.Event, load: Load) -> list[dict[str, Any]]:
    """The same visits twice: with the quality ladder, and at fixed quality."""
    visits = visits_of(load)
    found = []
    for fixed in (False, True):
        numbers = _run(engine, clock, wake, load, visits, fixed)
        found.append({"mode": load.arrivals, "source_fps": load.fps or None} | numbers)
    return found


def capacity_runs(
    engine: Engine, clock: Clock, wake: threading.Event, load: Load
) -> list[dict[str, Any]]:
    """What the engine makes at most at full quality, then the same viewers at shares of it.

    The rate of each viewer follows from the share, so the load is met exactly.
    """
    most = capacity(engine, clock, load)
    found: list[dict[str, Any]] = [
        {"mode": "capacity", "raw_fps": round(most, 2), "sessions": {"admitted": load.sessions}}
    ]
    for share in CAPACITY_LOADS:
        fps = share * most / load.sessions
        own = replace(load, arrivals="steady", fps=fps)
        for fixed in (False, True):
            numbers = _run(engine, clock, wake, own, visits_of(own), fixed)
            found.append({"mode": "steady", "load": share, "source_fps": round(fps, 2)} | numbers)
    return found


def capacity(engine: Engine, clock: Clock, load: Load, seconds: float = 0.0) -> float:
    """Pictures a second of all sessions together when the next chunk always lies ready."""
    source = moving_source(load.options.width, load.options.height)
    with at_fixed_quality(engine):
        closed = ClosedLoop(
            engine, clock, source, load.options, load.sessions, load.changes, load.fps or 30.0
        )
        closed.run(WARM_UP_S)
        closed.forget()
        closed.run(seconds or load.seconds)
        made = sum(not done.repeated for viewer in closed.viewers for done in viewer.done)
        closed.close()
    return made / (closed.ended - closed.began)


def _run(
    engine: Engine,
    clock: Clock,
    wake: threading.Event,
    load: Load,
    visits: Sequence[Visit],
    fixed: bool,
) -> dict[str, Any]:
    chunk, options = engine.info.chunk, load.options
    deadline = deadline_of(load, chunk, visits)
    source = moving_source(options.width, options.height)
    setting = Setting(options.width, options.height, source, deadline, load.changes)
    crowd = Crowd(engine, clock, wake, setting)
    if fixed:
        with at_fixed_quality(engine):
            crowd.run(visits, load.seconds)
    else:
        crowd.run(visits, load.seconds)
    return verdict(crowd, deadline, chunk, engine.info.efforts, fixed)


@contextmanager
def at_fixed_quality(engine: Engine) -> Iterator[None]:
    """Sessions that join meanwhile know no rung but the nominal one."""
    engine.fix_quality(True)
    try:
        yield
    finally:
        engine.fix_quality(False)


def table(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The runs as text."""
    lines = [
        "quality  load   source  fps made  in time   missed  superseded  quality  p50/p95/p99 ms"
        "      fairness  rungs"
    ]
    for run in found:
        if run["mode"] == "capacity":
            lines.append(f"capacity at full quality: {run['raw_fps']:.1f} frames a second")
            continue
        e2e = "/".join("-" if v is None else f"{v:.0f}" for v in run["e2e_ms"].values())
        rungs = ", ".join(f"{name} {count}" for name, count in run["rungs"].items()) or "-"
        lines.append(
            f"{'fixed' if run['fixed_quality'] else 'ladder':<7} {run.get('load', '-'):>5} "
            f"{run['source_fps'] or 'mixed':>8} {run['raw_fps']:>9.1f} {run['goodput_fps']:>8.1f} "
            f"{run['deadline_miss_rate']:>8.1%} {run['superseded_rate']:>11.1%} "
            f"{run['mean_quality']:>8.3f}  {e2e:<19} {run['fairness_jain']:>8.3f}  {rungs}"
        )
        sessions = run["sessions"]
        if run["mode"] == "bursty":
            lines.append(f"         {sessions['admitted']} came in, {sessions['rejected']} did not")
    return lines
