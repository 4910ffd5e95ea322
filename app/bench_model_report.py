"""The report of a model at fixed quality, as text. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import bench_goals

Report = Mapping[str, Any]
_UNITS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))
_AROUND = ("decode", "copies", "rest", "between")


def table(report: Report) -> list[str]:
    """All of it, for a terminal of a hundred columns."""
    lines = [*_heading(report), "", *_runs(report), "", *_stages(report)]
    for part in (_goals(report), *(_compared(report, one) for one in report["compare"])):
        lines += ["", *part] if part else []
    return lines


def _heading(report: Report) -> list[str]:
    environment, (width, height) = report["environment"], report["size"]
    device = environment["device"]
    gpu = "" if device == "cpu" else f" ({report['device_name']})"
    count = environment["threads"]
    threads = f", {count} thread{'s' * (count != 1)}" if device == "cpu" else ""
    random = ", random weights" if report["random_weights"] else ""
    load = environment["load_average_before"][:1] or ["?"]
    chunk = f"chunks of {report['chunk']} pictures" if report["chunk"] > 1 else "picture by picture"
    most = report["ceiling"]
    energy = report["energy"]
    told = f"not measured: {energy['not_measured']}" if energy["not_measured"] else energy["source"]
    return [
        f"{report['model']} at {width}x{height} on {device}{gpu}, {environment['dtype']}{threads}, "
        f"{report['schedule']} schedule{random}",
        f"{environment['cpu']['model']}, {environment['cpu']['usable_cores']:g} cores, load "
        f"{load[0]} before",
        f"built in {report['build_s']:.1f} s, warmed up in {report['warm_up_s']:.1f} s; {chunk}; "
        f"{report['windows']} windows a run, in turns",
        f"ceiling, measured in between: {_rate(most['flops_per_s']['median'])}FLOP/s "
        f"({_rate(most['flops_per_s']['min'])} to {_rate(most['flops_per_s']['max'])}), "
        f"a product of {most['matrix_side']} x {most['matrix_side']}",
        f"{'':<30}{_rate(most['bytes_per_s']['median'])}B/s "
        f"({_rate(most['bytes_per_s']['min'])} to {_rate(most['bytes_per_s']['max'])}), "
        f"a copy of {most['copy_bytes'] >> 20} MiB",
        f"energy: {told}",
        *report["stages_told"],
        *([f"share of the ceiling: not known, as {report['not_counted']}"]
          if report["not_counted"] else []),
    ]  # fmt: skip


def _runs(report: Report) -> list[str]:
    lines = [
        "                       windows                      share of the ceiling",
        "steps      fps     min     max  first picture     all  passes  bandwidth  J/frame"
        "    memory",
    ]
    for run in report["runs"]:
        windows = run["raw_fps_windows"]
        shares = [_percent(run.get(name)) for name in ("mfu", "pass_mfu", "bandwidth_share")]
        lines.append(
            f"{_or_dash(run['steps']):>5} {_number(run['raw_fps']):>8} "
            f"{_number(min(windows)):>7} {_number(max(windows)):>7} {_ms(run['ttff_ms']):>14} "
            f"{shares[0]:>7} {shares[1]:>7} {shares[2]:>10} "
            f"{_or_dash(run['energy_j_per_frame']):>8} {run['peak_memory_mb']:>6.0f} MB"
        )
    return lines


def _stages(report: Report) -> list[str]:
    """Where the time of a chunk goes."""
    passes = {
        run["steps"]: " + ".join(_number(one) for one in _passes(run)) for run in report["runs"]
    }
    wide = max(len("passes"), *(len(text) for text in passes.values()))
    lines = [
        f"{'ms a chunk, each the median':<{wide + 50}}   picture is done after",
        f"steps   encode  {'passes':>{wide}}   decode   copies     rest  between      p50      p95",
    ]
    for run in report["runs"]:
        stages = run["stages_ms"]
        around = "".join(f" {_number(_median(stages, name)):>8}" for name in _AROUND)
        around += "".join(f" {_number(run['e2e_ms'][name]):>8}" for name in ("p50", "p95"))
        lines.append(
            f"{_or_dash(run['steps']):>5} {_number(_median(stages, 'encode')):>8}  "
            f"{passes[run['steps']]:>{wide}}{around}"
        )
    return lines


def _passes(run: Report) -> list[float | None]:
    names = [name for name in run["stages_ms"] if name.startswith("pass ")]
    return [_median(run["stages_ms"], name) for name in names]


def _median(stages: Report, name: str) -> float | None:
    return stages.get(name, {}).get("p50")


def _goals(report: Report) -> list[str]:
    """What was aimed at, of runs that are like it; nothing else."""
    lines = []
    for run in report["runs"]:
        for name, goal in run["goals"].items():
            note = f" ({goal['note']})" if goal["note"] else ""
            steps = "1 step" if run["steps"] == 1 else f"{run['steps']} steps"
            lines.append(
                f"{steps:>11}, {name}: {_number(goal['measured'])} {goal['unit']}, "
                f"goal {_number(goal['goal'])}{note}"
            )
            lines += [f"{'':>13}others: {goal['others']}"] if goal["others"] else []
    return [f"goals, set for {bench_goals.GOALS_FOR}", *lines] if lines else []


def _compared(report: Report, one: Report) -> list[str]:
    lines = [
        f"against {one['name']}: {one['note']}",
        "steps   our fps    theirs  times as fast        first picture, theirs  pictures alike",
    ]
    for own, run in zip(report["runs"], one["runs"], strict=True):
        ratio = run["ratio"]["fps"]
        spread = f"{ratio['median']:g} ({ratio['min']:g} to {ratio['max']:g})"
        alike = run["likeness"]
        told = "other noise" if alike is None else f"{alike['psnr_db']:g} dB"
        lines.append(
            f"{_or_dash(run['steps']):>5} {_number(own['raw_fps']):>9} "
            f"{_number(run['raw_fps']):>9}  {spread:<20} {_ms(run['ttff_ms']):>21}  {told}"
        )
    return lines


def _number(value: float | None) -> str:
    """Three digits that count, or all before the point."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value / 1e3:.2f} s" if value >= 10_000 else f"{_number(value)} ms"


def _percent(spread: Mapping[str, float] | None) -> str:
    return "-" if spread is None else f"{spread['median']:.1%}"


def _rate(value: float) -> str:
    """With its unit's letter: "790 T"."""
    for size, letter in _UNITS:
        if value >= size:
            return f"{_number(value / size)} {letter}"
    return f"{_number(value)} "
