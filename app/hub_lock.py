"""What was pulled, written beside it: every file with its size, checksum and origin."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..models.released import Released
from .errors import CommandError

LOCK = "millrace.lock.json"
PARTIAL = ".partial"
"""Folder, in that of a model, of what is not whole yet."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One file of a pulled model.

    Attributes:
        role, file: where it lies: `<folder>/<role>/<file>`.
        bytes, sha256: of its content; "" until a file that the hub tells no sha256 of is here.
        repo, path, commit: where it came from; empty for a local folder.
        licence: under which it was given out.
    """

    role: str
    file: str
    bytes: int
    sha256: str
    repo: str
    path: str
    commit: str
    licence: str

    def at(self, folder: Path) -> Path:
        return folder / self.role / self.file

    def whole(self, folder: Path) -> bool:
        """Whether it is there with its size; its content is not read."""
        path = self.at(folder)
        return path.is_file() and path.stat().st_size == self.bytes and bool(self.sha256)

    def summed(self, sha256: str) -> Kept:
        return replace(self, sha256=sha256)


def read(folder: Path) -> tuple[Kept, ...] | None:
    """What the lock file of a folder lists; None without one.

    Raises:
        CommandError: it is damaged.
    """
    data = _data(folder)
    return None if data is None else data[1]


def name_of(folder: Path) -> str:
    """The model that was pulled into a folder: as its lock file says, else its own name."""
    data = _data(folder)
    return folder.name if data is None else data[0]


def _data(folder: Path) -> tuple[str, tuple[Kept, ...]] | None:
    path = folder / LOCK
    try:
        data = json.loads(path.read_text("utf-8"))
        return str(data["model"]), tuple(Kept(**entry) for entry in data["files"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}; name another folder with --dir") from error
    except (ValueError, TypeError, KeyError) as error:
        raise CommandError(
            f"{path} cannot be read ({error}); remove it and pull the model again, "
            "which keeps the files that are whole"
        ) from error


def write(folder: Path, name: str, files: tuple[Kept, ...]) -> None:
    """Replace the lock file in one move."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"model": name, "files": [asdict(file) for file in files]}, indent=2)
    fresh = folder / f"{LOCK}.new"
    fresh.write_text(text + "\n", "utf-8")
    os.replace(fresh, folder / LOCK)


def state(model: Released, folder: Path) -> str:
    """ "pulled", "partly pulled", "own files" (all folders, but not by `pull`) or "not pulled"."""
    files = read(folder)
    if files is None:
        own = folder.is_dir() and all((folder / role).is_dir() for role in model.roles)
        return "own files" if own else "not pulled"
    whole = sum(file.whole(folder) for file in files)
    if whole == len(files):
        return "pulled"
    return "partly pulled" if whole else "not pulled"


def twin(root: Path, sha256: str) -> Path | None:
    """A file of this content among the pulled models of a root."""
    if not sha256:
        return None
    for lock in sorted(root.glob(f"*/{LOCK}")):
        for file in read(lock.parent) or ():
            if file.sha256 == sha256 and file.whole(lock.parent):
                return file.at(lock.parent)
    return None
