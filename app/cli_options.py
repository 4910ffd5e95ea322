"""The options that several commands share, and how their texts are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .errors import CallError

PREFIX = "MILLRACE_"
MAX_SIDE = 16_384


def parse_size(text: str) -> tuple[int, int]:
    """ "640x360" as (640, 360).

    Raises:
        CallError: anything else.
    """
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise CallError(f"--size {text!r} is not a size; write it as 256x256")
    size = int(width), int(height)
    if not all(0 < side <= MAX_SIDE for side in size):
        raise CallError(f"--size {text!r}: sides go from 1 to {MAX_SIDE} pixels")
    return size


def parse_devices(text: str | None) -> tuple[str, ...]:
    """ "cuda:0,cuda:1" or "cpu,cpu" as names, one worker process each; () for nothing or auto.

    Raises:
        CallError: an empty name, auto among others, or a GPU named twice.
    """
    names = tuple(name.strip() for name in (text or "auto").split(","))
    if names == ("auto",):
        return ()
    if not all(names) or "auto" in names:
        raise CallError(f"--devices {text!r}: write it as cuda:0,cuda:1 or cpu,cpu, or auto alone")
    gpus = [name for name in names if name != "cpu"]
    if len(set(gpus)) < len(gpus):
        raise CallError(f"--devices {text!r} names a GPU twice; one worker has it all")
    return names


def parse_settings(pairs: list[str], flag: str = "--set") -> dict[str, str]:
    """ "name=value" pairs as a mapping.

    Raises:
        CallError: a pair without a name or without "=".
    """
    settings: dict[str, str] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not (sign and name.strip()):
            raise CallError(f"{flag} {pair!r}: write it as name=value")
        settings[name.strip()] = value
    return settings


def parse_steps(text: str) -> tuple[int, ...]:
    """ "1,2" as (1, 2).

    Raises:
        CallError: anything else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise CallError(f"--steps {text!r} is not a list of numbers; write it as 1,2")
    return tuple(int(part) for part in parts)


def parse_names(text: str) -> tuple[str, ...]:
    """ "a, b" as ("a", "b")."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_numbers(flag: str, text: str) -> tuple[float, ...]:
    """ "0.5,1" as (0.5, 1.0).

    Raises:
        CallError: anything else.
    """
    try:
        return tuple(float(part) for part in parse_names(text))
    except ValueError:
        raise CallError(f"{flag} {text!r} is not a list of numbers; write it as 0.5,1") from None


def option(name: str, text: str, *flags: str, **more: object) -> object:
    """A typer option that also reads MILLRACE_<NAME>."""
    return typer.Option(*flags, help=text, envvar=PREFIX + name.upper(), **more)  # type: ignore[arg-type]


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Settings file (TOML). Default: ./millrace.toml, then the user's own.",
        envvar=PREFIX + "CONFIG",
        metavar="FILE",
    ),
]
Pipeline = Annotated[
    str,
    option(
        "pipeline",
        "What draws: a built-in model, an installed plug-in, or your own as module:Name.",
        "--pipeline",
        "--model",
    ),
]
Device = Annotated[str, option("device", "auto, cpu or cuda:0 and the like.", "--device")]
Devices = Annotated[
    str | None,
    option(
        "devices",
        "Devices with a worker process each, as cuda:0,cuda:1 or cpu,cpu; auto takes every GPU.",
        "--devices",
        metavar="NAME[,NAME...]",
    ),
]
Queue = Annotated[
    int,
    option("queue", "Viewers that may wait for a place; 0 refuses at once.", "--queue", min=0),
]
Users = Annotated[
    Path | None,
    option("users", "File (TOML) with further tokens, each with its class.", "--users"),
]
Asr = Annotated[
    Path | None,
    option(
        "asr",
        "Folder of a streaming speech model (sherpa-onnx): what is said joins the captions. "
        "Its look-ahead is the one that it was exported with.",
        "--asr",
        metavar="PATH",
    ),
]
Dtype = Annotated[str, option("dtype", "auto, float32 or bfloat16.", "--dtype")]
Threads = Annotated[
    int, option("threads", "CPU threads of the model; 0 measures.", "--threads", min=0)
]
Cores = Annotated[
    str,
    option(
        "cores",
        "apart (the model's threads on cores of their own), shared, or auto: as "
        "`millrace doctor --cores` has measured.",
        "--cores",
    ),
]
Size = Annotated[
    str | None,
    typer.Option("--size", help="Picture size, as 256x256.", envvar=PREFIX + "SIZE", metavar="WxH"),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Any control, as name=value. May be given again.", metavar="NAME=VALUE"
    ),
]
ModelsDir = Annotated[
    Path | None,
    option(
        "models",
        "Folder of pulled models; the user's cache folder by default.",
        "--dir",
        metavar="FOLDER",
    ),
]
Weights = Annotated[
    str | None,
    option(
        "weights",
        "The model's weights: a folder, or the name of a pulled model. By default what was pulled "
        "under the name of the model.",
        "--weights",
        metavar="FOLDER|NAME",
    ),
]
Loading = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        help="A setting that the model is loaded with, as vae=wan. May be given again.",
        metavar="NAME=VALUE",
    ),
]
RandomWeights = Annotated[
    bool,
    typer.Option("--random-weights", help="The model's speed without its weights or looks."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a machine to read.")]
