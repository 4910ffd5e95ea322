"""`millrace doctor --cores`: does the model run better on cores of its own?

The whole way that a viewer gets, server, worker and a real peer connection over loopback
(`bench_webrtc`), in turns with shared cores and with the model's apart. The peer, which stands for
a browser on the same machine, runs wherever there is room.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..streaming import cores
from ..streaming.clock import SystemClock
from ..streaming.config import ConfigError, Options, resolve
from . import bench_webrtc
from .bench_sessions import Load
from .errors import CallError, CommandError

ROUNDS = 3
SECONDS = 6.0
FPS = 30.0

Measure = Callable[[Load], Mapping[str, Any]]


def compare(
    options: Options, measure: Measure = bench_webrtc.measure, rounds: int = ROUNDS
) -> cores.Compared:
    """Run in turns and keep what was found, for `serve` and `doctor`.

    Args:
        options: of the server; what they say of cores does not count.

    Raises:
        CallError: the cores cannot be divided here.
        CommandError: a server did not start, or the result cannot be kept.
    """
    from ..streaming import calibrate  # loads torch

    facts = calibrate.measure(options, SystemClock())
    try:
        apart = resolve(_with(options, "apart"), facts)
    except ConfigError as error:
        raise CallError(f"--cores: {error}") from error
    print(
        f"comparing {apart.threads} of {facts.cores} cores for the model alone with shared ones, "
        f"{rounds} times each, about {2 * rounds * (SECONDS + 10):.0f} s ...",
        file=sys.stderr,
    )
    found = []
    for number in range(rounds):
        order = ("shared", "apart") if number % 2 == 0 else ("apart", "shared")
        runs = {name: measure(_load(_with(options, name))) for name in order}
        (fps, ms), (own_fps, own_ms) = (_figures(runs[name]) for name in ("shared", "apart"))
        found.append(cores.Round(fps, own_fps, ms, own_ms))
        print(f"  {cores.Compared((found[-1],)).told()}", file=sys.stderr)
    compared = cores.Compared(tuple(found))
    file = calibrate.compared_file(calibrate.cache_folder(os.environ))
    try:
        cores.write(file, compared)
    except OSError as error:
        raise CommandError(f"the measurement was not kept in {file}: {error}") from error
    return compared


def _with(options: Options, name: str) -> Options:
    return replace(options, cores=name)


def _load(options: Options) -> Load:
    return Load(options, 1, "steady", FPS, 0.0, SECONDS, 1, {})


def _figures(found: Mapping[str, Any]) -> tuple[float, float]:
    return float(found["fresh_fps"]), float(found["e2e_ms"]["p95"] or 0.0)
