"""A model that an engine runs, measured whole: own session, rivals, ceilings, energy, memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from ...kernels import i420_to_rgb
from ..clock import Clock
from ..controls import Controls
from ..engine import Engine
from ..pipeline import StreamConfig, Work
from ..stage_runs import told as told_of
from . import figures
from .ceiling import Ceiling
from .contender import Contender, Own, Source, chunks_to_fill
from .costs import NotCounted, StageCosts, costs_of
from .energy import Meter, NoMeter, find_meter
from .launches import Recorder, Totals, Watched
from .memory import PeakMemory
from .rivals import Challenger, Likeness, Rival, likeness
from .trial import Run, Trial, run_trial


@dataclass(frozen=True, slots=True)
class Asked:
    """What to measure.

    Attributes:
        source: what is shown.
        steps: one run for each; None for a model without that control.
        changes: controls that differ from the model's defaults.
        seconds: of a run, all its windows together.
        windows: that it is cut into.
    """

    source: Source
    steps: Sequence[int | None]
    changes: Mapping[str, object]
    seconds: float
    windows: int


@dataclass(frozen=True, slots=True)
class Side:
    """Our side: an engine around a watched pipeline, and what was chosen for it."""

    engine: Engine
    watched: Watched
    device: str
    dtype: torch.dtype


def measure(
    side: Side,
    asked: Asked,
    rivals: Sequence[Rival],
    clock: Clock,
    told: Callable[[], None] = lambda: None,
    ceiling: Ceiling | None = None,
) -> dict[str, Any]:
    """The report's numbers: "device_name", "ceiling", "energy", "not_counted", "stages_told",
    "memory_of", "runs" and "compare".

    Args:
        told: called once for each first picture and each window.
        ceiling: by default one that fills the device.

    Raises:
        ControlError: a control, or a value of one, that the model does not have.
        ModelFailed: with the pipeline's reason.
    """
    device = torch.device(side.device)
    alike = [_likenesses(side, asked, rival) for rival in rivals]
    meter, energy = _meter(device)
    tools = Tools(ceiling or Ceiling(device, side.dtype, clock), meter, PeakMemory(device))
    trial, (own, *others) = _tried(side, asked, rivals, clock, tools, told)
    if meter is not None and all(w.joules is None for run in trial.runs for w in run.windows):
        energy["not_measured"] = "the windows were too short for a sample; measure for longer"
    costs, why = _costs(side, asked)
    return {
        "device_name": _name(device),
        "ceiling": {
            "matrix_side": tools.ceiling.side,
            "copy_bytes": tools.ceiling.copied,
            **figures.ceiling(trial.ceilings),
        },
        "energy": energy,
        "not_counted": why,
        "stages_told": list(told_of(side.watched.pipeline)),
        "memory_of": tools.peaks.of + (", rivals and all" if rivals else ""),
        "runs": [_run(run, trial, asked, costs) for run in _of(trial, own)],
        "compare": [
            _compared(trial, own, contender, rival, found)
            for contender, rival, found in zip(others, rivals, alike, strict=True)
        ],
    }


@dataclass(frozen=True, slots=True)
class Tools:
    """What is held against the runs."""

    ceiling: Ceiling
    meter: Meter | None
    peaks: PeakMemory


def _tried(
    side: Side,
    asked: Asked,
    rivals: Sequence[Rival],
    clock: Clock,
    tools: Tools,
    told: Callable[[], None],
) -> tuple[Trial, list[Contender]]:
    """The trial, and who was in it: we come first."""
    device, pictures = torch.device(side.device), _rgb(asked.source)
    with ExitStack() as ends:
        own = _own(side, asked, clock, device)
        ends.callback(own.close)
        contenders: list[Contender] = [own]
        contenders += [Challenger(rival, clock, device, pictures) for rival in rivals]
        each = asked.seconds / asked.windows
        given = (asked.windows, each, tools.ceiling, tools.meter, tools.peaks, told)
        return run_trial(contenders, asked.steps, *given), contenders


def _own(side: Side, asked: Asked, clock: Clock, device: torch.device) -> Own:
    side.engine.trace = totals = Totals()
    recorder = Recorder(side.watched, totals)
    most = max((count for count in asked.steps if count is not None), default=None)
    filled = chunks_to_fill(side.watched.pipeline)
    given = (side.engine, recorder, clock, device, asked.source, asked.changes)
    return Own(*given, most, filled)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def _meter(device: torch.device) -> tuple[Meter | None, dict[str, str | None]]:
    """The meter, and what a report says of it."""
    uuid = ""
    if device.type == "cuda":
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    try:
        meter = find_meter(str(device), uuid)
    except NoMeter as error:
        return None, {"source": None, "not_measured": str(error)}
    return meter, {"source": meter.source, "not_measured": None}


def _costs(side: Side, asked: Asked) -> tuple[StageCosts | None, str | None]:
    """What the stages cost, or why that is not known."""
    width, height = asked.source.size
    try:
        return costs_of(side.watched.pipeline, (height, width), side.dtype), None
    except NotCounted as error:
        return None, str(error)


def _of(trial: Trial, contender: Contender) -> list[Run]:
    return [run for run in trial.runs if run.contender is contender]


def _run(run: Run, trial: Trial, asked: Asked, costs: StageCosts | None) -> dict[str, Any]:
    numbers: dict[str, Any] = {"mode": "closed", "steps": run.steps, "source_fps": None}
    numbers |= figures.rates(run) | figures.service(run, asked.source.fps)
    numbers["stages_ms"] = figures.stages(run.windows)
    if costs is not None:
        numbers |= figures.utilisation(run.windows, trial.ceilings, costs)
    return numbers


def _compared(
    trial: Trial,
    own: Contender,
    contender: Contender,
    rival: Rival,
    alike: Sequence[Likeness | None],
) -> dict[str, Any]:
    runs = []
    for ours, theirs, found in zip(_of(trial, own), _of(trial, contender), alike, strict=True):
        numbers = {"steps": theirs.steps, **figures.rates(theirs)}
        numbers["ratio"] = figures.ratios(ours, theirs)
        numbers["likeness"] = None
        if found is not None:
            numbers["likeness"] = {
                "psnr_db": round(found.psnr_db, 1),
                "largest": figures.significant(found.largest, 2),
            }
        runs.append(numbers)
    return {"name": rival.name, "note": rival.note, "runs": runs}


def _likenesses(side: Side, asked: Asked, rival: Rival) -> list[Likeness | None]:
    """How alike the first chunks come out for each number of steps, where both draw with the same
    noise; of others nothing can be said from pictures."""
    return [
        _likeness(side, asked, rival, count or 1) if rival.same_noise else None
        for count in asked.steps
    ]


@torch.inference_mode()
def _likeness(side: Side, asked: Asked, rival: Rival, steps: int) -> Likeness:
    pipeline, device = side.watched.pipeline, torch.device(side.device)
    schema = side.engine.info.controls
    changes = {**asked.changes, "steps": steps}
    controls = Controls.defaults(schema).changed(schema, changes)
    pictures = torch.stack(_rgb(asked.source)[: rival.first_chunk])
    rival.begin(steps)
    theirs = rival.draw(pictures)
    stream = pipeline.open(StreamConfig(*asked.source.size, asked.source.fps))
    work = Work(stream, 0, pictures.to(device), controls, spread=False)
    (ours,) = pipeline.step([work])
    pipeline.close(stream)
    assert theirs is not None
    return likeness(ours.frames, theirs)


def _rgb(source: Source) -> list[torch.Tensor]:
    """The pictures as the pipelines see them, float32 [3, H, W] in 0..1."""
    return [i420_to_rgb(torch.from_numpy(planes)[None])[0].float() for planes in source.pictures]
