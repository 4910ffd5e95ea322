"""All that computes the operations of a model, held against the references and timed in turns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...kernels import providers
from ...kernels.calls import bucket, each, tensors
from ...kernels.dispatch import TABLE
from ...kernels.measure import Result, Timer, Verdict, compare
from ...kernels.operation import Candidate
from ...kernels.samples import Sample, Work, samples_of
from ...kernels.table import Machine, Table, plain
from ...kernels.timers import ClockTimer, DeviceTimer
from ...models.specs import TINY, DiTSpec
from ...models.wan_sizes import WAN_SPECS
from ..clock import Clock
from .ceiling import Ceiling, Reading

SPECS: Mapping[str, DiTSpec] = {"tiny": TINY, **WAN_SPECS}
STRIDE = 8
"""Pixels of a latent's side, of every autoencoder that these models have."""
CHANNELS = 96
"""Of the sampled convolution, where the transformer has none: the widest full-size layers of the
Wan autoencoder."""

READINGS = 5
"""Of the ceiling; the highest counts, as a busy machine only ever lowers one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to measure.

    Attributes:
        model: a name of `SPECS`.
        size: width and height of the picture.
        rows, chunk: streams in a batch, latent frames of a chunk.
        ops: names of operations; empty for all.
        file: where choices are kept.
    """

    model: str
    size: tuple[int, int]
    rows: int
    chunk: int
    device: torch.device
    dtype: torch.dtype
    ops: tuple[str, ...]
    file: Path


def work_of(asked: Asked) -> Work:
    """The sizes of one pass.

    Raises:
        ValueError: no such model, or its tokens do not fill such a picture.
    """
    spec = SPECS.get(asked.model)
    if spec is None:
        raise ValueError(f"kernels of {asked.model!r}: there are those of {', '.join(SPECS)}")
    width, height = asked.size
    patch = spec.patch[1] * STRIDE
    if width % patch or height % patch:
        raise ValueError(f"size {width}x{height}: the sides of {asked.model} are whole {patch}s")
    tall, wide = height // STRIDE, width // STRIDE
    return Work(
        rows=asked.rows,
        frames=asked.chunk,
        grid=(tall // spec.patch[1], wide // spec.patch[2]),
        dim=spec.dim,
        inner=spec.ffn_dim,
        heads=spec.heads,
        texts=spec.text_len,
        sinks=spec.ring.sinks,
        slots=spec.ring.sinks + spec.ring.window + asked.chunk,
        channels=CHANNELS if spec.stem is None else spec.stem.width,
        latent=(spec.out_channels, tall, wide),
        picture=(height, width),
        dtype=asked.dtype,
        device=asked.device,
    )


@dataclass(frozen=True, slots=True)
class Instruments:
    """What the calls of a device are timed with, and the most that it can do."""

    timer: Timer
    ceiling: Reading

    @classmethod
    def of(cls, asked: Asked, clock: Clock) -> Instruments:
        """Takes a second or two."""
        on_gpu = asked.device.type == "cuda"
        timer = DeviceTimer(asked.device) if on_gpu else ClockTimer(clock.now)
        ceiling = Ceiling(asked.device, asked.dtype, clock)
        readings = [ceiling.read() for _ in range(READINGS)]
        most = Reading(max(r.flops for r in readings), max(r.bandwidth for r in readings))
        return cls(timer, most)


def measure(asked: Asked, instruments: Instruments) -> Iterator[dict[str, Any]]:
    """First what all calls are measured against, then each call as plain data, as it is done.

    On a GPU the choices are kept in the file, where the next start finds them.

    Raises:
        ValueError: see `work_of`; or no such operation.
    """
    work, reading, timer = work_of(asked), instruments.ceiling, instruments.timer
    unknown = sorted({*asked.ops} - {*TABLE})
    if unknown:
        raise ValueError(f"no operation {', '.join(unknown)}; there are {', '.join(sorted(TABLE))}")
    kind = asked.device.type
    left_out = {name: why for name, why in providers.load("cuda").items() if why}
    table = Table(Machine.of(asked.device), asked.file if kind == "cuda" else None)
    yield {
        "ceiling": {"tflops": reading.flops / 1e12, "gbytes_s": reading.bandwidth / 1e9},
        "device": table.machine.device,
        "versions": dict(table.machine.versions),
        "sources": table.machine.sources,
        "left_out": left_out,
    }
    for op in asked.ops or sorted(TABLE):
        for sample in samples_of(op, work):
            verdict = _measured(sample, kind, timer)
            alike, ways = bucket(sample.arguments), TABLE[op].ways(kind)
            if kind == "cuda":
                table.keep(op, alike, [way.name for way in ways], verdict)
            yield _told(sample, alike, verdict, reading)
    table.save()


def _measured(sample: Sample, kind: str, timer: Timer) -> Verdict:
    operation = TABLE[sample.op]
    ways = operation.ways(kind)
    verdict = compare(ways, operation.reference, sample.arguments, timer)
    if kind == "cuda":
        return verdict
    return _fixed(verdict, operation.candidates.get("cuda", []), sample.arguments)


def _fixed(verdict: Verdict, others: Sequence[Candidate], arguments: Sequence[Any]) -> Verdict:
    """On a processor the choice is made when the code is written; the measurement judges it."""
    own, *rest = verdict.results
    reason = "all that there is here"
    timed = [result for result in rest if not math.isnan(result.ms)]
    if timed:
        rival = min(timed, key=lambda result: result.ms)
        ratio = f"{rival.ms / own.ms:.2f}x as fast as {rival.name}"
        if abs(rival.ms - own.ms) <= max(rival.spread_ms, own.spread_ms):
            ratio += ", which is within the spread"
        reason = f"fixed on a processor; {ratio}"
    refused = tuple(
        Result(way.name, way.library, refused=way.fits(*arguments) or "it is for cuda devices")
        for way in others
    )
    return Verdict(own.name, reason, (own, *rest, *refused))


def _told(sample: Sample, alike: str, verdict: Verdict, reading: Reading) -> dict[str, Any]:
    moved = _moved(sample) if sample.moved is None else sample.moved
    floors = {
        "product": 1e3 * sample.flops / reading.flops,
        "memory": 1e3 * moved / reading.bandwidth,
    }
    bound = max(floors, key=lambda name: floors[name])
    told = plain(verdict)
    for result in told["results"]:
        ms = result["ms"]
        result["tflops"] = sample.flops / ms / 1e9 if ms else None
        result["gbytes_s"] = moved / ms / 1e6 if ms else None
        result["ceiling_share"] = floors[bound] / ms if ms else None
    return {
        "op": sample.op,
        "label": sample.label,
        "bucket": alike,
        "flops": sample.flops,
        "bytes": moved,
        "bound": bound,
        "floor_ms": floors[bound],
        **told,
    }


def _moved(sample: Sample) -> int:
    """All arguments once and all results once."""
    with torch.no_grad():
        results = TABLE[sample.op].reference(*each(torch.clone, sample.arguments))
    every = [*tensors(sample.arguments), *tensors(results)]
    return sum(tensor.numel() * tensor.element_size() for tensor in every)
