"""Random joins and leaves before a worker for a long time: does anything grow or stay behind?

`python -m millrace.app.soak_sessions --seconds 600` opens and closes sessions on a real worker
process (or several, `--devices cpu,cpu`) by the bursty arrivals of the simulator, abrupt ends and
changes of the prompt included. It prints the slopes of memory and latency with their errors, and
what was left behind: blocks of shared memory, sessions, processes. Exit code 1 if anything was.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..streaming.clock import Clock, SystemClock
from ..streaming.config import Options
from ..streaming.fleet import Fleet
from ..streaming.frames import PTS_RATE, Frame
from ..streaming.host import Event, Host, HostRefused, Output, Session
from ..streaming.pipeline import StreamConfig
from ..streaming.simulation.arrivals import Visit, bursty, mean_length
from . import machine
from .bench_crowd import deeds
from .bench_load import moving_source
from .processes import resident_mb, tree
from .trend import percentile, trend

SHM = Path("/dev/shm")
PATIENCE_S = 60.0
KEPT = 200_000
"""Latencies kept, the newest; ten minutes of eleven viewers at 30 frames a second."""


@dataclass
class Watch:
    """What came back, written by a thread of the host."""

    clock: Clock
    began: float
    latencies: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=KEPT))
    """(second since the start, ms)."""
    open: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def opened(self) -> None:
        with self._changed:
            self.open += 1

    def __call__(self, item: Output | Event) -> None:
        now = self.clock.now()
        if isinstance(item, Output):
            if not item.repeated:
                delay = now - item.frame.captured_at
                self.latencies.append((now - self.began, 1e3 * delay))
        elif item.kind == "closed":
            with self._changed:
                self.open -= 1
                self.ended[item.message or "left"] += 1
                self._changed.notify_all()

    def all_closed(self) -> bool:
        """Wait until every session said that it is closed; False when one never does."""
        with self._changed:
            return self._changed.wait_for(lambda: self.open == 0, PATIENCE_S)


class Soak:
    """One long run.

    Args:
        host: started and ready.
        visits: who comes when.
        every: seconds between two readings of memory.
    """

    def __init__(
        self, host: Host, clock: Clock, visits: Sequence[Visit], options: Options, every: float
    ) -> None:
        self._host = host
        self._clock = clock
        self._visits = visits
        self._options = options
        self._every = every
        self._source = moving_source(options.width, options.height)
        self._present: dict[int, tuple[Session, list[int]]] = {}
        self._pause = threading.Event()
        self.watch = Watch(clock, clock.now())
        self.memory: list[tuple[float, float]] = []
        self.blocks: list[tuple[float, int, int]] = []
        """(second, blocks of shared memory, open sessions)."""
        self.came = self.rejected = self.most = 0

    def run(self, seconds: float) -> None:
        """All visits, then everybody leaves."""
        self.watch.began = self._clock.now()
        for at, _, number, kind in heapq.merge(deeds(self._visits, seconds), self._looks(seconds)):
            self._pause.wait(max(0.0, self.watch.began + at - self._clock.now()))
            if kind == "look":
                self._look(at)
            elif kind == "open":
                self._open(number)
            elif number in self._present:
                session, count = self._present[number]
                if kind == "frame":
                    self._put(session, count, self._visits[number].fps, self.watch.began + at)
                elif kind == "prompt":
                    self._prompt(session)
                else:
                    del self._present[number]
                    session.close("")
        for session, _ in self._present.values():
            session.close("")

    def _looks(self, seconds: float) -> Iterator[tuple[float, int, int, str]]:
        return (((n + 1) * self._every, 9, 0, "look") for n in range(int(seconds / self._every)))

    def _open(self, number: int) -> None:
        visit, options = self._visits[number], self._options
        config = StreamConfig(options.width, options.height, visit.fps, user=visit.user)
        try:
            session = self._host.open(config, self.watch)
        except HostRefused:
            self.rejected += 1
            return
        self.watch.opened()
        self.came += 1
        self._present[number] = (session, [0])
        self.most = max(self.most, len(self._present))

    def _put(self, session: Session, count: list[int], fps: float, at: float) -> None:
        picture = self._source[count[0] % len(self._source)]
        size = (session.config.width, session.config.height)
        session.put(Frame(picture, *size, round(count[0] * PTS_RATE / fps), at, count[0]))
        count[0] += 1

    def _prompt(self, session: Session) -> None:
        if "prompt" in session.controls.values:
            session.change({"prompt": ("ink drawing", "oil painting")[session.controls.epoch % 2]})

    def _look(self, at: float) -> None:
        self.memory.append((at, resident_mb(tree(os.getpid()))))
        self.blocks.append((at, len(blocks()), len(self._host.sessions())))
        recent = [ms for second, ms in tuple(self.watch.latencies)[-500:] if second > at - 5]
        print(
            f"\r{at:5.0f} s  {len(self._present):3d} sessions  "
            f"p95 {percentile(recent, 0.95):5.0f} ms  {self.memory[-1][1]:6.0f} MB",
            end="",
            file=sys.stderr,
            flush=True,
        )


def blocks() -> list[str]:
    """Shared memory of this process's sessions."""
    return [path.name for path in SHM.glob(f"millrace-{os.getpid()}-*")]


def measure(options: Options, sessions: float, seconds: float, seed: int, every: float) -> Any:
    """One run, from the start of the workers to their end.

    Args:
        sessions: mean number at the same time.

    Raises:
        RuntimeError, TimeoutError: no worker came up.
    """
    clock = SystemClock()
    scale = max(1.0, mean_length() / (seconds / 10))
    visits = bursty(sessions * scale / mean_length(), seconds, seed, scale=scale)
    host = Fleet(options, clock)
    host.start()
    try:
        host.ready(PATIENCE_S)
        soak = Soak(host, clock, visits, options, every)
        soak.run(seconds)
        closed = soak.watch.all_closed()
        left = {"sessions": len(host.sessions())}
        restarts = host.stats()["worker"]["restarts"]
    finally:
        host.stop()
    left["shared_memory"] = len(blocks())
    left["processes"] = len(tree(os.getpid())) - 1 - _tracker()
    return report(soak, seconds, left | {"unclosed": 0 if closed else soak.watch.open}, restarts)


def _tracker() -> int:
    """The standard library's tracker of shared memory stays as long as this process."""
    from multiprocessing import resource_tracker

    pid = getattr(resource_tracker._resource_tracker, "_pid", None)
    return int(pid is not None)


def report(soak: Soak, seconds: float, left: dict[str, int], restarts: int) -> dict[str, Any]:
    """The numbers by the names that all reports use."""
    latencies = tuple(soak.watch.latencies)
    ms = [value for _, value in latencies]
    settled = [(t, mb) for t, mb in soak.memory if t > seconds / 4]
    growth = {
        "latency_ms_per_min": trend([(t, v) for t, v in latencies if t > seconds / 10]),
        "memory_mb_per_min": trend(settled),
        # Workers have a block of their own each, so what matters is whether their number grows.
        "blocks_per_min": trend([(t, float(n - open)) for t, n, open in soak.blocks if t > 5]),
    }
    return {
        "seconds": seconds,
        "sessions": {"admitted": soak.came, "rejected": soak.rejected, "at_once": soak.most},
        "ended": dict(soak.watch.ended),
        "frames": len(ms),
        "e2e_ms": {f"p{q}": round(percentile(ms, q / 100), 1) for q in (50, 95, 99)},
        "memory_mb": [round(mb, 1) for _, mb in soak.memory],
        "growth": {name: t.as_dict() for name, t in growth.items()},
        "left_behind": left,
        "worker_restarts": restarts,
        "environment": machine.facts(),
    }


def table(numbers: dict[str, Any]) -> str:
    """The report for people."""
    e2e, sessions = numbers["e2e_ms"], numbers["sessions"]
    lines = [
        f"sessions             {sessions['admitted']} came and went, at most {sessions['at_once']} "
        f"at once, {sessions['rejected']} refused",
        f"frames               {numbers['frames']}",
        f"latency              p50 {e2e['p50']:.0f}  p95 {e2e['p95']:.0f}  p99 {e2e['p99']:.0f} ms",
        f"left behind          {', '.join(f'{k} {v}' for k, v in numbers['left_behind'].items())}",
        f"worker restarts      {numbers['worker_restarts']}",
    ]
    for name, t in numbers["growth"].items():
        what, _, unit = name.partition("_")
        error = "unknown" if t["error"] is None else f"{t['error']:.3f}"
        verdict = "grows" if t["grows"] else "does not grow"
        unit = unit.replace("per_min", "a minute").replace("_", " ").replace("mb", "MB")
        lines.append(f"{what:<20} {verdict}: {t['slope']:+.3f} +- {error} {unit}")
    return "\n".join(lines)


def passed(numbers: dict[str, Any]) -> bool:
    """Nothing was left behind and no worker died. Growth is for people to judge by its error."""
    return not any(numbers["left_behind"].values()) and not numbers["worker_restarts"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m millrace.app.soak_sessions")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long to measure")
    parser.add_argument("--sessions", type=float, default=2.0, help="mean number at the same time")
    parser.add_argument("--max-sessions", type=int, default=6)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two readings")
    parser.add_argument("--pipeline", default="tiny")
    parser.add_argument("--size", type=int, default=128, help="side of the square picture")
    parser.add_argument("--devices", default="", help="cpu,cpu say; a worker each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    asked = parser.parse_args(arguments)
    options = Options(
        asked.pipeline,
        width=asked.size,
        height=asked.size,
        max_sessions=asked.max_sessions,
        devices=tuple(filter(None, asked.devices.split(","))),
    )
    try:
        numbers = measure(options, asked.sessions, asked.seconds, asked.seed, asked.every)
    except (RuntimeError, TimeoutError) as error:
        print(f"soak_sessions: {error}", file=sys.stderr)
        return 1
    print(f"\n{table(numbers)}")
    if asked.json:
        asked.json.write_text(json.dumps(numbers, indent=2) + "\n", "utf-8")
    return 0 if passed(numbers) else 1


if __name__ == "__main__":
    sys.exit(main())
