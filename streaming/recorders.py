"""Whether the stages of a pipeline are recorded as graphs and by what, and on which queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..models.cuda_graphs import CudaRecorder
from ..models.graphs import Recorder
from .config import ConfigError
from .queues import InOrder, Queues, SideBySide

OPTION = "graphs"
WAYS = ("auto", "off")
QUEUES = ("one", "side")


def recorder_for(device: str, options: Mapping[str, Any]) -> Recorder | None:
    """What records stages on a device; None where they run as they are.

    Args:
        options: `graphs`: "auto" records on a GPU, "off" nowhere.

    Raises:
        ConfigError: `graphs` is neither.
    """
    wanted = str(options.get(OPTION, WAYS[0]))
    if wanted not in WAYS:
        raise ConfigError(f"{OPTION}: {wanted!r} is not one of {', '.join(WAYS)}")
    found = torch.device(device)
    return CudaRecorder(found) if found.type == "cuda" and wanted != "off" else None


def queues_for(device: str, options: Mapping[str, Any]) -> Queues:
    """Where the parts of a tick go.

    Args:
        options: `queues`: "one" after another, or "side" by side, on a GPU.

    Raises:
        ConfigError: `queues` is neither, or "side" is asked for where there is one queue only.
    """
    wanted = str(options.get("queues", QUEUES[0]))
    if wanted not in QUEUES:
        raise ConfigError(f"queues: {wanted!r} is not one of {', '.join(QUEUES)}")
    found = torch.device(device)
    if wanted == "one":
        return InOrder()
    if found.type != "cuda":
        raise ConfigError(f"queues: {device} has one queue only; leave this option out")
    return SideBySide(found)


def reason(device: str) -> str:
    """What `recorder_for` does by itself, as a sentence."""
    if device.startswith("cuda"):
        return "Graphs: stages are recorded and replayed; --option graphs=off runs each as it is."
    return "Graphs: none on a CPU; stages run as they are."
