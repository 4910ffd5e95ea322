"""The command that makes the shipped models, stage by stage, resuming where it stopped."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..autoencoder import PatchAutoencoder
from ..specs import TINY, TINY_AUTOENCODER
from ..text import save_prompt_encoder
from ..tiny import PROMPTS
from .autoencoder import train_autoencoder
from .loop import Plan, averaged
from .styles import STYLES
from .stylizer import Recipe, Stylizer, train_stylizer

STAGES = ("autoencoder", "prompts", "stylizer", "finish", "export", "report")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much to train: what two CPU cores can do in hours, or a GPU in minutes."""

    autoencoder: Plan
    autoencoder_clips: int
    stylizer: Plan
    recipe: Recipe
    finish: Plan
    finish_recipe: Recipe


CPU = Scale(
    autoencoder=Plan(steps=2400, lr=2e-3, decay=0.6),
    autoencoder_clips=6,
    stylizer=Plan(steps=3600, lr=1.5e-3, warmup=150, decay=0.35),
    recipe=Recipe(clips=6, frames=6, size=128, pixel_frames=0),
    finish=Plan(steps=200, lr=3e-4, warmup=20, decay=0.8),
    finish_recipe=Recipe(clips=4, frames=6, size=256, pixel_frames=2),
)
GPU = Scale(
    autoencoder=Plan(steps=12_000, lr=2e-3, decay=0.5),
    autoencoder_clips=32,
    stylizer=Plan(steps=20_000, lr=1e-3, decay=0.3),
    recipe=Recipe(clips=48, frames=8, size=128, pixel_frames=1),
    finish=Plan(steps=4_000, lr=3e-4, warmup=50, decay=0.8),
    finish_recipe=Recipe(clips=16, frames=8, size=256, pixel_frames=2),
)
SMOKE = Scale(
    autoencoder=Plan(steps=3, lr=1e-3),
    autoencoder_clips=2,
    stylizer=Plan(steps=2, lr=1e-3),
    recipe=Recipe(clips=2, frames=3, size=64, pixel_frames=1),
    finish=Plan(steps=1, lr=1e-4),
    finish_recipe=Recipe(clips=1, frames=3, size=64, pixel_frames=1),
)
EMPHASIS = {
    "camera": 0.5,
    "sketch": 2.0,
    "comic": 2.0,
    "neon": 2.0,
    "drying": 1.5,
    "trails": 1.5,
    "pop": 1.5,
    "oil": 1.3,
    "watercolor": 1.3,
    "exposure": 1.2,
}
"""How often a style is drawn, 1 if not named: edge styles converge last."""
SCALES = {"cpu": CPU, "gpu": GPU, "smoke": SMOKE}


def load_autoencoder(folder: Path, device: str) -> PatchAutoencoder:
    model = PatchAutoencoder(TINY_AUTOENCODER)
    model.load_state_dict(averaged(folder / "autoencoder"))
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def load_stylizer(folder: Path, stage: str, device: str) -> Stylizer:
    model = Stylizer(TINY, len(STYLES))
    model.load_state_dict(averaged(folder / stage))
    model.dit.channels_last()
    return model.to(device)


def run_stage(stage: str, scale: Scale, folder: Path, device: str) -> None:
    if stage == "autoencoder":
        train_autoencoder(
            TINY_AUTOENCODER,
            scale.autoencoder,
            folder / stage,
            device,
            scale.recipe.size,
            scale.autoencoder_clips,
        )
    elif stage == "prompts":
        from .prompts import train_prompt_encoder

        save_prompt_encoder(train_prompt_encoder(), folder / PROMPTS)
    elif stage in ("stylizer", "finish"):
        _stylizer_stage(stage, scale, folder, device)
    elif stage == "export":
        from .export import export

        export(folder)
    elif stage == "report":
        from .report import write_report

        write_report(folder)


def _stylizer_stage(stage: str, scale: Scale, folder: Path, device: str) -> None:
    autoencoder = load_autoencoder(folder, device)
    if stage == "stylizer":
        torch.manual_seed(scale.stylizer.seed)
        model = Stylizer(TINY, len(STYLES))
        model.init_weights()
        model.dit.channels_last()
        model = model.to(device)
        train_stylizer(model, autoencoder, scale.recipe, scale.stylizer, folder / stage, device)
    else:
        model = load_stylizer(folder, "stylizer", device)
        train_stylizer(
            model, autoencoder, scale.finish_recipe, scale.finish, folder / stage, device
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m millrace.models.training", description=__doc__)
    parser.add_argument("stages", nargs="*", choices=[*STAGES, "all"], default="all")
    parser.add_argument("--scale", choices=sorted(SCALES), default="")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--folder", type=Path, default=Path("runs"))
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: PyTorch's choice)")
    parser.add_argument("--steps", type=int, default=0, help="override the stylizer's steps")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    scale = SCALES[options.scale or ("gpu" if options.device.startswith("cuda") else "cpu")]
    if options.steps:
        scale = replace(scale, stylizer=replace(scale.stylizer, steps=options.steps))
    options.folder.mkdir(parents=True, exist_ok=True)
    stages = STAGES if "all" in options.stages else options.stages
    for stage in stages:
        run_stage(stage, scale, options.folder, options.device)
