"""What each effort of the built-in pipeline is worth, measured: `python -m
millrace.streaming.effort_report`.

The pipeline itself draws clips of photographs that it was never trained on, in every look, once
with each effort, and the pictures are compared with those of the full effort and with what the
look's filter makes of the clean clip. A viewer who sees a lower rung knows neither, so both count:
what was lost of the look, and how far the picture is from what it would have been.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor
from tqdm import tqdm

from ..models.text import PromptEncoder, Understanding
from ..models.tiny import STYLES, load_tiny
from ..models.training.clips import HELD_OUT_KINDS, held_out_clip
from ..models.training.evaluate import psnr, ssim
from ..models.training.photos import heldout_photos
from ..models.training.styles import STYLES as FILTERS
from .clock import SystemClock
from .controls import Controls, Value
from .diffusion import VideoDiffusion
from .pipeline import Effort, StreamConfig, Work
from .tiny import tiny_parts
from .tiny_info import EFFORTS, SIGMAS

WARM = 4
"""Frames at the start that count for nothing: the memory fills meanwhile."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One effort's pictures against the full effort's and against the filter's, over all clips.

    Attributes:
        ssim_full, psnr_full: against the full effort; PSNR in dB.
        ssim_look, psnr_look: against the filter.
        seconds: for a chunk, when one stream is alone.
    """

    ssim_full: float
    psnr_full: float
    ssim_look: float
    psnr_look: float
    seconds: float = 0.0

    @staticmethod
    def of(pictures: Tensor, full: Tensor, look: Tensor) -> Figures:
        return Figures(
            ssim(pictures, full), psnr(pictures, full), ssim(pictures, look), psnr(pictures, look)
        )

    @staticmethod
    def mean(some: Sequence[Figures], seconds: float) -> Figures:
        count = len(some)
        return Figures(
            sum(one.ssim_full for one in some) / count,
            sum(one.psnr_full for one in some) / count,
            sum(one.ssim_look for one in some) / count,
            sum(one.psnr_look for one in some) / count,
            seconds,
        )


def worth(figures: Figures, best: Figures) -> float:
    """Quality in 0..1: the geometric mean of the likeness to the full effort and of what is kept of
    the full effort's likeness to the look. It rises with both and is 1 for the full effort."""
    kept = min(1.0, max(0.0, figures.ssim_look) / best.ssim_look)
    return float((max(0.0, figures.ssim_full) * kept) ** 0.5)


class Named:
    """Prompts that are names of looks, understood exactly."""

    def understand(self, text: str) -> Understanding:
        return Understanding(((text, 1.0),), (), True)

    def weights_of(self, understood: Understanding) -> Tensor:
        row = torch.zeros(len(STYLES))
        row[STYLES.index(understood.weights[0][0])] = 1.0
        return row


def controls_of(look: str, steps: int) -> Controls:
    values: dict[str, Value] = {"prompt": look, "strength": 1.0, "steps": steps, "seed": 0}
    return Controls(MappingProxyType(values))


def draw(pipeline: VideoDiffusion, clips: Tensor, look: str, steps: int, effort: Effort) -> Tensor:
    """Clips [B, T, 3, H, W] as B viewers would see them who all get this effort; same shape."""
    count, frames, _, height, width = clips.shape
    streams = [pipeline.open(StreamConfig(width, height)) for _ in range(count)]
    controls = controls_of(look, steps)
    seen: list[Tensor] = []
    made, owed = 0, 0.0
    for t in range(frames):
        owed += effort.rate
        if owed < 1.0 and seen:
            # A chunk that rests: its viewer sees the picture before it again.
            seen.append(seen[-1])
            continue
        owed -= min(1.0, owed)
        works = [
            Work(stream, made, clips[row, t : t + 1], controls, effort, spread=False)
            for row, stream in enumerate(streams)
        ]
        made += 1
        shown = {id(result.stream): result.frames[0] for result in pipeline.step(works)}
        seen.append(torch.stack([shown[id(stream)] for stream in streams]).float())
    for stream in streams:
        pipeline.close(stream)
    return torch.stack(seen, 1)


def seconds_of(pipeline: VideoDiffusion, clip: Tensor, steps: int, effort: Effort) -> float:
    """Seconds of a chunk that is made, in a stream that is alone: the least of all, since a machine
    that does other things as well only ever adds to them."""
    clock = SystemClock()
    stream = pipeline.open(StreamConfig(clip.shape[-1], clip.shape[-2]))
    controls = controls_of(STYLES[0], steps)
    times = []
    for t in range(clip.shape[1]):
        began = clock.now()
        pipeline.step([Work(stream, t, clip[0, t : t + 1], controls, effort, spread=False)])
        times.append(clock.now() - began)
    pipeline.close(stream)
    return min(times[WARM:])


def measure(
    efforts: Sequence[Effort],
    looks: Iterable[str],
    frames: int,
    size: int,
    steps: int,
    dtype: str = "float32",
) -> Mapping[str, Figures]:
    """The figures of each effort by its name; the first one is the full effort.

    Args:
        looks: names of `STYLES`.
        frames: of each clip, more than `WARM`.
        steps: denoising steps that the viewer asks for.
    """
    pairs = [
        held_out_clip(photo.name, kind, frames, size)
        for photo in heldout_photos()
        for kind in HELD_OUT_KINDS
    ]
    source = torch.cat([pair.source for pair in pairs])
    clean = torch.cat([pair.clean for pair in pairs])
    # All that a pipeline asks of its prompts.
    prompts = cast(PromptEncoder, Named())
    pipeline = VideoDiffusion(tiny_parts(load_tiny(dtype=dtype), prompts), streams=len(pairs))
    found: dict[str, list[Figures]] = {effort.name: [] for effort in efforts}
    with torch.inference_mode():
        for look in tqdm(list(looks), desc="looks"):
            filtered = FILTERS[STYLES.index(look)].filter(clean).clamp(0, 1)[:, WARM:]
            full = draw(pipeline, source, look, steps, efforts[0])[:, WARM:]
            found[efforts[0].name].append(Figures.of(full, full, filtered))
            for effort in efforts[1:]:
                own = draw(pipeline, source, look, steps, effort)[:, WARM:]
                found[effort.name].append(Figures.of(own, full, filtered))
        # With a lower rate the device rests in between: time for time it costs that share.
        times = {e.name: e.rate * seconds_of(pipeline, source, steps, e) for e in efforts}
    return {name: Figures.mean(some, times[name]) for name, some in found.items()}


def table(found: Mapping[str, Figures]) -> str:
    """The figures as text, best first as they were given; `loss` is the quality that is lost for
    each tenth of the full effort's time that is saved, against the full effort."""
    best = next(iter(found.values()))
    lines = ["effort            quality  SSIM full  look  PSNR full  look  ms a chunk  time   loss"]
    for name, one in found.items():
        quality = worth(one, best)
        saved = 1 - one.seconds / best.seconds
        loss = f"{(1 - quality) / saved / 10:6.3f}" if saved > 0.005 else "     -"
        lines.append(
            f"{name:<18}{quality:>6.3f} {one.ssim_full:>10.3f} {one.ssim_look:>5.3f} "
            f"{one.psnr_full:>10.1f} {one.psnr_look:>5.1f} {1e3 * one.seconds:>11.1f} "
            f"{one.seconds / best.seconds:>5.0%} {loss}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m millrace.streaming.effort_report", description=__doc__
    )
    parser.add_argument("--frames", type=int, default=12, help="of each clip")
    parser.add_argument("--size", type=int, default=128, help="side of the pictures")
    parser.add_argument("--steps", type=int, default=len(SIGMAS), help="that the viewer asks for")
    parser.add_argument("--looks", nargs="*", choices=STYLES, default=STYLES)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    given = parser.parse_args()
    found = measure(EFFORTS, given.looks, given.frames, given.size, given.steps, given.dtype)
    print(table(found))


if __name__ == "__main__":
    main()
