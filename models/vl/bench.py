"""Speed of a shape with random weights, beside transformers in the same run.

`python -m millrace.models.vl.bench --model qwen2.5-vl-3b --random-weights` reads turns of pictures
until the window is full and goes on for some turns more, of which it tells the milliseconds of a
token and of a second of video: medians, each turn of ours beside one of transformers.
`--layers 2 --vision-layers 2` makes it small enough for a laptop.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .bench_sides import Clock, Load, Ours, Theirs, Times
from .model import VLModel
from .specs import RELEASED, TINY_VL, VisionSpec, VLSpec

PUBLISHED = "StreamingVLM, 7B on one H100: 50 ms a token, 8 frames a second (arXiv 2510.09608)"
PERIOD = 1_000_003
"""Of random weights; a prime number, so that no two rows of a matrix are alike."""


def fit(height: int, width: int, spec: VisionSpec) -> tuple[int, int]:
    """Sides of a picture as a tower sees it: multiples of its factor, within its pixels."""
    factor, pixels = spec.factor, height * width
    rounded: Callable[[float], int]
    if pixels > spec.max_pixels:
        scale, rounded = math.sqrt(spec.max_pixels / pixels), math.floor
    elif pixels < spec.min_pixels:
        scale, rounded = math.sqrt(spec.min_pixels / pixels), math.ceil
    else:
        scale, rounded = 1.0, round
    tall, broad = (max(1, rounded(side * scale / factor)) * factor for side in (height, width))
    return tall, broad


def random_model(spec: VLSpec, device: torch.device, dtype: torch.dtype) -> VLModel:
    """A model of random weights, made on its device."""
    with torch.device("meta"):
        model = VLModel(spec).to(dtype)
    model.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    # A million numbers over and over: billions of new ones would take minutes on a CPU.
    some = torch.randn(PERIOD, generator=generator, device=device).mul_(0.02).to(dtype)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            for part in weight.view(-1).split(PERIOD):
                part.copy_(some[: len(part)])
            if "norm" in name or "ln_q" in name:
                weight.add_(1)
    return model.eval().requires_grad_(False)


def run(model: VLModel, load: Load, clock: Clock, compare: bool) -> dict[str, Any]:
    """Times of both, turn about, in one report."""
    device, dtype = model.text.weight.device, model.text.weight.dtype
    generator = torch.Generator(device).manual_seed(1)
    shape = (load.grids, model.spec.vision.frames, 3, *load.size)
    pictures = torch.rand(shape, generator=generator, device=device).to(dtype)
    ours = Ours(model, load, Times(clock, device))
    for _ in range(load.window + 1):
        ours.turn(pictures)
    sides: dict[str, Ours | Theirs] = {"ours": ours}
    if compare:
        sides["transformers"] = Theirs(model, load, Times(clock, device), ours.stream)
        sides["transformers"].turn(pictures)
    for side in sides.values():
        side.times.counting = True
    for _ in range(load.turns):
        for side in sides.values():
            side.turn(pictures)
    grid = (load.size[0] // model.spec.vision.factor, load.size[1] // model.spec.vision.factor)
    return {
        "model": model.spec.name,
        "layers": {"text": model.spec.text.layers, "vision": model.spec.vision.layers},
        "device": _device_name(device),
        "dtype": str(dtype).removeprefix("torch."),
        "picture_tokens": load.grids * grid[0] * grid[1],
        "held_tokens": ours.stream.length,
        "arena_bytes": ours.reader.arena.nbytes,
        "published": PUBLISHED,
        **{name: _summary(side.times, load) for name, side in sides.items()},
    }


def _summary(times: Times, load: Load) -> dict[str, float]:
    out = {f"{name}_ms": round(times.median(name), 3) for name in times.spent}
    out["second_ms"] = round(times.median("second"), 3)
    out["of_real_time"] = round(times.median("second") / 1000, 4)
    out["frames_per_second"] = round(load.fps * 1000 / times.median("second"), 2)
    return out


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m millrace.models.vl.bench")
    parser.add_argument("--model", choices=(*RELEASED, "tiny"), default="qwen2.5-vl-3b")
    parser.add_argument("--random-weights", action="store_true", help="without a checkpoint")
    parser.add_argument("--checkpoint", help="folder or hub id, instead of random weights")
    parser.add_argument("--layers", type=int, help="of the decoder; all by default")
    parser.add_argument("--vision-layers", type=int, help="of the tower; all by default")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--size", default="1280x720", help="of the video, WIDTHxHEIGHT")
    parser.add_argument("--window", type=int, default=16, help="turns whose pictures are kept")
    parser.add_argument("--turns", type=int, default=20, help="timed")
    parser.add_argument("--words", type=int, default=20, help="said in each turn")
    parser.add_argument("--fps", type=int, default=2, help="pictures a second")
    parser.add_argument("--no-transformers", action="store_true", help="ours alone")
    parser.add_argument("--json", type=Path, help="write the report there as well")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.random_weights == bool(given.checkpoint):
        parser.error("give either --random-weights or --checkpoint")
    try:
        width, height = (int(side) for side in given.size.split("x"))
    except ValueError:
        parser.error(f"--size {given.size}: expected WIDTHxHEIGHT")
    if min(width, height, given.window, given.turns, given.words) < 1:
        parser.error("sizes and counts are 1 or more")
    device, dtype = torch.device(given.device), getattr(torch, given.dtype)
    spec = _spec(given)
    fresh = spec.vision.frames - spec.vision.carried
    grids = given.fps // fresh
    if grids < 1:
        parser.error(f"--fps is {fresh} or more: {fresh} new pictures make a grid")
    if given.checkpoint:
        from .checkpoint import fetch, load_checkpoint

        model = load_checkpoint(fetch(given.checkpoint), device, dtype)
    else:
        model = random_model(spec, device, dtype)
    size = fit(height, width, model.spec.vision)
    load = Load(size, given.window, given.turns, given.words, grids, grids * fresh)
    report = run(model, load, time.perf_counter, not given.no_transformers)
    text = json.dumps(report, indent=2)
    print(text)
    if given.json:
        given.json.write_text(text + "\n", "utf-8")
    return 0


def _spec(given: argparse.Namespace) -> VLSpec:
    spec = {**RELEASED, "tiny": TINY_VL}[given.model]
    text, vision = spec.text, spec.vision
    if given.layers:
        text = replace(text, layers=given.layers)
    if given.vision_layers:
        full = tuple(i for i in vision.full_layers if i < given.vision_layers)
        vision = replace(vision, layers=given.vision_layers, full_layers=full)
    return replace(spec, text=text, vision=vision)


if __name__ == "__main__":
    sys.exit(main())
