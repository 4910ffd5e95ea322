"""The configuration file: defaults for command-line options, below the environment in rank."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import CallError

FILE_NAME = "millrace.toml"

Defaults = dict[str, Any]
"""Option values by parameter name, of one command."""


def find(given: Path | None, cwd: Path, environ: Mapping[str, str]) -> Path | None:
    """The file to read: the one that was named, else ./millrace.toml, else the user's own.

    Raises:
        CallError: the named file does not exist.
    """
    if given is not None:
        if not given.is_file():
            raise CallError(f"config file {given} does not exist; check --config")
        return given
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "~")) / ".config")
    candidates = (cwd / FILE_NAME, Path(base).expanduser() / "millrace" / FILE_NAME)
    return next((path for path in candidates if path.is_file()), None)


def load(path: Path, options: Mapping[str, frozenset[str]]) -> dict[str, Defaults]:
    """Defaults of each command: keys at the top of the file, overridden by its own table.

    Args:
        path: a TOML file. A key at the top level is for every command that has such an option; a
            table is for the command of its name. Dashes and underscores are the same.
        options: the parameter names of each command.

    Raises:
        CallError: unreadable or malformed, or a key that nothing knows.
    """
    try:
        with path.open("rb") as file:
            data = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CallError(f"config file {path}: {error}") from error
    shared = {_plain(key): value for key, value in data.items() if not isinstance(value, dict)}
    everything = frozenset().union(*options.values())
    for key in shared:
        _known(path, key, key, everything)
    for name, table in data.items():
        if isinstance(table, dict):
            _known(path, name, name, options)
            for key in table:
                _known(path, f"[{name}] {key}", _plain(key), options[name])
    return {
        name: {key: value for key, value in shared.items() if key in known}
        | {_plain(key): value for key, value in data.get(name, {}).items()}
        for name, known in options.items()
    }


def _plain(key: str) -> str:
    return key.replace("-", "_")


def _known(path: Path, shown: str, name: str, known: Mapping[str, Any] | frozenset[str]) -> None:
    if name in known:
        return
    close = difflib.get_close_matches(name, list(known), n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known))}"
    raise CallError(f"config file {path}: {shown}: no such setting; {hint}")
