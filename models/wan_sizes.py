"""The sizes of a Wan model as its own files tell them. This file imports no torch.

A folder of weights says how large its transformer is in `config/config.json` (the released file),
and the autoencoder's tensors say how wide it is. So a smaller or larger model of the same family
runs without a spec of its own; everything that no file tells (memory, positions, what the output
means) comes from the named spec.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .specs import WAN_1_3B, WAN_14B, DiTSpec, WanVAESpec

WAN_SPECS: Mapping[str, DiTSpec] = {"wan2.1-1.3b": WAN_1_3B, "wan2.1-14b": WAN_14B}
"""The released sizes by name."""
CONFIG = Path("config") / "config.json"
_KEYS = {
    "dim": "dim",
    "ffn_dim": "ffn_dim",
    "freq_dim": "freq_dim",
    "text_dim": "text_dim",
    "text_len": "text_len",
    "in_dim": "in_channels",
    "out_dim": "out_channels",
    "num_heads": "heads",
    "num_layers": "layers",
}
"""What the released file calls it, and what a `DiTSpec` does."""


def dit_sizes(folder: Path, named: DiTSpec) -> DiTSpec:
    """The spec of the transformer in a folder of weights: `named`, in the sizes of its config file.

    Raises:
        ValueError: the file is damaged or is of another kind of model; it is named.
    """
    path = folder / CONFIG
    try:
        told = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return named
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read ({error}); pull the model again") from error
    if not isinstance(told, dict):
        raise ValueError(f"{path}: holds no settings; pull the model again")
    if told.get("model_type", "t2v") != "t2v":
        raise ValueError(f"{path}: model_type {told['model_type']!r}; only t2v models can run")
    sizes = {ours: told[theirs] for theirs, ours in _KEYS.items() if theirs in told}
    odd = [name for name, value in sizes.items() if type(value) is not int or value < 1]
    if odd:
        raise ValueError(f"{path}: {', '.join(odd)} must be positive whole numbers")
    try:
        return replace(named, **sizes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def vae_sizes(shapes: Mapping[str, tuple[int, ...]], named: WanVAESpec) -> WanVAESpec:
    """The spec of an autoencoder with tensors of these shapes: `named`, as wide as they are."""
    first = shapes.get("encoder.conv1.weight", ())
    return replace(named, width=first[0]) if len(first) == 5 else named
