"""The `millrace` command: says what can be asked and hands each question on.

Nothing heavy is imported before a command runs, so that `--help` answers at once. The modules
`cli*` alone read the environment.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from . import cli_bench, cli_captions, cli_config, cli_generate, cli_kernels
from . import cli_options as options
from .errors import CommandError

app = typer.Typer(
    name="millrace",
    help="Turn a live video stream into generated media while it flows.",
    epilog="Options rank above environment variables MILLRACE_*, above the config file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models = typer.Typer(
    help="The models that this version knows.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(models, name="models")
bench = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
bench.callback()(cli_bench.bench)
bench.command(name="kernels")(cli_kernels.kernels)
bench.command(name="fp8")(cli_kernels.fp8)
app.add_typer(bench, name="bench")
app.command(name="generate")(cli_generate.generate)
app.command(name="caption")(cli_captions.caption)
app.command(name="ask")(cli_captions.ask)


def main() -> None:
    """Entry point of the console script; ends the process with the command's exit code."""
    try:
        app()
    except CommandError as error:
        print(f"millrace: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"millrace {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    config: options.Config = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn a live video stream into generated media while it flows."""
    path = cli_config.find(config, Path.cwd(), os.environ)
    if path is not None:
        commands = getattr(context.command, "commands", {})
        known = {
            name: frozenset(p.name for p in command.params if p.name)
            for name, command in commands.items()
        }
        context.default_map = cli_config.load(path, known)


Address = Annotated[
    str,
    options.option("host", "Address to listen on; others than this need --token.", "--host"),
]
Port = Annotated[
    int, options.option("port", "Port; 0 takes a free one.", "--port", min=0, max=65535)
]
Token = Annotated[str, options.option("token", "What every visitor must show.", "--token")]
Fps = Annotated[
    float, options.option("fps", "Frames per second of a session.", "--fps", min=1, max=120)
]
MaxSessions = Annotated[
    int, options.option("max_sessions", "Viewers at the same time.", "--max-sessions", min=1)
]
IceServers = Annotated[
    list[str] | None,
    options.option(
        "ice_server",
        "stun:HOST[:PORT] or turn:USER:PASSWORD@HOST[:PORT]. May be given again.",
        "--ice-server",
    ),
]
Captions = Annotated[
    bool,
    options.option(
        "captions", "Tell what happens, and answer questions.", "--captions/--no-captions"
    ),
]
OpenPage = Annotated[
    bool, typer.Option("--open/--no-open", help="Open the page where there is a display.")
]


@app.command()
def serve(
    host: Address = "127.0.0.1",
    port: Port = 7860,
    token: Token = "",
    pipeline: options.Pipeline = "tiny",
    weights: options.Weights = None,
    random_weights: options.RandomWeights = False,
    option: options.Loading = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = 0,
    cores: options.Cores = "auto",
    size: options.Size = None,
    fps: Fps = 30.0,
    max_sessions: MaxSessions = 4,
    devices: options.Devices = None,
    queue: options.Queue = 8,
    users: options.Users = None,
    ice_server: IceServers = None,
    captions: Captions = True,
    vlm: cli_captions.Vlm = "tiny",
    asr: options.Asr = None,
    open_page: OpenPage = False,
) -> None:
    """Serve the page on which a live picture is restyled."""
    from ..streaming.captions.host import CaptionOptions
    from ..streaming.config import Options
    from . import launch
    from .weights import settings as weight_settings

    width, height = options.parse_size(size or "256x256")
    asked = Options(
        pipeline,
        device,
        dtype,
        threads,
        width,
        height,
        fps=fps,
        max_sessions=max_sessions,
        devices=options.parse_devices(devices),
        queue=queue,
        settings=weight_settings(pipeline, weights, random_weights, option, os.environ),
        cores=cores,
    )
    server = launch.settings(host, port, token, asked, ice_server or [], users)
    teller = CaptionOptions(vlm, device, dtype, max_sessions=max_sessions) if captions else None
    launch.run(asked, server, open_page, teller, launch.speech(asr, captions))


@app.command()
def doctor(
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure again instead of reading the kept result.")
    ] = False,
    cores: Annotated[
        bool,
        typer.Option(
            "--cores",
            help="Compare, live, cores of the model's own with shared ones; two minutes.",
        ),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Say what this machine has, what was chosen for it, and why."""
    from . import doctor as command

    command.run(as_json, measure, cores)


@app.command()
def stylize(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A video or a picture.")],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="mp4, m4v, mov, mkv, webm; png, jpg for pictures.")
    ],
    prompt: Annotated[str | None, typer.Option("--prompt", help="The look, in words.")] = None,
    strength: Annotated[
        float | None, typer.Option("--strength", help="From 0, the camera, to 1, all style.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Passes a picture.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the noise; any number.")] = None,
    settings: options.Settings = None,
    size: Annotated[
        str | None,
        typer.Option("--size", help="Scale to this and cut the overhang.", metavar="WxH"),
    ] = None,
    pipeline: options.Pipeline = "tiny",
    weights: options.Weights = None,
    random_weights: options.RandomWeights = False,
    option: options.Loading = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    threads: options.Threads = 0,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Leave damaged places of IN out.")
    ] = False,
    audio: Annotated[
        bool, typer.Option("--audio/--no-audio", help="Carry the sound of IN over.")
    ] = True,
    captions: Annotated[
        bool, typer.Option("--captions", help="Write captions beside OUT, as WebVTT.")
    ] = False,
    vlm: cli_captions.Vlm = "tiny",
    as_json: options.AsJson = False,
) -> None:
    """Restyle a file; OUT is replaced only when all of it is done."""
    from ..streaming.config import Options
    from . import stylize as command
    from .weights import settings as weight_settings

    given = {"prompt": prompt, "strength": strength, "steps": steps, "seed": seed}
    shown = options.parse_size(size) if size else None
    # What the engine prepares for; a model that does not take it prepares for its own.
    width, height = (side + side % 2 for side in shown or (256, 256))
    asked = Options(pipeline, device, dtype, threads, width, height, max_sessions=1)
    drawn_with = weight_settings(
        pipeline, weights, random_weights, option, os.environ, for_file=True
    )
    job = command.Job(
        source=source,
        target=target,
        options=replace(asked, settings=drawn_with),
        size=shown,
        controls={name: value for name, value in given.items() if value is not None},
        texts=options.parse_settings(settings or []),
        keep_going=keep_going,
        sound=audio,
        vlm=vlm if captions else "",
    )
    command.run(job, as_json)


@models.command("list")
def models_list(models_dir: options.ModelsDir = None, as_json: options.AsJson = False) -> None:
    """List the models: what each does, its parts, sizes and licences, and whether it is here."""
    from . import catalog, weights

    catalog.show(weights.root(models_dir, os.environ), as_json)


@models.command("pull")
def models_pull(
    name: Annotated[str, typer.Argument(help="A name from `models list`.")],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Take the files from this folder, not from the hub."),
    ] = None,
    revision: Annotated[
        str, typer.Option("--revision", help="Branch, tag or commit of the repositories.")
    ] = "",
    agreed: Annotated[
        bool, typer.Option("--yes", "-y", help="Agree to licence and size without a question.")
    ] = False,
    models_dir: options.ModelsDir = None,
) -> None:
    """Fetch a model's weights; goes on where an earlier try ended."""
    from . import catalog, weights

    catalog.pull(name, weights.root(models_dir, os.environ), source, revision, agreed)


@models.command("verify")
def models_verify(
    name: Annotated[
        str | None, typer.Argument(help="A name from `models list`; all that is here by default.")
    ] = None,
    models_dir: options.ModelsDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare every file with its checksum, and its tensors with the architecture."""
    from . import catalog, weights

    catalog.verify(name, weights.root(models_dir, os.environ), as_json)
