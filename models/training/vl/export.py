"""Writes the trained language model into `assets/`, in half precision, with its manifest entry."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from .... import assets
from ...vl.tiny_vl import WEIGHTS
from ..manifest import record
from ..photos import credit_lines

ORIGIN = "python -m millrace.models.training.vl.run; see assets/tiny_vl_report.md"


def export(checkpoint: Path) -> Path:
    """Ship the averaged weights of a run's `last.pt`."""
    weights: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["average"]
    target = assets.FOLDER / WEIGHTS
    tensors = {name: value.half().contiguous() for name, value in weights.items()}
    save_file(tensors, target, metadata={"format": "pt", "spec": "tiny"})
    credits = "Learned from photographs: " + credit_lines().replace("\n", "; ")
    record(WEIGHTS, "Apache-2.0", credits, ORIGIN)
    return target
