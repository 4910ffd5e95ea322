"""From what came out of a run to the benchmark's numbers, and to a table. Pure."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..streaming.telemetry import percentile
from .bench_load import Load, Viewer

SHARES = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))


def summary(load: Load, deadline: float, seconds: float, windows: int) -> dict[str, Any]:
    """The run's numbers by the names that all reports use.

    Args:
        deadline: seconds after capture by which a frame must be finished to count as on time.
        seconds: length that was asked for.
        windows: equal parts of the run for which the frame rate is told one by one.
    """
    span = load.ended - load.began
    done = sorted((d for v in load.viewers for d in v.done), key=lambda d: d.finished_at)
    delays = sorted(d.finished_at - d.captured_at for d in done)
    late = sum(delay > deadline for delay in delays)
    fresh = sum(not d.repeated for d in done)
    offered = sum(viewer.offered for viewer in load.viewers)
    superseded = load.superseded()
    rates = window_rates([d.finished_at for d in done], load.began, span, windows)
    stats = load.viewers[0].record.stats(load.ended)
    return {
        "raw_fps": _round(len(done) / span),
        "raw_fps_windows": [_round(rate) for rate in rates],
        "raw_fps_spread": _round(max(rates) - min(rates)),
        "goodput_fps": _round(max(0, fresh - late) / span),
        "deadline_ms": deadline * 1e3,
        "deadline_miss_rate": _round(late / len(done), 4) if done else 0.0,
        "superseded_rate": _round(superseded / offered, 4) if offered else 0.0,
        "e2e_ms": {name: _round(percentile(delays, share) * 1e3) for name, share in SHARES},
        "ttff_ms": None
        if load.first_at is None
        else _round((load.first_at - load.opened_at) * 1e3),
        "jitter_ms": _round(jitter(load.viewers, load.fps) * 1e3),
        "stages_ms": stats["stages"],
        # Steps and size stay as asked during a run: no ladder takes quality to save time.
        "fixed_quality": True,
        "mean_quality": 1.0,
        "rungs": {"full": len(done)},
        "fairness_jain": _round(jain([len(viewer.done) for viewer in load.viewers]), 4),
        "sessions": {"admitted": len(load.viewers), "queued": 0, "rejected": 0},
        "drops": {"superseded": superseded},
        "frames": len(done),
        "measured_seconds": _round(span, 3),
        "asked_seconds": seconds,
        "peak_memory_mb": peak_memory_mb(),
    }


def window_rates(times: Sequence[float], began: float, span: float, windows: int) -> list[float]:
    """Events a second in each of `windows` equal parts of `span` seconds from `began` on."""
    counts = [0] * windows
    for time in times:
        counts[min(windows - 1, max(0, int((time - began) / span * windows)))] += 1
    return [count * windows / span for count in counts]


def jitter(viewers: Sequence[Viewer], fps: float) -> float:
    """The 95th percentile of how far the time between two frames is from 1/fps, in seconds."""
    times = [[d.finished_at for d in viewer.done] for viewer in viewers]
    gaps = (b - a for one in times for a, b in zip(one, one[1:], strict=False))
    return percentile(sorted(abs(gap - 1 / fps) for gap in gaps), 0.95)


def jain(shares: Sequence[float]) -> float:
    """Jain's fairness index: 1 when all got the same, 1/n when one got everything."""
    square = sum(shares) ** 2
    return square / (len(shares) * sum(s * s for s in shares)) if square else 1.0


def peak_memory_mb() -> float:
    """Most memory that this process ever held; GPU memory is not in it."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)) or 0.0


def heading(report: Mapping[str, Any]) -> list[str]:
    """What was measured, and where."""
    environment = report["environment"]
    random = ", random weights" if report["random_weights"] else ""
    return [
        f"{report['model']} at {report['size'][0]}x{report['size'][1]} on {environment['device']}, "
        f"{environment['dtype']}, {environment['threads']} threads{random}",
        f"{environment['cpu']['model']}, {environment['cpu']['usable_cores']:g} cores, "
        f"load {environment['load_average_before'][:1] or ['?']} before",
    ]


def table(report: Mapping[str, Any]) -> list[str]:
    """The report as text."""
    lines = [
        *heading(report),
        "",
        "loop   steps     fps   windows         on time  missed  p50/p95/p99 ms      model    peak",
    ]
    for run in report["runs"]:
        windows = run["raw_fps_windows"]
        e2e = "/".join(_text(run["e2e_ms"][name]) for name, _ in SHARES)
        model = run["stages_ms"].get("model", {}).get("p50")
        lines.append(
            f"{run['mode']:<6} {_text(run['steps']):>5} {run['raw_fps']:>7.1f}   "
            f"{f'{min(windows):.1f} to {max(windows):.1f}':<14} {run['goodput_fps']:>8.1f} "
            f"{run['deadline_miss_rate']:>7.1%}  {e2e:<19} {_text(model):>5} ms "
            f"{run['peak_memory_mb']:>6.0f} MB"
        )
    return lines


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _round(value: float, digits: int = 2) -> float | None:
    return None if math.isnan(value) else round(value, digits)
