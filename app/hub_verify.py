"""`millrace models verify NAME`: is a model all there, unaltered, and of the right architecture?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..models.released import Released
from . import hub, hub_lock
from .errors import CommandError


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one thing.

    Attributes:
        what: a file, or a role.
        fault: what is wrong with it, or "".
        note: what is worth knowing, or "".
    """

    what: str
    fault: str = ""
    note: str = ""


def examine(model: Released, folder: Path) -> Iterator[Finding]:
    """Look at every file of a model, cheapest questions first.

    Raises:
        CommandError: it is not here at all.
    """
    if not folder.is_dir():
        raise CommandError(
            f"{model.name} is not in {folder}; fetch it with `millrace models pull {model.name}`"
        )
    files = hub_lock.read(folder)
    broken = False
    for finding in _unlocked(model, folder) if files is None else _locked(files, folder):
        broken = broken or bool(finding.fault)
        yield finding
    if not broken:
        yield from _architecture(model, folder)


def _locked(files: tuple[hub_lock.Kept, ...], folder: Path) -> Iterator[Finding]:
    for file in files:
        name, path = f"{file.role}/{file.file}", file.at(folder)
        if not path.is_file():
            yield Finding(name, "is missing")
        elif path.stat().st_size != file.bytes:
            yield Finding(name, f"has {path.stat().st_size} bytes, expected {file.bytes}")
        elif (found := hub.digest(path)) != file.sha256:
            yield Finding(name, f"has sha256 {found}, expected {file.sha256 or 'none yet'}")
        else:
            yield Finding(name)


def _unlocked(model: Released, folder: Path) -> Iterator[Finding]:
    """A folder that somebody filled: there is nothing to compare its files with."""
    for role in model.roles:
        place = folder / role
        files = (
            sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else []
        )
        if not files:
            yield Finding(role, f"is missing, {place} is empty or not there")
            continue
        size = sum(path.stat().st_size for path in files)
        yield Finding(role, note=f"{size} bytes, not pulled, so no checksum is known")


def _architecture(model: Released, folder: Path) -> Iterator[Finding]:
    # Here, as it loads torch.
    from ..models import keys
    from ..models.loaders import WeightsError

    try:
        for role, note in keys.check(model, folder):
            yield Finding(role, note=note)
    except (FileNotFoundError, WeightsError) as error:
        yield Finding("architecture", str(error))
