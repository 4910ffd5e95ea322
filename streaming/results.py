"""Whether what a pipeline returned is what the protocol promises."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from torch import Tensor

from .pipeline import PipelineInfo, Result
from .session import EngineSession

OVERSHOOT = 0.02
"""How far outside 0..1 a value may lie: low-precision rounding, not a wrong scale."""


class PipelineError(RuntimeError):
    """A pipeline broke its protocol; the message names the pipeline and what it should return."""


def match(
    info: PipelineInfo,
    sessions: Sequence[EngineSession],
    results: Sequence[Result],
    flushed: Sequence[bool],
) -> list[tuple[EngineSession, Result]]:
    """Each result with the session that it belongs to, in the order given.

    Args:
        sessions: those of the batch; the chunks just given are in their `pending` already.
        flushed: for each session, whether it was given a flush.

    Raises:
        PipelineError: a stream that was not in the batch, a chunk out of order or twice, a flush
            that brought nothing, or frames of a wrong shape or type.
    """
    owner = {id(session.stream): session for session in sessions}
    due = {s.id: [e.index for e in s.pending if e.index is not None] for s in sessions}
    came: dict[str, int] = dict.fromkeys(due, 0)
    matched = []
    for result in results:
        session = owner.get(id(result.stream))
        if session is None:
            raise PipelineError(
                f"pipeline {info.name} returned a result for a stream that was not in the batch"
            )
        _check_order(info, result, due[session.id][came[session.id] :])
        came[session.id] += 1
        _check_frames(info, session, result.frames)
        _check_notes(info, result)
        matched.append((session, result))
    for session, flush in zip(sessions, flushed, strict=True):
        if flush and not came[session.id]:
            raise PipelineError(
                f"pipeline {info.name} returned nothing for a flush with "
                f"{len(due[session.id])} chunks in flight; a flush brings out at least one"
            )
    return matched


def check_range(info: PipelineInfo, frames: Tensor) -> None:
    """Whether all values lie in 0..1. This reads the tensor: on CUDA it waits for the device.

    Raises:
        PipelineError: they do not, or are not finite.
    """
    least, most = (float(value) for value in torch.aminmax(frames))
    # Written so that NaN fails too.
    if not (least >= -OVERSHOOT and most <= 1 + OVERSHOOT):
        raise PipelineError(
            f"pipeline {info.name} returned values from {least:.3g} to {most:.3g}; "
            "frames are in 0..1, please scale or clamp them"
        )


def _check_order(info: PipelineInfo, result: Result, waiting: Sequence[int]) -> None:
    if not waiting or result.index != waiting[0]:
        raise PipelineError(
            f"pipeline {info.name} returned chunk {result.index}; each chunk comes out once "
            f"and in order, next is {waiting[0] if waiting else 'none'}"
        )


def _check_frames(info: PipelineInfo, session: EngineSession, frames: Tensor) -> None:
    wanted = (info.chunk, 3, session.config.height, session.config.width)
    if not isinstance(frames, Tensor):
        raise PipelineError(
            f"pipeline {info.name} returned {type(frames).__name__} as frames; "
            f"expected a float tensor {list(wanted)}"
        )
    if tuple(frames.shape) != wanted or not frames.is_floating_point():
        raise PipelineError(
            f"pipeline {info.name} returned {frames.dtype} frames {list(frames.shape)}; "
            f"expected floating point {list(wanted)} in 0..1"
        )


def _check_notes(info: PipelineInfo, result: Result) -> None:
    try:
        json.dumps(dict(result.notes))
    except (TypeError, ValueError) as error:
        raise PipelineError(
            f"pipeline {info.name}: notes go to the page as JSON, but {error}"
        ) from error
