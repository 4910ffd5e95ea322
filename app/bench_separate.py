"""`millrace bench --separate`: one engine with N viewers against N engines with one viewer each.

All engines live in processes of their own for the whole run and take turns, so that both sides see
the same machine. Every engine is fed as fast as it asks.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from ..streaming.clock import SystemClock
from ..streaming.config import Options
from ..streaming.controls import ControlError
from . import control_values, local_engine, machine
from .bench_sessions import Load, capacity
from .errors import CommandError

ROUNDS = 3
"""Turns of each side."""
ROWS = (1, 2, 4, 8)
"""Batch sizes of the row-cost curve."""
START_S = 120.0


@dataclass(frozen=True, slots=True)
class Turn:
    """Run so many sessions for so long."""

    sessions: int
    seconds: float


def measure(load: Load) -> dict[str, Any]:
    """Alternate, then measure what each further row of a batch costs.

    Raises:
        CommandError: an engine could not be started or failed, with its reason.
    """
    n, seconds = load.sessions, load.seconds
    cores = max(1, int(machine.usable_cores()))
    single = replace(load.options, threads=load.options.threads or max(1, cores // n))
    shared, separate = [], []
    with _engines([load.options], load, max(n, *ROWS)) as (one,):
        with _engines([single] * n, load, 1) as many:
            for _ in range(ROUNDS):
                shared.append(_together([one], Turn(n, seconds)))
                separate.append(_together(many, Turn(1, seconds)))
        curve = [(rows, _together([one], Turn(rows, seconds))) for rows in ROWS]
    return {
        "mode": "separate",
        "sessions": n,
        "rounds": ROUNDS,
        "threads": {"shared": load.options.threads or "auto", "separate": single.threads},
        "shared_fps": _stats(shared),
        "separate_fps": _stats(separate),
        "ratio": round(sum(shared) / sum(separate), 3) if sum(separate) else None,
        "ratios": [round(a / b, 3) for a, b in zip(shared, separate, strict=True) if b],
        "row_cost": [_row(rows, fps, curve[0][1]) for rows, fps in curve],
    }


def table(found: Mapping[str, Any]) -> list[str]:
    """The result as text."""
    shared, separate, n = found["shared_fps"], found["separate_fps"], found["sessions"]
    lines = [
        f"one engine, {n} sessions       {shared['mean']:8.1f} frames a second "
        f"({shared['least']:.1f} to {shared['most']:.1f})",
        f"{n} engines, one session each {separate['mean']:8.1f} frames a second "
        f"({separate['least']:.1f} to {separate['most']:.1f})",
        f"ratio                        {found['ratio']:8.2f}",
        "",
        "rows   frames/s   ms a launch   ms a row   a row against one alone",
    ]
    for row in found["row_cost"]:
        lines.append(
            f"{row['rows']:>4} {row['fps']:>10.1f} {row['launch_ms']:>13.2f} {row['row_ms']:>10.2f}"
            f" {row['relative']:>10.2f}"
        )
    return lines


def _stats(rates: Sequence[float]) -> dict[str, float]:
    return {
        "mean": round(sum(rates) / len(rates), 2),
        "least": round(min(rates), 2),
        "most": round(max(rates), 2),
    }


def _row(rows: int, fps: float, alone: float) -> dict[str, float]:
    """What a launch of `rows` rows takes, per launch, per row and against a lone row."""
    row_ms = 1e3 / fps if fps else 0.0
    return {
        "rows": rows,
        "fps": round(fps, 2),
        "launch_ms": round(row_ms * rows, 3),
        "row_ms": round(row_ms, 3),
        "relative": round(row_ms * alone / 1e3, 3),
    }


def _together(engines: Sequence[Connection], turn: Turn) -> float:
    """All run at the same time; their frames a second together."""
    for engine in engines:
        engine.send(turn)
    return sum(float(_answer(engine)) for engine in engines)


def _answer(engine: Connection) -> float:
    if not engine.poll(START_S):
        raise CommandError(f"an engine did not answer within {START_S:g} s")
    try:
        answer = engine.recv()
    except EOFError:
        raise CommandError("an engine's process ended; its reason stands above") from None
    if isinstance(answer, str):
        raise CommandError(answer)
    return float(answer)


@contextmanager
def _engines(options: Sequence[Options], load: Load, rooms: int) -> Iterator[list[Connection]]:
    """Processes with an engine each, ready to take turns; they end when their pipe closes."""
    context = multiprocessing.get_context("spawn")
    started = []
    ends: list[Connection] = []
    try:
        for one in options:
            mine, theirs = context.Pipe()
            own = replace(load, options=replace(one, max_sessions=rooms))
            process = context.Process(target=serve, args=(theirs, own), daemon=True)
            process.start()
            theirs.close()
            started.append(process)
            ends.append(mine)
        for end in ends:
            _answer(end)
        yield ends
    finally:
        for end in ends:
            end.close()
        for process in started:
            process.join(START_S)


def serve(connection: Connection, load: Load) -> None:
    """Entry point of an engine's process."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    clock = SystemClock()
    try:
        built = local_engine.start(load.options, clock)
        texts = {name: str(value) for name, value in load.changes.items()}
        load = replace(load, changes=control_values.read(built.info.pipeline.controls, texts))
        connection.send(0.0)
        while True:
            turn: Turn = connection.recv()
            own = replace(load, sessions=turn.sessions)
            connection.send(capacity(built.engine, clock, own, turn.seconds))
    except EOFError:
        return
    except (CommandError, ControlError) as error:
        connection.send(str(error))
