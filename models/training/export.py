"""Writes the trained weights into `assets/`, in half precision, with their manifest entries."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from ... import assets
from ..tiny import PROMPTS, WEIGHTS
from .loop import averaged
from .photos import credit_lines
from .stylizer import PHASES

ORIGIN = "Trained by models/training of this repository; see assets/training_report.md"
LICENCE = "Apache-2.0"


def gather(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a `VideoModel`, by its own names, from the stages' checkpoints in `folder`."""
    done = [phase for phase in PHASES if (folder / phase / "last.pt").exists()]
    if not done:
        raise SystemExit(f"nothing to export in {folder}: run the stages {', '.join(PHASES)} first")
    stage = done[-1]
    parts = {"autoencoder.": averaged(folder / "autoencoder"), "": averaged(folder / stage)}
    return {prefix + name: value for prefix, part in parts.items() for name, value in part.items()}


def export(folder: Path) -> Path:
    """Write the video model and the prompt encoder into `assets/` and enter them there."""
    target = assets.FOLDER / WEIGHTS
    tensors = {
        name: (value.half() if value.dtype.is_floating_point else value).contiguous().cpu()
        for name, value in gather(folder).items()
    }
    save_file(tensors, target, metadata={"format": "pt", "spec": "tiny"})
    credits = "Learned from photographs: " + credit_lines().replace("\n", "; ")
    register(target, LICENCE, credits, ORIGIN)
    if (folder / PROMPTS).exists():
        shutil.copyfile(folder / PROMPTS, assets.FOLDER / PROMPTS)
        register(assets.FOLDER / PROMPTS, LICENCE, "", ORIGIN)
    return target


def register(path: Path, licence: str, attribution: str, origin: str) -> None:
    """Enter or renew a file of `assets/` in its manifest."""
    manifest = path.parent / "manifest.json"
    entries = json.loads(manifest.read_text()) if manifest.exists() else []
    entry = {
        "name": path.name,
        "sha256": assets.sha256(path),
        "bytes": path.stat().st_size,
        "licence": licence,
        "attribution": attribution,
        "origin": origin,
    }
    entries = [e for e in entries if e["name"] != path.name] + [entry]
    entries.sort(key=lambda e: str(e["name"]))
    manifest.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n")
