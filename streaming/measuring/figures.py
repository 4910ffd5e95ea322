"""From the windows of a run to its numbers, by the names that all reports use. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ...models.flops import Cost
from ..telemetry import percentile
from .ceiling import Reading
from .contender import Window
from .costs import StageCosts
from .launches import Launch
from .trial import Run
from .windows import Spread, significant

SHARES = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))
STAGES = ("encode", "decode", "copies", "rest")


def rates(run: Run) -> dict[str, Any]:
    """Of any contender: pictures a second, the first picture, memory and energy."""
    windows = [window.fps for window in run.windows]
    joules = [w.joules / w.frames for w in run.windows if w.joules is not None]
    spread = Spread.of(joules)
    return {
        "raw_fps": significant(run.fps, 4),
        "raw_fps_windows": [significant(rate, 4) for rate in windows],
        "raw_fps_spread": significant(max(windows) - min(windows), 4),
        "ttff_ms": significant(1e3 * run.first, 4),
        "frames": sum(window.frames for window in run.windows),
        "measured_seconds": round(sum(window.seconds for window in run.windows), 3),
        "energy_j_per_frame": None if spread is None else significant(spread.median, 4),
        "energy_j_per_frame_windows": [significant(one, 4) for one in joules],
        "peak_memory_mb": round(run.peak_mb, 1),
    }


def service(run: Run, fps: float) -> dict[str, Any]:
    """What a viewer would see of this closed loop: every chunk comes when the one before it was
    taken, so nothing is dropped and nothing has a deadline.

    Args:
        fps: that the frames are stamped with; jitter is against it.
    """
    launches = [launch for window in run.windows for launch in window.launches]
    efforts = Counter(effort for launch in launches for effort in launch.efforts)
    delays = sorted(delay for window in run.windows for delay in window.delays)
    gaps = sorted(abs(gap - 1 / fps) for window in run.windows for gap in window.gaps)
    return {
        "goodput_fps": significant(run.fps, 4),
        "deadline_ms": None,
        "deadline_miss_rate": 0.0,
        "superseded_rate": 0.0,
        "e2e_ms": {name: _ms(percentile(delays, share)) for name, share in SHARES},
        "jitter_ms": _ms(percentile(gaps, 0.95)),
        "fixed_quality": True,
        "mean_quality": 1.0,
        "rungs": dict(efforts),
        "fairness_jain": 1.0,
        "sessions": {"admitted": 1, "queued": 0, "rejected": 0},
        "drops": {},
    }


def stages(windows: Sequence[Window]) -> dict[str, Any]:
    """Milliseconds of each stage of a launch: encode, each pass, decode, copies, the rest of the
    launch, and what lay between launches."""
    launches = [launch for window in windows for launch in window.launches]
    columns: dict[str, list[float]] = {"encode": [launch.encode for launch in launches]}
    for number in range(max((len(launch.passes) for launch in launches), default=0)):
        there = [launch.passes[number] for launch in launches if number < len(launch.passes)]
        columns[f"pass {number + 1}"] = [one.seconds for one in there]
    for name in STAGES[1:]:
        columns[name] = [getattr(launch, name) for launch in launches]
    columns["between"] = [
        max(0.0, window.seconds - sum(launch.total for launch in window.launches))
        / len(window.launches)
        for window in windows
        if window.launches
    ]
    return {
        name: {share: _ms(percentile(sorted(values), at)) for share, at in SHARES[:2]}
        for name, values in columns.items()
        if values
    }


def utilisation(
    windows: Sequence[Window], ceilings: Sequence[Reading], costs: StageCosts
) -> dict[str, Any]:
    """What was computed and moved, and its share of the ceiling measured just before it.

    "mfu": FLOPs of the chunk over its whole time; "pass_mfu": of the passes over theirs, and alike
    for encode and decode; "bandwidth_share": the bytes that must be moved, over the whole time.
    """
    pairs = [(w, c) for w, c in zip(windows, ceilings, strict=True) if w.launches]
    if not pairs:
        return {}
    whole: Callable[[Launch], Cost] = costs.launch
    example = pairs[0][0].launches[-1]
    passes = [costs.one_pass(one.rows, one.window) for one in example.passes]
    cost = {"encode": costs.encode, "pass": passes[0], "decode": costs.decode}
    shares = {
        "mfu": [
            _share(w, w.seconds, c.flops, lambda launch: whole(launch).flops) for w, c in pairs
        ],
        "pass_mfu": [_pass_share(w, c, costs) for w, c in pairs],
        "encode_mfu": [_stage_share(w, "encode", c, costs.encode) for w, c in pairs],
        "decode_mfu": [_stage_share(w, "decode", c, costs.decode) for w, c in pairs],
        "bandwidth_share": [
            _share(w, w.seconds, c.bandwidth, lambda launch: whole(launch).bytes) for w, c in pairs
        ],
    }
    spreads = {name: Spread.of([v for v in values if v > 0]) for name, values in shares.items()}
    return {
        "flops_per_chunk": whole(example).flops,
        "bytes_per_chunk": whole(example).bytes,
        "stages_cost": {
            name: {"flops": one.flops, "bytes": one.bytes, "parts": one.parts}
            for name, one in cost.items()
        },
        **{name: None if s is None else s.rounded() for name, s in spreads.items()},
    }


def _share(window: Window, seconds: float, ceiling: float, work: Callable[[Launch], int]) -> float:
    return sum(work(launch) for launch in window.launches) / seconds / ceiling


def _pass_share(window: Window, ceiling: Reading, costs: StageCosts) -> float:
    seconds = sum(one.seconds for launch in window.launches for one in launch.passes)
    flops = sum(
        costs.one_pass(one.rows, one.window).flops
        for launch in window.launches
        for one in launch.passes
    )
    return flops / seconds / ceiling.flops if seconds else 0.0


def _stage_share(window: Window, stage: str, ceiling: Reading, cost: Cost) -> float:
    times = [getattr(launch, stage) for launch in window.launches]
    ran = sum(seconds > 0 for seconds in times)
    return ran * cost.flops / sum(times) / ceiling.flops if ran else 0.0


def ceiling(readings: Sequence[Reading]) -> dict[str, Any]:
    """What the device could do at most, over the rounds."""
    flops = Spread.of([reading.flops for reading in readings])
    moved = Spread.of([reading.bandwidth for reading in readings])
    assert flops is not None and moved is not None
    return {"flops_per_s": flops.rounded(), "bytes_per_s": moved.rounded()}


def ratios(ours: Run, theirs: Run) -> dict[str, Any]:
    """How many times as many pictures a second, window against window of the same round."""
    pairs = zip(ours.windows, theirs.windows, strict=True)
    spread = Spread.of([own.fps / other.fps for own, other in pairs])
    assert spread is not None
    return {"fps": spread.rounded(), "ttff": significant(theirs.first / ours.first)}


def _ms(seconds: float) -> float | None:
    return None if seconds != seconds else significant(1e3 * seconds, 4)
