"""`millrace generate`: what can be asked of it. Nothing heavy is imported before it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from . import cli_options as options

Drawer = Annotated[
    str,
    options.option(
        "pipeline",
        "What draws: a built-in model, an installed plug-in, or your own as module:Name.",
        "--pipeline",
        "--model",
        show_default="tiny-dream where its weights are shipped; wan2.1-1.3b with --image",
    ),
]


def generate(
    target: Annotated[Path, typer.Argument(metavar="OUT", help="mp4, m4v, mov, mkv or webm.")],
    prompt: Annotated[str | None, typer.Option("--prompt", help="What it shows, in words.")] = None,
    image: Annotated[
        Path | None, typer.Option("--image", help="A picture to begin with.", metavar="FILE")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="Length.", min=0.1)] = 5.0,
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps",
            help="Frames per second of OUT.",
            min=1,
            max=120,
            show_default="what the model learned, or 16",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Passes a chunk.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the noise; any number.")] = None,
    settings: options.Settings = None,
    size: options.Size = None,
    pipeline: Drawer = "",
    weights: options.Weights = None,
    random_weights: options.RandomWeights = False,
    loading: options.Loading = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = 0,
    as_json: options.AsJson = False,
) -> None:
    """Make a video from words, or from a picture and words."""
    from ..streaming.config import Options
    from . import generate as command
    from .usual import usual_model
    from .weights import settings as weight_settings

    pipeline = pipeline or usual_model("image" if image else "text")
    loaded = weight_settings(pipeline, weights, random_weights, loading, os.environ, for_file=True)
    shown = options.parse_size(size) if size else None
    width, height = (side + side % 2 for side in shown or (256, 256))
    drawer = Options(
        pipeline, device, dtype, threads, width, height, max_sessions=1, settings=loaded
    )
    given = {"prompt": prompt, "steps": steps, "seed": seed}
    controls = {name: value for name, value in given.items() if value is not None}
    texts = options.parse_settings(settings or [])
    command.run(command.Job(target, image, drawer, shown, seconds, fps, controls, texts), as_json)
