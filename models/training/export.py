"""Writes the trained weights into `assets/`, in half precision, with their manifest entries."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from ... import assets
from ..tiny import WEIGHTS

ORIGIN = "Trained by models/training of this repository; see assets/training_report.md"
LICENCE = "Apache-2.0"
ATTRIBUTION = (
    "Trained on photographs bundled with scikit-image (CC0 and public domain) and scikit-learn "
    "(china.jpg and flower.jpg, CC BY 2.0, (c) Zoltan Vörös and Dan)"
)


def gather(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a `VideoModel`, by its own names, from the stages' checkpoints in `folder`."""
    stage = "finish" if (folder / "finish" / "last.pt").exists() else "stylizer"
    parts = {
        "autoencoder.": torch.load(folder / "autoencoder" / "last.pt", weights_only=True)[
            "average"
        ],
        "": torch.load(folder / stage / "last.pt", weights_only=True)["average"],
        "prompts.": torch.load(folder / "prompts.pt", weights_only=True),
    }
    return {prefix + name: value for prefix, part in parts.items() for name, value in part.items()}


def export(folder: Path) -> Path:
    """Write `assets/tiny_video.safetensors` and enter it into the manifest."""
    target = Path(assets.__file__).parent / WEIGHTS
    tensors = {
        name: (value.half() if value.dtype.is_floating_point else value).contiguous().cpu()
        for name, value in gather(folder).items()
    }
    save_file(tensors, target, metadata={"format": "pt", "spec": "tiny"})
    register(target, LICENCE, ATTRIBUTION, ORIGIN)
    return target


def register(path: Path, licence: str, attribution: str, origin: str) -> None:
    """Enter or renew a file of `assets/` in its manifest."""
    manifest = path.parent / "manifest.json"
    entries = json.loads(manifest.read_text()) if manifest.exists() else []
    entry = {
        "name": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "licence": licence,
        "attribution": attribution,
        "origin": origin,
    }
    entries = [e for e in entries if e["name"] != path.name] + [entry]
    entries.sort(key=lambda e: str(e["name"]))
    manifest.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n")
