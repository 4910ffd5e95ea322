"""Where a command's report goes."""

from __future__ import annotations

import sys
from pathlib import Path

from .errors import CommandError


def write(text: str, place: str) -> None:
    """To a file, or to the standard output for "-".

    Raises:
        CommandError: the file cannot be written.
    """
    if place == "-":
        sys.stdout.write(text)
        return
    try:
        Path(place).write_text(text, "utf-8")
    except OSError as error:
        raise CommandError(f"{place} cannot be written: {error.strerror}") from error
