"""`millrace caption` and `millrace ask`: what can be asked of them.

Nothing heavy is imported before one runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from . import cli_options as options
from .errors import CallError

Source = Annotated[Path, typer.Argument(metavar="IN", help="A video.")]


def _vlm(name: str) -> str:
    """A pulled model's name as its folder, and everything else as it is."""
    from . import weights

    return weights.vlm(name, os.environ)


Vlm = Annotated[
    str,
    options.option(
        "vlm",
        "What tells: tiny (shipped), the name of a pulled model, a folder with a released "
        "checkpoint, its hub id, or your own as module:function.",
        "--vlm",
        metavar="NAME|PATH",
        callback=_vlm,
    ),
]
Wish = Annotated[
    str, typer.Option("--wish", help="What alone is to be told of, as 'only the camera'.")
]
Memory = Annotated[str, typer.Option("--memory", help="Memory policy; see --vlm's own list.")]
KeepGoing = Annotated[bool, typer.Option("--keep-going", help="Leave damaged places of IN out.")]
FORMATS = ("text", "json", "vtt", "srt")
BY_SUFFIX = {".vtt": "vtt", ".srt": "srt", ".json": "json", ".txt": "text"}


def caption(
    source: Source,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write here; its end says as what."),
    ] = None,
    as_json: options.AsJson = False,
    vtt: Annotated[bool, typer.Option("--vtt", help="Write WebVTT.")] = False,
    srt: Annotated[bool, typer.Option("--srt", help="Write SRT.")] = False,
    watch: Annotated[
        list[str] | None,
        typer.Option("--watch", metavar="TEXT", help="Tell when this is so. May be given again."),
    ] = None,
    vlm: Vlm = "tiny",
    wish: Wish = "",
    memory: Memory = "default",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = 0,
    keep_going: KeepGoing = False,
) -> None:
    """Tell what happens in a video, second by second."""
    form = _form(output, {"json": as_json, "vtt": vtt, "srt": srt})
    from . import told_files as command

    job = command.Job(source, vlm, wish, memory, device, dtype, threads, keep_going)
    command.caption(job, form, output, tuple(watch or ()))


def ask(
    source: Source,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask about it.")],
    at: Annotated[
        float | None,
        typer.Option("--at", metavar="SECOND", help="Ask then; at the end by default.", min=0),
    ] = None,
    as_json: options.AsJson = False,
    vlm: Vlm = "tiny",
    wish: Wish = "",
    memory: Memory = "default",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = 0,
    keep_going: KeepGoing = False,
) -> None:
    """Ask about a video: as it stands at a second, with all that was seen before."""
    from . import told_files as command

    job = command.Job(source, vlm, wish, memory, device, dtype, threads, keep_going)
    command.ask(job, question, at, as_json)


def _form(output: Path | None, flags: dict[str, bool]) -> str:
    """How to write: what a flag says, or the file's end.

    Raises:
        CallError: two flags, or an end that says nothing.
    """
    wanted = [name for name, given in flags.items() if given]
    if len(wanted) > 1:
        raise CallError(f"--{wanted[0]} and --{wanted[1]}: choose one of them")
    if wanted or output is None:
        return wanted[0] if wanted else "text"
    form = BY_SUFFIX.get(output.suffix.lower())
    if form is None:
        raise CallError(f"-o {output}: end it in .vtt, .srt, .json or .txt, or add --vtt and so on")
    return form
