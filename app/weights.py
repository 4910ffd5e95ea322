"""Where the weights of released models lie, and which of them a command runs with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..models.released import RELEASED, Released, folder_of
from ..models.specs import WAN_AUTOENCODERS
from .cli_options import parse_settings
from .errors import CallError
from .hub_lock import name_of, state

SHIPPED = ("tiny", "passthrough")
"""Pipelines that take no weights."""
FLAGS = {
    "max_sessions": "--max-sessions",
    "random_weights": "--random-weights",
    "size": "--size",
    "weights": "--weights",
}
"""What `--option` may not set, as an option of the command does."""


def root(given: Path | None, environ: Mapping[str, str]) -> Path:
    """The folder of all pulled models: the one that was named, or the user's own.

    Args:
        given: on the command line; None for MILLRACE_MODELS, else the user's cache folder.
    """
    if given is not None or environ.get("MILLRACE_MODELS"):
        return (given or Path(environ["MILLRACE_MODELS"])).expanduser()
    base = environ.get("XDG_CACHE_HOME") or environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "millrace" / "models"


def named(name: str) -> Released:
    """A released model.

    Raises:
        CallError: there is none of this name.
    """
    if name in RELEASED:
        return RELEASED[name]
    raise CallError(f"{name}: no such model; there are {', '.join(RELEASED)}")


def settings(
    pipeline: str,
    weights: str | None,
    random_weights: bool,
    loading: Sequence[str] | None,
    environ: Mapping[str, str],
    for_file: bool = False,
) -> dict[str, object]:
    """The pipeline's settings: where its weights come from, and what else was typed.

    Args:
        pipeline: what was asked for with `--model`.
        weights: a folder in the layout of a pulled model, or a pulled model's name; None for the
            pulled model of the pipeline's own name.
        loading: further settings as "name=value".
        environ: says where pulled models lie.
        for_file: what comes out is written to a file: a model that has an autoencoder for better
            pictures takes that one.

    Raises:
        CallError: two sources at once, weights for another model or for one that takes none, or
            there are none; or an option that has a flag of its own.
    """
    further = dict(parse_settings(list(loading or ()), "--option"))
    for name in further.keys() & FLAGS:
        raise CallError(f"--option {name}={further[name]}: say it with {FLAGS[name]}")
    source = _source(pipeline, weights, random_weights, root(None, environ))
    if for_file and source and pipeline in RELEASED:
        source |= {"vae": WAN_AUTOENCODERS.export} if RELEASED[pipeline].family == "wan" else {}
    return {**source, **further}


def _source(
    pipeline: str, weights: str | None, random_weights: bool, models: Path
) -> dict[str, object]:
    if random_weights:
        if weights:
            raise CallError("--weights and --random-weights are two sources; leave one out")
        return {"random_weights": True}
    if weights:
        if pipeline in SHIPPED:
            raise CallError(f"--weights: {pipeline} takes none; name another --model")
        folder = _folder(weights, models)
        _check_runs(pipeline, weights, folder)
    elif pipeline in RELEASED:
        folder = pulled(RELEASED[pipeline], models)
    else:
        return {}
    policy = _policy(folder)
    return {"weights": str(folder), **({"policy": policy} if policy else {})}


def _check_runs(pipeline: str, weights: str, folder: Path) -> None:
    """Whether what was pulled into a folder is run by this model; other folders are not known.

    Raises:
        CallError: another one runs it.
    """
    model = RELEASED.get(name_of(folder))
    if model is None or pipeline not in RELEASED or model.runs == pipeline:
        return
    right = f"--model {model.runs}" if model.runs else f"--vlm {model.name}"
    raise CallError(f"--weights {weights}: {pipeline} cannot run {model.name}; {right} can")


def _policy(folder: Path) -> str:
    """How the weights of a pulled model want to be streamed, "" for the usual way."""
    model = RELEASED.get(name_of(folder))
    return model.policy if model is not None else ""


def pulled(model: Released, models: Path) -> Path:
    """The folder of a pulled model.

    Raises:
        CallError: it is not there, or not whole.
    """
    folder = folder_of(model.name, models)
    found = state(model, folder)
    if found in ("pulled", "own files"):
        return folder
    here = f"is only partly in {folder}" if found == "partly pulled" else f"is not in {models}"
    another = " or --random-weights for its speed alone" if model.runs else ""
    flag = "--weights FOLDER" if model.runs else "--vlm FOLDER"
    raise CallError(
        f"{model.name} {here}; fetch it with `millrace models pull {model.name}`, "
        f"or name its folder with {flag}{',' if another else ''}{another}"
    )


def vlm(name: str, environ: Mapping[str, str]) -> str:
    """What `--vlm` stands for: the folder of a pulled model, or just what was typed.

    Raises:
        CallError: a model of that name is known, but not pulled.
    """
    model = RELEASED.get(name)
    if model is None or Path(name).exists():
        return name
    if model.family != "vl":
        raise CallError(f"--vlm {name}: it draws; name it with --model")
    return str(pulled(model, root(None, environ)) / "model")


def _folder(weights: str, models: Path) -> Path:
    folder = Path(weights).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if weights in RELEASED:
        return pulled(RELEASED[weights], models)
    if folder.exists():
        raise CallError(
            f"--weights {weights} is a file; name the folder with the parts of the model in "
            "folders of their own (see docs/models.md)"
        )
    raise CallError(
        f"--weights {weights}: there is no such folder, and no released model is called so "
        f"({', '.join(name for name, model in RELEASED.items() if model.runs)})"
    )
