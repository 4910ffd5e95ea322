"""The command that makes the embedded text-to-video model, resuming where it stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from .... import assets
from ...autoencoder import PatchAutoencoder
from ...scene import TINY_SCENE, WEIGHTS, SceneModel, save_scene, vocabulary_of
from ...tiny import load_tiny
from ..loop import Plan, averaged, train
from ..manifest import record
from .cache import Cache, write
from .learn import Recipe, StepLosses, Steps, init_scene
from .show import PROMPTS, dream, save_sheet
from .world import words

STAGES = ("clips", "train", "show", "export", "ship")
ORIGIN = "python -m millrace.models.training.dream: rendered scenes, no pictures of others"


def new_model(seed: int, cache: Cache | None) -> SceneModel:
    """A model before its first step, or (without a cache) one to load weights into."""
    torch.manual_seed(seed)
    model = SceneModel(TINY_SCENE, vocabulary_of(sorted(words())))
    init_scene(model)
    if cache is not None:
        model.set_measure(*cache.statistics())
    model.dit.channels_last()
    return model


def learn(options: argparse.Namespace, autoencoder: PatchAutoencoder) -> None:
    folder: Path = options.folder
    cache = Cache(folder / "clips")
    model = new_model(options.seed, cache)

    def watch(step: int) -> None:
        if step and step % options.look_every == 0:
            cache.refresh()
            films = dream(model, autoencoder, PROMPTS, 8, 3)
            save_sheet(films, folder / "sheets" / f"{step:06d}.png", shown=(0, 2, 4, 6))

    plan = Plan(
        steps=options.steps, lr=options.lr, warmup=100, decay=0.4, seed=options.seed, save_every=200
    )
    losses = StepLosses(model, cache, Recipe(clips=options.clips), watch)
    train(model, losses, plan, folder / "scene", Steps(model, plan.lr))


def trained(options: argparse.Namespace) -> SceneModel:
    """The averaged weights of the last checkpoint."""
    model = new_model(options.seed, None)
    model.load_state_dict(averaged(options.folder / "scene"))
    return model.eval()


def show(options: argparse.Namespace, autoencoder: PatchAutoencoder) -> None:
    model = trained(options)
    prompts = options.prompts or PROMPTS
    films = dream(model, autoencoder, prompts, options.pictures, options.micro_steps)
    save_sheet(films, options.folder / "show.png", shown=range(0, options.pictures, 2))


def ship(options: argparse.Namespace) -> None:
    """Into `assets/`, with its line in the manifest: from then on the pipeline has weights."""
    save_scene(trained(options), assets.FOLDER / WEIGHTS)
    record(WEIGHTS, "Apache-2.0", "", ORIGIN)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m millrace.models.training.dream", description=__doc__
    )
    parser.add_argument(
        "stage",
        choices=STAGES,
        help="render clips, train on them, look at pictures, write a weights file beside them, or "
        "enter it into the shipped files",
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/dream"))
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=4000, help="clips to render (clips)")
    parser.add_argument("--steps", type=int, default=12_000, help="steps in all (train)")
    parser.add_argument("--clips", type=int, default=8, help="clips a step (train)")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--look-every", type=int, default=500, help="steps between sheets (train)")
    parser.add_argument("--prompts", nargs="*", help="what to make (show)")
    parser.add_argument("--pictures", type=int, default=16, help="of each prompt (show)")
    parser.add_argument("--micro-steps", type=int, default=3, help="at each place (show)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    autoencoder = load_tiny().autoencoder
    if options.stage == "clips":
        write(options.folder / "clips", options.count, autoencoder, options.seed)
    elif options.stage == "train":
        learn(options, autoencoder)
    elif options.stage == "export":
        save_scene(trained(options), options.folder / WEIGHTS)
    elif options.stage == "ship":
        ship(options)
    else:
        show(options, autoencoder)
