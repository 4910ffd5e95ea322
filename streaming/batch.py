"""What one tick works on: chunks on their way in, pictures on their way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from ..kernels.color import i420_to_rgb, rgb_to_i420
from .controls import Controls
from .frames import Frame, Stamp
from .pipeline import NOMINAL, Effort, Result, Work
from .queues import Queues
from .session import EngineSession, Pending
from .transfer import Landing, download, upload


@dataclass(frozen=True, slots=True)
class Job:
    """One session's part of a step.

    Attributes:
        frames: the T frames of the chunk (the last one repeated when the input ended in mid-chunk),
            empty for a flush.
        effort, spread: see `Work`.
    """

    session: EngineSession
    frames: tuple[Frame, ...]
    index: int
    controls: Controls
    effort: Effort = NOMINAL
    spread: bool | None = None


@dataclass(frozen=True, slots=True)
class Emission:
    """A chunk that is on its way out: rows `first`.. of a landing, or a repeat without one."""

    session: EngineSession
    pending: Pending
    landing: Landing | None = None
    first: int = 0
    notes: Mapping[str, Any] = field(default_factory=dict)


GoesOn = Callable[[EngineSession, int], bool]
"""(session, passes done) -> whether its chunk goes on."""
Mark = Callable[[str, int, int | None], None]
"""See `Work.mark`."""


def encode(
    jobs: Sequence[Job],
    chunk: int,
    device: torch.device,
    goes_on: GoesOn,
    mark: Mark,
    queues: Queues,
) -> list[Work]:
    """Pixels to the device and to RGB, one copy and one conversion for all sessions of a size.

    Args:
        chunk: T, frames of each job that is not a flush.
    """
    chunks: dict[str, torch.Tensor] = {}
    by_size: dict[tuple[int, int], list[Job]] = {}
    for job in jobs:
        if job.frames:
            by_size.setdefault((job.frames[0].width, job.frames[0].height), []).append(job)
    for group in by_size.values():
        with queues.on("upload"):
            planes = upload([frame for job in group for frame in job.frames], device)
            parts = i420_to_rgb(planes).split(chunk)
        chunks.update(zip((job.session.id for job in group), parts, strict=True))
    return [
        Work(
            job.session.stream,
            job.index,
            chunks.get(job.session.id),
            job.controls,
            job.effort,
            partial(goes_on, job.session),
            job.spread,
            mark,
        )
        for job in jobs
    ]


def stamps(frames: Sequence[Frame]) -> tuple[Stamp, ...]:
    return tuple(Stamp.of(frame) for frame in frames)


def flush_job(session: EngineSession, controls: Controls) -> Job:
    # The index of the chunk that is to come out, so that `Work.done` fits a flush as well.
    oldest = next(one.index for one in session.pending if one.index is not None)
    return Job(session, (), oldest, controls)


def take_repeats(session: EngineSession) -> list[Emission]:
    """Held-back chunks with nothing of the pipeline before them."""
    repeats = []
    while session.pending and session.pending[0].index is None:
        repeats.append(Emission(session, session.pending.popleft()))
    return repeats


def decode(done: list[tuple[EngineSession, Result]], queues: Queues) -> list[Emission]:
    """RGB to I420 and towards the host, one conversion and one copy for all results of a size."""
    by_size: dict[tuple[int, ...], list[tuple[EngineSession, Result]]] = {}
    for session, result in done:
        by_size.setdefault(tuple(result.frames.shape[-2:]), []).append((session, result))
    emissions: list[Emission] = []
    for group in by_size.values():
        frames = [result.frames for _, result in group]
        with queues.on("download", *frames):
            landing = download(rgb_to_i420(frames[0] if len(frames) == 1 else torch.cat(frames)))
        first = 0
        for session, result in group:
            pending = session.pending.popleft()
            emissions.append(Emission(session, pending, landing, first, result.notes))
            emissions += take_repeats(session)
            first += len(result.frames)
    return emissions
