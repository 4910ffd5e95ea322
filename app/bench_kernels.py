"""`millrace bench kernels`: every way to compute every operation of a model, measured."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..streaming import kernel_choices
from ..streaming.assemble import quiet_threads
from ..streaming.clock import SystemClock
from . import machine, reports
from .errors import CallError

WIDTH = 100
NAMES = 30
"""Columns of the table that an operation's name has."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        model: whose sizes; None for what suits the device.
        size: width and height of the picture; None for the model's usual one.
        rows, chunk: streams in a batch, latent frames of a chunk.
        ops: names of operations; empty for all.
        device, dtype: "auto" takes a GPU where there is one, and its usual type.
        threads: on a processor; 0 for all.
        cache: folder of the kept choices; None for the user's own.
        report: where the JSON goes; "-" is the standard output, None nowhere.
    """

    model: str | None
    size: tuple[int, int] | None
    rows: int
    chunk: int
    ops: tuple[str, ...]
    device: str
    dtype: str
    threads: int
    cache: Path | None
    report: str | None


def run(plan: Plan) -> None:
    """Measure, printing each call as it is done, and write the report.

    Raises:
        CallError: no such model, operation, type or device, or a size that the model does not take.
        CommandError: the report cannot be written.
    """
    quiet_threads(os.environ)
    import torch

    from ..streaming.calibrate import cache_folder
    from ..streaming.measuring import kernel_calls

    device, dtype = chosen(plan.device, plan.dtype)
    if plan.threads:
        torch.set_num_threads(plan.threads)
    model = plan.model or ("tiny" if device.type == "cpu" else "wan2.1-1.3b")
    size = plan.size or ((256, 256) if model == "tiny" else (832, 480))
    asked = kernel_calls.Asked(
        model,
        size,
        plan.rows,
        plan.chunk,
        device,
        dtype,
        plan.ops,
        (plan.cache or cache_folder(os.environ)) / kernel_choices.FILE,
    )
    report: dict[str, Any] = {
        "benchmark": "kernels",
        "model": model,
        "size": list(size),
        "rows": plan.rows,
        "chunk": plan.chunk,
        "device_type": device.type,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "environment": machine.facts(),
        "calls": [],
    }
    # With "-" the report alone is on the standard output.
    out = sys.stderr if plan.report == "-" else sys.stdout
    try:
        kernel_calls.work_of(asked)  # before anything is measured
        instruments = kernel_calls.Instruments.of(asked, SystemClock())
        for told in kernel_calls.measure(asked, instruments):
            if "op" not in told:
                report |= told
                print("\n".join(heading(report)), file=out, flush=True)
            else:
                report["calls"].append(told)
                print("\n".join(block(told)), file=out, flush=True)
    except ValueError as error:
        raise CallError(str(error)) from error
    print("\n".join(closing(report)), file=out)
    if plan.report:
        reports.write(json.dumps(report, indent=2) + "\n", plan.report)


def chosen(device: str, dtype: str) -> tuple[Any, Any]:
    """The torch device and type of these names.

    Raises:
        CallError: there is no such device here, or no such type.
    """
    import torch

    gpu = torch.cuda.is_available()
    try:
        place = torch.device(("cuda" if gpu else "cpu") if device == "auto" else device)
    except RuntimeError:
        raise CallError(f"--device {device!r}: write it as auto, cpu or cuda:0") from None
    if place.type not in ("cpu", "cuda") or (place.type == "cuda" and not gpu):
        raise CallError(
            f"--device {device}: there is no such device here; leave it out or take cpu"
        )
    usual = "bfloat16" if place.type == "cuda" else "float32"
    name = usual if dtype == "auto" else dtype
    kinds = ("float32", "bfloat16", "float16")
    if name not in kinds:
        raise CallError(f"--dtype {dtype!r} is not one of auto, {', '.join(kinds)}")
    return place, getattr(torch, name)


def heading(report: Mapping[str, Any]) -> list[str]:
    """What is measured, against what, and how to read the columns."""
    ceiling, versions = report["ceiling"], report["versions"]
    width, height = report["size"]
    threads = f", threads: {report['threads']}" if report["device_type"] == "cpu" else ""
    on_cpu = report["device_type"] == "cpu"
    name = report["environment"]["cpu"]["model"] if on_cpu else report["device"]
    rows, chunk = report["rows"], report["chunk"]
    return [
        f"kernels    {report['model']} at {width}x{height}, rows: {rows}, frames a chunk: {chunk}",
        f"device     {name}, {report['dtype']}{threads}",
        f"versions   {', '.join(f'{k} {v}' for k, v in versions.items() if v != 'none')}",
        f"ceiling    product {ceiling['tflops']:.3g} TFLOP/s, copy {ceiling['gbytes_s']:.3g} GB/s, "
        "measured just now",
        *_busy(report["environment"]),
        "",
        f"{'operation':<{NAMES}}  {'way':<14}{'ms':>9} {'spread':>8} {'speed':>7} {'error':>8}"
        f" {'ceiling':>8}  bound",
    ]


def _busy(environment: Mapping[str, Any]) -> list[str]:
    load, cores = environment["load_average"][0], environment["cpu"]["usable_cores"]
    if load <= cores:
        return []
    return [
        f"busy       load {load:g} on {cores:g} cores: others take part in these times. Compare",
        "           ways by the spread; shares of the ceiling mean little.",
    ]


def block(call: Mapping[str, Any]) -> list[str]:
    """One call: a line for each way that ran; `*` marks the chosen one."""
    ran = [result for result in call["results"] if result["ms"] is not None]
    names = [call["op"], f"  {call['label']}"] + [""] * len(ran)
    base = next(result["ms"] for result in ran)
    lines = []
    for name, result in zip(names, ran, strict=False):
        mark = "*" if result["name"] == call["chosen"] else " "
        lines.append(
            f"{name:<{NAMES}} {mark}{result['name']:<14}{result['ms']:>9.4g}"
            f" {result['spread_ms']:>8.2g} {base / result['ms']:>6.2f}x {_error(result):>8}"
            f" {100 * result['ceiling_share']:>6.0f} %  {call['bound']}"
        )
    if len(ran) < 2:
        lines.append(names[1])
    return lines


def _error(result: Mapping[str, Any]) -> str:
    error = result["error"]
    return "inf" if error is None else f"{error:.1g}" if error else "0"


def closing(report: Mapping[str, Any]) -> list[str]:
    """What cannot run here and why, what is slower than the reference, and how to read it all."""
    lines, refused = [""], defaultdict(list)
    for call in report["calls"]:
        for result in call["results"]:
            if result["refused"]:
                refused[result["refused"]].append(f"{call['op']} {result['name']}")
    for why, ways in refused.items():
        lines += _wrapped("left out", f"{', '.join(dict.fromkeys(ways))}: {why}")
    for module, why in report["left_out"].items():
        lines += _wrapped("left out", f"{module}: {why}")
    for call in report["calls"]:
        if _beaten(call):
            lines += _wrapped("slower", f"{call['op']} ({call['label']}): {call['reason']}")
    kept = "kept for the next start" if report["device_type"] == "cuda" else "fixed on a processor"
    lines += [
        f"choices    marked *, {kept}. Of equally fast ones the library's is taken.",
        "columns    median and half the distance of the quartiles, in ms; speed against the first",
        "           way; the worst row's relative error (of bytes, in codes); share of what the",
        "           product or the copy above would allow.",
    ]
    return lines


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(f"{head:<11}{text}", WIDTH, subsequent_indent=" " * 11)


def _beaten(call: Mapping[str, Any]) -> bool:
    """Whether another way was faster than the chosen one beyond the spread of both."""
    ran = [result for result in call["results"] if result["ms"] is not None]
    own = next(result for result in ran if result["name"] == call["chosen"])
    return any(own["ms"] - r["ms"] > max(own["spread_ms"], r["spread_ms"]) for r in ran)
