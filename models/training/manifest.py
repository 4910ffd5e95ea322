"""Entering what training made into the manifest of shipped files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ...assets import FOLDER, Asset, manifest, sha256


def record(name: str, licence: str, attribution: str, origin: str, folder: Path = FOLDER) -> Asset:
    """Enter the file `name` of `folder` with its present checksum, replacing its old line.

    Args:
        name: file name inside `folder`.
        licence: SPDX name.
        attribution: whom to name, or empty.
        origin: the command that makes it, and from what.
    """
    file = folder / name
    asset = Asset(name, sha256(file), file.stat().st_size, licence, attribution, origin)
    list_file = folder / "manifest.json"
    entries = manifest(list_file) if list_file.exists() else {}
    entries[name] = asset
    rows = [asdict(entries[key]) for key in sorted(entries)]
    list_file.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return asset
