"""`millrace bench kernels`: what can be asked of it. Nothing heavy is imported before it runs."""

from __future__ import annotations

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
    threads: options.Threads = 0,
    cache: Cache = None,
    report: Report = None,
) -> None:
    """Every way to compute every operation: is it right, how fast is it, which is taken and why."""
    from . import bench_kernels as command

    pixels = options.parse_size(size) if size else None
    command.run(
        command.Plan(
            model, pixels, rows, chunk, tuple(op or ()), device, dtype, threads, cache, report
        )
    )
