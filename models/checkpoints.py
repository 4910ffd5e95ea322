"""Released checkpoints of the causal Wan 2.1 transformer.

Everything that can be wrong with the names and shapes of a file is found before the first tensor is
read; see `sources`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from ..kernels import keep_plain
from .dit import CausalDiT
from .loaders import Shape, WeightsError, differences, random_model, some
from .sources import Progress, Source, open_source, place
from .specs import DiTSpec


def load_causal_wan(
    spec: DiTSpec,
    path: Path | str,
    device: torch.device | str,
    dtype: torch.dtype,
    ema: bool = False,
    progress: Progress | None = None,
) -> CausalDiT:
    """A `CausalDiT` with released weights, for inference.

    Takes `.pt`, `.pth` and `.safetensors` files, and folders with one of them or with the shards of
    one (with or without an index), weights nested under `generator`, `generator_ema` or
    `state_dict` or not, names with the prefix `model.` or without.

    Args:
        dtype: what the weights are converted to, one by one.
        ema: take the moving average of the training run, where the file holds both.
        progress: told after each tensor.

    Raises:
        FileNotFoundError: no such file, or one of the shards is missing.
        WeightsError: a file is damaged or of another architecture, size or layout, or a tensor is
            missing, unknown, of another shape or not finite; names file and tensor.
    """
    source = open_source(path, ema)
    with torch.device("meta"):
        model = CausalDiT(spec)
    check_source(model, source)
    place(model, source, device, dtype, progress)
    return _ready(model, device).eval()


def random_causal_wan(
    spec: DiTSpec, device: torch.device | str, dtype: torch.dtype, seed: int = 0
) -> CausalDiT:
    """The same with random weights: its speed, not its looks."""
    model = random_model(lambda: CausalDiT(spec), device, dtype, seed)
    keep_plain(model.parameters())
    return _ready(model, device)


def _ready(model: CausalDiT, device: torch.device | str) -> CausalDiT:
    """Laid out as the device wants it; a CPU packs weights in its own way."""
    return model if torch.device(device).type == "cpu" else model.join_projections()


def check_causal_wan(spec: DiTSpec, path: Path | str, ema: bool = False) -> None:
    """Raise as `load_causal_wan` would for names, shapes and damaged headers; reads no tensor."""
    with torch.device("meta"):
        model = CausalDiT(spec)
    check_source(model, open_source(path, ema))


def check_source(model: CausalDiT, source: Source) -> None:
    """Raise WeightsError unless names and shapes are exactly those of the model."""
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = source.shapes
    if found == expected:
        return
    _refuse_other_layouts(source)
    size, wanted = _size(found), _size(expected)
    if size is not None and size != wanted:
        raise WeightsError(
            f"{source.origin} does not fit: it is a model of {_told(size)}, and one of "
            f"{_told(wanted)} was asked for; choose the model that these weights were made for"
        )
    files = sorted({Path(source.where(name)).name for name in found if name not in expected})
    files += sorted(
        {
            Path(source.where(name)).name
            for name, shape in found.items()
            if expected.get(name, shape) != shape
        }
        - set(files)
    )
    inside = f" (in {some(files)})" if files and Path(source.origin).is_dir() else ""
    raise WeightsError(
        f"{source.origin} does not fit: {differences(expected, found)}{inside}. "
        "The file may be of another model or not complete."
    )


def _refuse_other_layouts(source: Source) -> None:
    """A clear word about files that are Wan, but not in these names."""
    names = source.shapes
    if any(name.startswith("condition_embedder.") or ".attn1.to_q." in name for name in names):
        raise WeightsError(
            f"{source.origin} is in the layout of diffusers (WanTransformer3DModel); take the "
            "original layout, whose tensors are called blocks.0.self_attn.q.weight and so on"
        )
    if any(name.startswith("img_emb.") for name in names):
        raise WeightsError(
            f"{source.origin} is an image-to-video model (it has img_emb); take a text-to-video one"
        )


def _size(shapes: Mapping[str, Shape]) -> tuple[int, int] | None:
    """Width and number of blocks, if the names are those of a Wan model."""
    width = shapes.get("patch_embedding.weight", ())
    blocks = {name.split(".")[1] for name in shapes if re.match(r"blocks\.\d+\.", name)}
    return (width[0], len(blocks)) if width and blocks else None


def _told(size: tuple[int, int] | None) -> str:
    return "no blocks" if size is None else f"width {size[0]} with {size[1]} blocks"
