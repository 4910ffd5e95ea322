"""Released weights of Qwen2.5-VL-shaped models: which spec they have, and reading them strictly.

Files are read as those of every released model are, see `models.sources`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..loaders import WeightsError, differences
from ..sources import Source, open_source, place
from .model import VLModel
from .specs import TextSpec, VisionSpec, VLSpec

WANTED = ("*.json", "*.safetensors", "*.txt", "*.jinja")
"""Files of a hub repository that are fetched."""
_RENAMED = (
    ("model.language_model.", "model."),
    ("model.visual.", "visual."),
    ("language_model.model.", "model."),
    ("language_model.lm_head.", "lm_head."),
)
"""Beginnings of names in newer files, and what they are called in the first releases and here."""


def fetch(name: str) -> Path:
    """The folder of a model: a local one, or one of the hub, which is fetched.

    Raises:
        FileNotFoundError: there is neither; the message says what to do.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise FileNotFoundError(f"{name} is a file; name the folder of the model")
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise FileNotFoundError(f"{name}: there is no such folder, and no hub id looks like this")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(WANTED)))
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise FileNotFoundError(
            f"{name}: no such folder, and it cannot be fetched from the hub ({error}); "
            "check the name and the connection, or fetch it elsewhere and name its folder"
        ) from error


def read_spec(folder: Path) -> VLSpec:
    """The sizes of a model, from its `config.json` of any release of transformers.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is of another kind of model, or something is missing; it is named.
    """
    path = folder / "config.json"
    whole = _json(path)
    if whole.get("model_type") != "qwen2_5_vl":
        raise WeightsError(
            f"{path}: model_type {whole.get('model_type')!r}; only qwen2_5_vl can run "
            "(Qwen2.5-VL and StreamingVLM checkpoints)"
        )
    pictures = _json(folder / "preprocessor_config.json", missing={})
    vision = _vision(_Fields(path, "vision_config", whole.get("vision_config") or {}), pictures)
    text = _Fields(path, "text_config", {**whole, **(whole.get("text_config") or {})})
    per_second = float((whole.get("vision_config") or {}).get("tokens_per_second", 4.0))
    try:
        return VLSpec(folder.name, vision, _text(text, per_second))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Fields:
    """A part of a configuration, which says what it lacks."""

    path: Path
    part: str
    values: Mapping[str, Any]

    def __getitem__(self, names: str) -> Any:
        """The value of the first of some names, "patch_size|spatial_patch_size", that is there."""
        for name in names.split("|"):
            if self.values.get(name) is not None:
                return self.values[name]
        raise WeightsError(f"{self.path}: {self.part} names no {names.split('|')[0]}")


def _vision(fields: _Fields, pictures: Mapping[str, Any]) -> VisionSpec:
    patch, merge = fields["patch_size|spatial_patch_size"], fields["spatial_merge_size"]
    token = (patch * merge) ** 2
    return VisionSpec(
        dim=fields["hidden_size"],
        ffn_dim=fields["intermediate_size"],
        heads=fields["num_heads"],
        layers=fields["depth"],
        patch=patch,
        frames=fields["temporal_patch_size"],
        merge=merge,
        window=fields["window_size"],
        full_layers=tuple(fields["fullatt_block_indexes"]),
        out_dim=fields["out_hidden_size"],
        mean=_three(pictures.get("image_mean"), (0.48145466, 0.4578275, 0.40821073)),
        std=_three(pictures.get("image_std"), (0.26862954, 0.26130258, 0.27577711)),
        # Of live video, not of stills: a turn is one grid of at most 768 tokens (StreamingVLM).
        min_pixels=100 * token,
        max_pixels=768 * token,
        per_second=1.0,
    )


def _three(values: Any, default: tuple[float, float, float]) -> tuple[float, float, float]:
    red, green, blue = values or default
    return float(red), float(green), float(blue)


def _text(fields: _Fields, tokens_per_second: float) -> TextSpec:
    rope = fields["rope_parameters|rope_scaling"]
    theta = rope.get("rope_theta", fields.values.get("rope_theta"))
    sections = rope.get("mrope_section")
    if theta is None or sections is None:
        raise WeightsError(f"{fields.path}: names no rope_theta or no mrope_section")
    heads, dim = fields["num_attention_heads"], fields["hidden_size"]
    return TextSpec(
        dim=dim,
        ffn_dim=fields["intermediate_size"],
        layers=fields["num_hidden_layers"],
        heads=heads,
        kv_heads=fields["num_key_value_heads"],
        head_dim=fields.values.get("head_dim") or dim // heads,
        vocab=fields["vocab_size"],
        tied=bool(fields.values.get("tie_word_embeddings", False)),
        rope_theta=float(theta),
        rope_sections=tuple(sections),
        eps=float(fields["rms_norm_eps"]),
        tokens_per_second=tokens_per_second,
    )


def load_checkpoint(
    folder: Path, device: torch.device | str, dtype: torch.dtype, spec: VLSpec | None = None
) -> VLModel:
    """A model with the weights of a folder, for inference.

    Args:
        folder: `config.json` and one or more safetensors files, as released.
        spec: instead of that of `config.json`.

    Raises:
        FileNotFoundError: a file is missing; it is named.
        WeightsError: names or shapes are not those of the spec, or a file is damaged. Everything is
            checked before the first tensor is read.
    """
    model, source = _checked(folder, spec or read_spec(folder))
    place(model, source, device, dtype)
    return model.eval()


def check_checkpoint(folder: Path) -> VLSpec:
    """Raise as `load_checkpoint` would for names, shapes and headers; reads no tensor."""
    spec = read_spec(folder)
    _checked(folder, spec)
    return spec


def _checked(folder: Path, spec: VLSpec) -> tuple[VLModel, Source]:
    """An empty model and what it is to be filled from.

    Raises:
        FileNotFoundError, WeightsError: see `load_checkpoint`.
    """
    with torch.device("meta"):
        model = VLModel(spec)

    def named(name: str) -> str | None:
        ours = canonical(name)
        # A tied head is the embedding, and frequencies follow from the spec.
        follows = ours.endswith("inv_freq") or (ours == "lm_head.weight" and spec.text.tied)
        return None if follows else ours

    source = open_source(folder, named=named)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    told = differences(expected, source.shapes)
    if told:
        raise WeightsError(
            f"{folder} does not fit {spec.name}: {told}. "
            "The files may be of another size or not complete."
        )
    return model, source


def canonical(name: str) -> str:
    """A weight's name as it is called here, from what newer files call it."""
    for new, old in _RENAMED:
        if name.startswith(new):
            return old + name[len(new) :]
    return name


def _json(path: Path, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    if not path.is_file():
        if missing is not None:
            return missing
        raise FileNotFoundError(f"{path}: no such file; is {path.parent} the folder of a model?")
    try:
        content = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path}: is no JSON ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds no fields")
    return content
