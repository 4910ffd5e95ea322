"""Shipped weights and clips, each with checksum, licence and origin in `manifest.json`."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
MANIFEST = FOLDER / "manifest.json"


class AssetError(RuntimeError):
    """A shipped file is missing, unknown or not the one that was shipped."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One line of the manifest.

    Attributes:
        name: file name inside this folder.
        sha256: checksum of the content, hexadecimal.
        bytes: size of the content.
        licence: SPDX name of the licence it is given under.
        attribution: whom to name, or empty.
        origin: how it was made, so that anybody can make it again.
    """

    name: str
    sha256: str
    bytes: int
    licence: str
    attribution: str
    origin: str


def manifest(file: Path = MANIFEST) -> dict[str, Asset]:
    """All shipped files by name.

    Raises:
        AssetError: the manifest itself is missing or malformed.
    """
    try:
        return {entry["name"]: Asset(**entry) for entry in json.loads(file.read_text("utf-8"))}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise AssetError(f"{file}: {error}; reinstall millrace") from error


@functools.cache
def path(name: str) -> Path:
    """Where the shipped file `name` lies, its checksum compared once in a process.

    Raises:
        AssetError: not in the manifest, missing, or altered.
    """
    known = manifest()
    if name not in known:
        raise AssetError(f"{name}: not a shipped file; there are {', '.join(sorted(known))}")
    verify(known[name])
    return FOLDER / name


def verify(asset: Asset, folder: Path = FOLDER) -> None:
    """Compare the file with its line in the manifest.

    Raises:
        AssetError: missing, or its content differs.
    """
    file = folder / asset.name
    if not file.is_file():
        raise AssetError(f"{file} is missing; reinstall millrace")
    size = file.stat().st_size
    if size != asset.bytes:
        raise AssetError(f"{file}: {size} bytes, expected {asset.bytes}; reinstall millrace")
    found = sha256(file)
    if found != asset.sha256:
        raise AssetError(f"{file}: sha256 {found}, expected {asset.sha256}; reinstall millrace")


def sha256(file: Path) -> str:
    """Checksum of a file's content, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
