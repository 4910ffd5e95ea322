"""What the project set out to reach on one H200, to stand beside what was measured. Pure.

A goal is only told of a run that is like it in model, size, steps and kind of device; no figure of
another machine is ever worked out from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..models.specs import WAN_AUTOENCODERS

GOALS_FOR = "one H200"


@dataclass(frozen=True, slots=True)
class Run:
    """What was run.

    Attributes:
        size: width and height.
        device: "cpu", or "cuda:0" and the like: one GPU.
        vae: autoencoder of a Wan model, "" for other models.
        fp8: whether linear layers run in fp8.
    """

    model: str
    size: tuple[int, int]
    steps: int | None
    device: str
    dtype: str
    vae: str = ""
    fp8: bool = False


@dataclass(frozen=True, slots=True)
class Goal:
    """A row of the table: what must be reached, and what others reach."""

    fps: float
    others: str
    note: str = ""


_PAPER = "StreamDiffusionV2, paper"
_FOUR_STEPS = "about 35 fps (FlashDreams), 20.7 (LongLive) on an H100"
_ANY, _PLAIN, _EIGHT = (False, True), (False,), (True,)
"""Linear layers in bfloat16 or in fp8."""
_ROWS: tuple[tuple[str, tuple[int, int], int, tuple[bool, ...], Goal], ...] = (
    (
        "wan2.1-1.3b",
        (832, 480),
        2,
        _ANY,
        Goal(120, f"17.97 fps on an H100, with its own autoencoder ({_PAPER})"),
    ),
    ("wan2.1-1.3b", (832, 480), 4, _PLAIN, Goal(65, _FOUR_STEPS, "bf16")),
    ("wan2.1-1.3b", (832, 480), 4, _EIGHT, Goal(100, _FOUR_STEPS, "fp8")),
    ("wan2.1-1.3b", (512, 512), 1, _ANY, Goal(200, f"64.52 fps on four H100 ({_PAPER})")),
    ("wan2.1-14b", (832, 480), 2, _EIGHT, Goal(30, f"8.64 fps on one H100 ({_PAPER})", "fp8")),
    (
        "sd-turbo",
        (512, 512),
        1,
        _ANY,
        Goal(300, "106 fps on an RTX 4090 with TensorRT", "no TensorRT"),
    ),
)
PASS_SHARE = 0.7
"""Of the measured ceiling, for a pass of the transformer in bfloat16."""
LARGE_DECODE_MS = 30.0
"""For four pictures of 832x480 by the full autoencoder, a third of about 90 ms."""


def frame_rate(run: Run) -> Goal | None:
    """The goal that a run is like, None when there is none."""
    if not _on_gpu(run) or run.steps is None or run.vae not in ("", "taehv"):
        return None
    like = (run.model, run.size, run.steps)
    return next(
        (goal for *row, kinds, goal in _ROWS if tuple(row) == like and run.fp8 in kinds), None
    )


def pass_share(run: Run) -> float | None:
    """Of the ceiling, for passes of a run like this."""
    wan = run.model.startswith("wan2.1-")
    plain = run.dtype == "bfloat16" and not run.fp8
    return PASS_SHARE if wan and _on_gpu(run) and plain else None


def decode_ms(run: Run) -> float | None:
    """For the decoding of a chunk of four pictures."""
    large = run.vae == "wan" and run.size == (832, 480)
    return LARGE_DECODE_MS if large and _on_gpu(run) else None


def _on_gpu(run: Run) -> bool:
    return run.device.startswith("cuda")


def of_run(report: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Goals beside what was measured, by what they are of; empty when the run is like none.

    Args:
        report: of `bench_model`.
        run: one of its runs.
    """
    environment, settings = report["environment"], report["settings"]
    wan = report["model"].startswith("wan2.1-")
    width, height = report["size"]
    like = Run(
        report["model"],
        (width, height),
        run["steps"],
        environment["device"],
        environment["dtype"],
        settings.get("vae", WAN_AUTOENCODERS.live) if wan else "",
        bool(settings.get("fp8")),
    )
    found: dict[str, dict[str, Any]] = {}
    rate, share, large = frame_rate(like), pass_share(like), decode_ms(like)
    if rate is not None:
        found["pictures a second"] = _beside(
            rate.fps, run["raw_fps"], "fps", rate.note, rate.others
        )
    if share is not None and run.get("pass_mfu") is not None:
        measured = 100 * run["pass_mfu"]["median"]
        found["passes"] = _beside(100 * share, measured, "% of the ceiling", "bf16", "about 30 %")
    if large is not None and run["stages_ms"].get("decode") is not None:
        measured = run["stages_ms"]["decode"]["p50"]
        found["decoding"] = _beside(large, measured, "ms", "a third", "about 90 ms")
    return found


def _beside(goal: float, measured: float, unit: str, note: str, others: str) -> dict[str, Any]:
    return {"goal": goal, "measured": measured, "unit": unit, "note": note, "others": others}
