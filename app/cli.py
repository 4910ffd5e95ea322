"""The `millrace` command: says what can be asked and hands each question on.

Nothing heavy is imported before a command runs, so that `--help` answers at once. This module alone
reads the environment.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from . import cli_config
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


@app.command()
def doctor(as_json: options.AsJson = False) -> None:
    """Say what this machine has, what was chosen for it, and why."""
    from . import doctor as command

    command.run(as_json)


@models.command("list")
def models_list(as_json: options.AsJson = False) -> None:
    """List the models and the files that each needs."""
    from . import catalog

    catalog.show(as_json)


@models.command("pull")
def models_pull(name: Annotated[str, typer.Argument(help="A name from `models list`.")]) -> None:
    """Fetch a model's weights."""
    from . import catalog

    catalog.pull(name)


@models.command("verify")
def models_verify(as_json: options.AsJson = False) -> None:
    """Compare every shipped file with its checksum."""
    from . import catalog

    catalog.verify(as_json)
