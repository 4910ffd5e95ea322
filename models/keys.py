"""Whether the files of a released model are what they should be, told from their tables of names
and shapes: no tensor is read, so a model of any size takes seconds and no memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .checkpoints import check_causal_wan
from .loaders import Shape, WeightsError, differences
from .policies import policy_named
from .released import Released
from .sd.library import MissingPackage, quiet, require
from .sources import Source, open_source
from .specs import TAEHV_WAN21, WAN_VAE, UMT5Spec
from .taehv import TAEHV, TGrow
from .umt5 import released_names, released_sizes
from .vl.checkpoint import check_checkpoint
from .wan_sizes import WAN_SPECS, dit_sizes, vae_sizes
from .wan_vae import WanVAE

TEXT_LEVEL = "text_model."
Note = tuple[str, str]
"""A part's role, and what is worth knowing about it."""


def check(model: Released, folder: Path) -> Iterator[Note]:
    """Look at each part of a model, and tell what was found as it goes.

    Args:
        folder: with the parts in folders by role.

    Raises:
        FileNotFoundError: a part is missing; the message says which and what to do.
        WeightsError: a file is damaged, or of another model; names the file and what differs.
    """
    checks: Mapping[str, Callable[[Released, Path], Iterator[Note]]] = {
        "wan": _wan,
        "sd": _sd,
        "vl": _vl,
    }
    try:
        yield from checks[model.family](model, folder)
    except (FileNotFoundError, WeightsError):
        raise
    except ValueError as error:
        raise WeightsError(str(error)) from error


def _wan(model: Released, folder: Path) -> Iterator[Note]:
    named = WAN_SPECS[model.spec]
    spec = dit_sizes(folder, named)
    check_causal_wan(spec, folder / "dit", bool(model.policy) and policy_named(model.policy).ema)
    yield "dit", f"width {spec.dim} with {spec.layers} blocks"
    if spec != named:
        yield "config", f"sizes of its own, not those of {model.spec}"
    vae = open_source(folder / "vae")
    with torch.device("meta"):
        coder = WanVAE(vae_sizes(vae.shapes, WAN_VAE))
    _compare("WanVAE", coder, vae.shapes, vae.origin)
    yield "vae", f"width {coder.spec.width}"
    tiny = open_source(folder / "taehv")
    with torch.device("meta"):
        small = TAEHV(TAEHV_WAN21)
    _compare("TAEHV", small, _fitted(small, tiny.shapes), tiny.origin)
    yield "taehv", f"{len(tiny.shapes)} tensors"
    yield from _umt5(folder / "text_encoder", spec.text_dim)
    yield from _words(folder / "tokenizer", ("tokenizer.json", "tokenizer_config.json"))


def _umt5(folder: Path, width: int) -> Iterator[Note]:
    found = open_source(folder)
    if (folder / "config.json").is_file():  # as transformers saves it, which then checks it too
        yield "text_encoder", f"{len(found.shapes)} tensors"
        return
    spec = released_sizes(found.shapes, found.origin)
    told = differences(_umt5_shapes(spec), found.shapes)
    if told:
        raise WeightsError(f"{found.origin} does not fit umT5 with {spec.layers} blocks: {told}")
    if spec.dim != width:
        raise WeightsError(
            f"{found.origin} is {spec.dim} wide, but the transformer reads texts of width {width}; "
            "take both from one model"
        )
    yield "text_encoder", f"width {spec.dim} with {spec.layers} blocks"


def _umt5_shapes(spec: UMT5Spec) -> dict[str, Shape]:
    """Shapes of a umT5 encoder by the names of Wan's file."""
    dim, inner, ffn = spec.dim, spec.heads * spec.head_dim, spec.ffn_dim
    ends = {
        "q.weight": (inner, dim),
        "k.weight": (inner, dim),
        "v.weight": (inner, dim),
        "o.weight": (dim, inner),
        "gate.0.weight": (ffn, dim),
        "fc1.weight": (ffn, dim),
        "fc2.weight": (dim, ffn),
        "pos_embedding.embedding.weight": (spec.buckets, spec.heads),
        "token_embedding.weight": (spec.vocabulary, dim),
    }
    names = released_names(spec.layers)
    return {n: next((s for end, s in ends.items() if n.endswith(end)), (dim,)) for n in names}


def _fitted(module: TAEHV, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Shapes as `taehv.fit_released` leaves them: of a stage that makes fewer frames than the
    released network, the last rows are taken."""
    fitted = dict(shapes)
    for name, layer in module.named_modules():
        key = f"{name}.conv.weight"
        if isinstance(layer, TGrow) and key in fitted:
            rows = min(fitted[key][0], len(layer.conv.weight))
            fitted[key] = (rows, *fitted[key][1:])
    return fitted


def _sd(model: Released, folder: Path) -> Iterator[Note]:
    widths = {}
    for role, kind in (("unet", "UNet2DConditionModel"), ("vae", "AutoencoderTiny")):
        config = _config(folder / role / "config.json")
        widths[role] = config.get("cross_attention_dim")
        yield from _of_diffusers(role, kind, config, folder / role)
    text = _config(folder / "text_encoder" / "config.json")
    found = open_source(folder / "text_encoder")
    if text.get("hidden_size") != widths["unet"]:
        raise WeightsError(
            f"{found.origin} is {text.get('hidden_size')} wide, but the UNet reads texts of width "
            f"{widths['unet']}; take both from one repository"
        )
    yield "text_encoder", _clip(text, found)
    yield from _words(folder / "tokenizer", ("vocab.json",))
    if "lora" in model.roles:
        yield "lora", f"{len(open_source(folder / 'lora').shapes)} tensors"


def _clip(config: Mapping[str, Any], found: Source) -> str:
    """What there is to say of a text encoder.

    Raises:
        WeightsError: its tensors are not those that its settings describe.
    """
    count = f"{len(found.shapes)} tensors, width {config['hidden_size']}"
    try:
        transformers = require("transformers")
    except MissingPackage as error:
        return f"{count}, names not compared: {error}"
    with quiet(), torch.device("meta"):
        module = transformers.CLIPTextModel(transformers.CLIPTextConfig(**config))
    # Older files have a further level of names and count out the positions; what is read ignores
    # both.
    shapes = {
        name.removeprefix(TEXT_LEVEL): shape
        for name, shape in found.shapes.items()
        if not name.endswith(".position_ids")
    }
    expected = {
        name.removeprefix(TEXT_LEVEL): tuple(value.shape)
        for name, value in module.state_dict().items()
    }
    told = differences(expected, shapes)
    if told:
        raise WeightsError(f"{found.origin} does not fit CLIPTextModel: {told}")
    return count


def _of_diffusers(role: str, kind: str, config: Mapping[str, Any], folder: Path) -> Iterator[Note]:
    found = open_source(folder)
    try:
        network = getattr(require("diffusers"), kind)
    except MissingPackage as error:
        yield role, f"{len(found.shapes)} tensors, names not compared: {error}"
        return
    with quiet(), torch.device("meta"):
        module = network.from_config(config)
    _compare(kind, module, found.shapes, found.origin)
    yield role, f"{len(found.shapes)} tensors"


def _vl(model: Released, folder: Path) -> Iterator[Note]:
    spec = check_checkpoint(folder / "model")
    yield "model", f"{spec.name}, {spec.text.layers} layers"


def _compare(what: str, module: nn.Module, shapes: Mapping[str, Shape], origin: str) -> None:
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    told = differences(expected, shapes)
    if told:
        raise WeightsError(f"{origin} does not fit {what}: {told}")


def _words(folder: Path, files: tuple[str, ...]) -> Iterator[Note]:
    for name in files:
        _config(folder / name)
    yield "tokenizer", ", ".join(files)


def _config(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is not there; pull the model again") from error
    except ValueError as error:
        raise WeightsError(f"{path}: cannot be read ({error}); pull the model again") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds no settings; pull the model again")
    return content
