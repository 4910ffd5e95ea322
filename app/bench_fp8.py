"""`millrace bench fp8`: what eight bits would cost a model, and a file of the layers they suit."""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..streaming.assemble import quiet_threads
from ..streaming.config import ConfigError
from . import geometry, machine, reports
from .bench_kernels import chosen
from .errors import CallError, CommandError
from .files import VideoFile, planes_of

if TYPE_CHECKING:
    from ..streaming.measuring.eight_bits import Found

WORST = 5
"""Groups that are named, of those left as they are."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        model: a pipeline with a ring.
        settings: what it is built with.
        size: width and height of the picture; None for the model's usual one.
        clip: a video to measure on; None for random latents.
        prompt: "" for the model's usual one.
        chunks: how many.
        limit: relative error of the model's outputs that is allowed.
        seed: of noise and of random latents.
        device, dtype: "auto" takes a GPU where there is one, and its usual type.
        threads: on a processor; 0 for all.
        out: where the choice of layers goes, for `--option fp8=FILE`; None keeps none.
        report: where the numbers go as JSON; "-" is the standard output, None nowhere.
    """

    model: str
    settings: Mapping[str, object]
    size: tuple[int, int] | None
    clip: Path | None
    prompt: str
    chunks: int
    limit: float
    seed: int
    device: str
    dtype: str
    threads: int
    out: Path | None
    report: str | None


def run(plan: Plan) -> None:
    """Measure, print what was found, and write the files.

    Raises:
        CallError: no such device, type or model, or the clip is too short.
        CommandError: a file cannot be read or written.
    """
    quiet_threads(os.environ)
    import torch

    from ..streaming.measuring import eight_bits
    from ..streaming.pipeline import PipelineContext

    device, dtype = chosen(plan.device, plan.dtype)
    if plan.threads:
        torch.set_num_threads(plan.threads)
    width, height = plan.size or ((256, 256) if plan.model == "tiny" else (832, 480))
    name = str(dtype).removeprefix("torch.")
    settings = {**plan.settings, "max_sessions": 1, "size": (width, height)}
    asked = eight_bits.Asked(
        plan.model,
        PipelineContext(str(device), name, settings),
        (height, width),
        plan.chunks,
        plan.prompt,
        plan.seed,
        plan.limit,
    )
    pictures = [] if plan.clip is None else _pictures(plan.clip, (width, height))
    try:
        found = eight_bits.measure(asked, pictures, str(plan.clip), _progress)
    except ConfigError as error:
        raise CallError(str(error)) from error
    head = f"{plan.model} at {width}x{height}, {device}, {name}"
    print("\n".join(lines(head, found)), file=sys.stderr if plan.report == "-" else sys.stdout)
    _write(plan, found, {"size": [width, height], "device": str(device), "dtype": name})


def _write(plan: Plan, found: Found, facts: Mapping[str, Any]) -> None:
    if plan.out is not None:
        try:
            found.layers.save(plan.out)
        except OSError as error:
            raise CommandError(f"{plan.out} cannot be written: {error.strerror}") from error
        said = f"written    {plan.out}; use it with --option fp8={plan.out}"
        print(said, file=sys.stderr if plan.report == "-" else sys.stdout)
    if plan.report:
        report = {
            "benchmark": "fp8",
            **facts,
            "environment": machine.facts(),
            "layers": asdict(found.layers),
            "kv_cache": {store: asdict(distance) for store, distance in found.past.items()},
        }
        # JSON has no infinity: what is exactly the same has no finite PSNR.
        text = json.dumps(finite(report), indent=2, allow_nan=False)
        reports.write(text + "\n", plan.report)


def finite(value: Any) -> Any:
    """The same with null for numbers that JSON does not have."""
    if isinstance(value, float) and value - value != 0:
        return None
    if isinstance(value, Mapping):
        return {name: finite(part) for name, part in value.items()}
    return [finite(p) for p in value] if isinstance(value, list) else value


def _pictures(clip: Path, size: tuple[int, int]) -> list[Any]:
    with VideoFile(clip) as video:
        plan = geometry.plan(video.size, video.pixel_aspect, video.turns, size, 2, max(size))
        return [plan.prepare(planes_of(one.image, plan)) for one in video.pictures()]


def _progress(done: int, most: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of at most {most} runs", end="\n" if done == most else "", file=sys.stderr)


def lines(head: str, found: Found) -> list[str]:
    """What was found, as text: kinds of layers, the most sensitive groups, the past."""
    layers = found.layers
    kinds = defaultdict(list)
    for name, layer in layers.layers.items():
        kinds[name.split(".", 2)[2]].append(layer)
    rows = [
        f"model      {head}",
        f"inputs     {layers.inputs}",
        "",
        f"{'layers':<16}{'groups':>8}{'in eight bits':>15}{'own error':>20}{'of the model':>22}",
    ]
    for kind, own in kinds.items():
        local, whole = ([getattr(one, name) for one in own] for name in ("local", "whole"))
        rows.append(
            f"{kind:<16}{len(own):>8}{sum(one.fp8 for one in own):>15}"
            f"{_span(local):>20}{_span(whole):>22}"
        )
    left = {name: layer for name, layer in layers.layers.items() if not layer.fp8}
    worst = sorted(left, key=lambda name: -left[name].whole)[:WORST]
    rows += [
        "",
        f"chosen     {len(layers.chosen)} of {len(layers.layers)} groups: {_reached(layers)}",
    ]
    if worst:
        rows.append(f"left       {', '.join(f'{name} ({left[name].whole:.2g})' for name in worst)}")
    for store, past in found.past.items():
        rows.append(
            f"kv_cache   {store}: relative error {past.error:.2g}, PSNR {past.psnr_db:.1f} dB"
        )
    rows += [
        "columns    relative errors, median and largest: of a layer's own outputs on plain inputs,",
        "           and of the model's outputs with that group alone in eight bits",
    ]
    return rows


def _reached(layers: Any) -> str:
    if not layers.chosen:
        return f"nothing stays within a relative error of {layers.limit:g}"
    return (
        f"relative error {layers.error:.2g} (limit {layers.limit:g}), PSNR {layers.psnr_db:.1f} dB"
    )


def _span(values: list[float]) -> str:
    return f"{statistics.median(values):.2g} to {max(values):.2g}"
