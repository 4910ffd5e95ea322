"""`millrace bench kernels` and `bench fp8`: what can be asked of them. Imports nothing heavy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from . import cli_options as options

Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="Whose sizes.", show_default="tiny on a processor, wan2.1-1.3b on a GPU"
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        "--size", metavar="WxH", help="Of the picture.", show_default="256x256; Wan 832x480"
    ),
]
Rows = Annotated[int, typer.Option("--rows", min=1, max=64, help="Streams in a batch.")]
Chunk = Annotated[int, typer.Option("--chunk", min=1, max=16, help="Latent frames of a chunk.")]
Ops = Annotated[
    list[str] | None,
    typer.Option("--op", metavar="NAME", help="Only this operation. May be given again."),
]
Threads = Annotated[
    int,
    options.option("threads", "CPU threads; 0 takes as many as PyTorch would.", "--threads", min=0),
]
Report = Annotated[
    str | None,
    typer.Option("--json", metavar="PATH", help="Write the numbers here; - prints them."),
]
Cache = Annotated[
    Path | None,
    options.option("cache", "Folder for what is measured; the user's own by default.", "--cache"),
]


def kernels(
    model: Model = None,
    size: Size = None,
    rows: Rows = 1,
    chunk: Chunk = 1,
    op: Ops = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: Threads = 0,
    cache: Cache = None,
    report: Report = None,
) -> None:
    """Measure every way to compute every operation. Is it right, how fast is it, which is taken and
    why."""
    from . import bench_kernels as command

    pixels = options.parse_size(size) if size else None
    command.run(
        command.Plan(
            model, pixels, rows, chunk, tuple(op or ()), device, dtype, threads, cache, report
        )
    )


Clip = Annotated[
    Path | None,
    typer.Option("--clip", help="A video to measure on; random latents without one."),
]
Prompt = Annotated[str, typer.Option("--prompt", help="In words; the model's usual one without.")]
Chunks = Annotated[int, typer.Option("--chunks", min=1, max=256, help="Chunks of the stream.")]
Limit = Annotated[
    float,
    typer.Option("--limit", min=0, help="Relative error of the model's outputs that is allowed."),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Write the choice of layers here, for --option fp8=FILE."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of noise and random latents.")]


def fp8(
    pipeline: options.Pipeline = "tiny",
    size: Size = None,
    weights: options.Weights = None,
    random_weights: options.RandomWeights = False,
    option: options.Loading = None,
    clip: Clip = None,
    prompt: Prompt = "",
    chunks: Chunks = 8,
    limit: Limit = 0.05,
    seed: Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: Threads = 0,
    out: Out = None,
    report: Report = None,
) -> None:
    """Measure what eight bits would cost a model. Each linear layer, and its past; the layers that
    stay within a limit are written to a file."""
    from . import bench_fp8 as command
    from .weights import settings

    built_with = settings(pipeline, weights, random_weights, option, os.environ)
    pixels = options.parse_size(size) if size else None
    command.run(
        command.Plan(
            pipeline, built_with, pixels, clip, prompt, chunks, limit, seed, device, dtype, threads,
            out, report
        )
    )  # fmt: skip
