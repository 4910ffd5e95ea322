"""The command that makes the shipped models, stage by stage, resuming where it stopped."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from ..autoencoder import PatchAutoencoder
from ..specs import TINY, TINY_AUTOENCODER
from ..text import save_prompt_encoder
from ..tiny import PROMPTS
from .autoencoder import train_autoencoder
from .initial import init_loud
from .loop import Plan, averaged
from .styles import STYLES
from .stylizer import PHASES, Recipe, Stylizer, train_stylizer

STAGES = ("autoencoder", "prompts", *PHASES, "export", "report")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much to train: what two CPU cores can do in hours, or a GPU in minutes."""

    autoencoder: Plan
    autoencoder_clips: int
    autoencoder_size: int
    phases: tuple[tuple[Recipe, Plan], ...]
    """One for each of `PHASES`."""


EDGES = {
    "camera": 0.5,
    "sketch": 2.0,
    "comic": 2.0,
    "neon": 2.0,
    "drying": 3.0,
    "trails": 3.0,
    "exposure": 3.0,
    "pop": 1.5,
    "thermal": 1.5,
    "oil": 1.3,
    "watercolor": 1.3,
}
"""Edges, and what needs the past, converge last."""
PAST = {"trails": 8.0, "exposure": 8.0, "drying": 8.0}
ALL = {
    "camera": 0.6,
    "sketch": 1.5,
    "comic": 1.6,
    "neon": 1.5,
    "drying": 1.5,
    "trails": 2.5,
    "exposure": 1.2,
    "pop": 1.5,
    "thermal": 1.5,
    "oil": 1.6,
    "noir": 1.3,
    "vapor": 1.2,
}
"""By how far each look is from its filter after the phase before."""

CPU = Scale(
    autoencoder=Plan(steps=2400, lr=2e-3, decay=0.6),
    autoencoder_clips=6,
    autoencoder_size=128,
    phases=(
        (
            Recipe(clips=6, frames=4, size=64, pixel_frames=0, emphasis=EDGES, halves=True),
            Plan(steps=4500, lr=1.5e-3, warmup=150, decay=0.2),
        ),
        (
            Recipe(clips=4, frames=6, size=128, pixel_frames=0, emphasis=EDGES, halves=True),
            Plan(steps=1500, lr=1e-3, warmup=50, decay=0.6),
        ),
        (
            Recipe(clips=5, frames=6, size=128, pixel_frames=0, emphasis=PAST),
            Plan(steps=3000, lr=8e-4, warmup=40, decay=0.3),
        ),
        (
            Recipe(clips=5, frames=6, size=128, pixel_frames=1, emphasis=ALL),
            Plan(steps=2000, lr=8e-4, warmup=40, decay=0.85),
        ),
    ),
)
GPU = Scale(
    autoencoder=Plan(steps=12_000, lr=2e-3, decay=0.5),
    autoencoder_clips=32,
    autoencoder_size=128,
    phases=(
        (
            Recipe(clips=32, frames=6, size=64, pixel_frames=0, emphasis=EDGES, halves=True),
            Plan(steps=15_000, lr=1.5e-3, warmup=200, decay=0.2),
        ),
        (
            Recipe(clips=24, frames=8, size=128, pixel_frames=1, emphasis=EDGES, halves=True),
            Plan(steps=8_000, lr=1e-3, warmup=100, decay=0.5),
        ),
        (
            Recipe(clips=24, frames=8, size=128, pixel_frames=0, emphasis=PAST),
            Plan(steps=6_000, lr=8e-4, warmup=100, decay=0.3),
        ),
        (
            Recipe(clips=12, frames=8, size=256, pixel_frames=2, emphasis=ALL),
            Plan(steps=4_000, lr=5e-4, warmup=50, decay=0.85),
        ),
    ),
)
SMOKE = Scale(
    autoencoder=Plan(steps=3, lr=1e-3),
    autoencoder_clips=2,
    autoencoder_size=64,
    phases=(
        (
            Recipe(clips=2, frames=3, size=32, pixel_frames=0, emphasis=EDGES, halves=True),
            Plan(steps=2, lr=1e-3),
        ),
        (
            Recipe(clips=2, frames=3, size=64, pixel_frames=0, emphasis=EDGES, halves=True),
            Plan(steps=2, lr=1e-3),
        ),
        (
            Recipe(clips=2, frames=3, size=64, pixel_frames=0, emphasis=PAST),
            Plan(steps=1, lr=1e-3),
        ),
        (
            Recipe(clips=1, frames=3, size=64, pixel_frames=1, emphasis=ALL),
            Plan(steps=1, lr=1e-4),
        ),
    ),
)
SCALES = {"cpu": CPU, "gpu": GPU, "smoke": SMOKE}


def load_autoencoder(folder: Path, device: str) -> PatchAutoencoder:
    model = PatchAutoencoder(TINY_AUTOENCODER)
    model.load_state_dict(averaged(folder / "autoencoder"))
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def load_stylizer(folder: Path, phase: str, device: str) -> Stylizer:
    model = Stylizer(TINY, len(STYLES))
    model.load_state_dict(averaged(folder / phase))
    model.dit.channels_last()
    return model.to(device)


def new_stylizer(seed: int, device: str) -> Stylizer:
    torch.manual_seed(seed)
    model = Stylizer(TINY, len(STYLES))
    init_loud(model.dit)
    model.dit.channels_last()
    return model.to(device)


def run_phase(phase: str, scale: Scale, folder: Path, device: str) -> None:
    """Train the video model from where the phase before left it."""
    index = PHASES.index(phase)
    recipe, plan = scale.phases[index]
    if index == 0:
        model = new_stylizer(plan.seed, device)
    else:
        model = load_stylizer(folder, PHASES[index - 1], device)
    autoencoder = load_autoencoder(folder, device)
    train_stylizer(model, autoencoder, recipe, plan, folder / phase, device)


def run_stage(stage: str, scale: Scale, folder: Path, device: str) -> None:
    if stage == "autoencoder":
        train_autoencoder(
            TINY_AUTOENCODER,
            scale.autoencoder,
            folder / stage,
            device,
            scale.autoencoder_size,
            scale.autoencoder_clips,
        )
    elif stage == "prompts":
        from .prompts import train_prompt_encoder

        save_prompt_encoder(train_prompt_encoder(), folder / PROMPTS)
    elif stage in PHASES:
        run_phase(stage, scale, folder, device)
    elif stage == "export":
        from .export import export

        export(folder)
    elif stage == "report":
        from .report import write_report

        write_report(folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m millrace.models.training", description=__doc__)
    parser.add_argument("stages", nargs="*", choices=[*STAGES, "all"], default="all")
    parser.add_argument("--scale", choices=sorted(SCALES), default="")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--folder", type=Path, default=Path("runs"))
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: PyTorch's choice)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    scale = SCALES[options.scale or ("gpu" if options.device.startswith("cuda") else "cpu")]
    options.folder.mkdir(parents=True, exist_ok=True)
    stages = STAGES if "all" in options.stages else options.stages
    for stage in stages:
        run_stage(stage, scale, options.folder, options.device)
