"""Released checkpoints of the causal Wan 2.1 transformer, read tensor by tensor.

Files of tens of gigabytes: everything that can be wrong with their names and shapes is found before
the first tensor is read, and at no time is there more than the model and one tensor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor, nn

from ..kernels import keep_plain
from .dit import CausalDiT
from .loaders import (
    CONTAINERS,
    Shape,
    WeightsError,
    differences,
    mapped,
    named_tensors,
    random_model,
    reading,
    some,
    without_prefix,
)
from .specs import DiTSpec

EMA_CONTAINERS = ("generator_ema",)
TORCH_SUFFIXES = (".pt", ".pth", ".bin")
INDEX = "*.safetensors.index.json"
SHARD = re.compile(r"(.+)-(\d+)-of-(\d+)\.safetensors")
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)

Progress = Callable[[int, int], None]
"""(tensors placed, tensors in all)."""


class Source(Protocol):
    """Named tensors that are read one at a time."""

    @property
    def origin(self) -> str:
        """File or folder, for messages."""
        ...

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of each tensor, by the name that the model gives it."""
        ...

    def read(self, name: str) -> Tensor:
        """One tensor; it may share memory with the file."""
        ...

    def where(self, name: str) -> str:
        """The file that holds a tensor."""
        ...


@dataclass(frozen=True, slots=True)
class TorchSource:
    """A `.pt` file, mapped into memory: reading touches only what is asked for."""

    origin: str
    tensors: Mapping[str, Tensor]
    shapes: Mapping[str, Shape]

    @classmethod
    def open(cls, path: Path, ema: bool) -> TorchSource:
        with reading(path):
            content = mapped(path)
        held = content if isinstance(content, Mapping) else {}
        if ema and not any(name in held for name in EMA_CONTAINERS):
            inside = [name for name in CONTAINERS if name in held]
            raise WeightsError(
                f"{path}: holds no averaged weights ({EMA_CONTAINERS[0]}), only "
                f"{some(inside) or 'plain ones'}; load it without the EMA option"
            )
        tensors = named_tensors(content, path, EMA_CONTAINERS if ema else CONTAINERS)
        return cls(str(path), tensors, {n: tuple(t.shape) for n, t in tensors.items()})

    def read(self, name: str) -> Tensor:
        return self.tensors[name]

    def where(self, name: str) -> str:
        return self.origin


@dataclass(slots=True)
class SafeSource:
    """One or several safetensors files, of which the one read last is open.

    Attributes:
        places: by name, the file and what the tensor is called in it.
    """

    origin: str
    places: Mapping[str, tuple[Path, str]]
    shapes: Mapping[str, Shape]
    current: tuple[Path, Any] | None = None

    @classmethod
    def open(cls, paths: list[Path], origin: Path) -> SafeSource:
        held: dict[str, Path] = {}
        shapes: dict[str, Shape] = {}
        for path in paths:
            with reading(path), _opened(path) as file:
                for name in file.keys():  # noqa: SIM118 - it is no mapping
                    if name in held:
                        raise WeightsError(f"{path}: {name} is in {held[name].name} already")
                    held[name] = path
                    shapes[name] = tuple(file.get_slice(name).get_shape())
        if not held:
            raise WeightsError(f"{origin}: holds no weights by name")
        short = without_prefix(held)
        places = {ours: (held[name], name) for ours, name in short.items()}
        return cls(str(origin), places, {o: shapes[n] for o, n in short.items()})

    def read(self, name: str) -> Tensor:
        path, theirs = self.places[name]
        with reading(path):
            if self.current is None or self.current[0] != path:
                self.current = None  # The file before is given back first.
                self.current = (path, _opened(path))
            tensor: Tensor = self.current[1].get_tensor(theirs)
        return tensor

    def where(self, name: str) -> str:
        return str(self.places[name][0])


def _opened(path: Path) -> Any:
    return safe_open(str(path), framework="pt", device="cpu")


# -- the public functions -----------------------------------------------------------------------


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
    return model.eval()


def random_causal_wan(
    spec: DiTSpec, device: torch.device | str, dtype: torch.dtype, seed: int = 0
) -> CausalDiT:
    """The same with random weights: its speed, not its looks."""
    model = random_model(lambda: CausalDiT(spec), device, dtype, seed)
    keep_plain(model.parameters())
    return model


def check_causal_wan(spec: DiTSpec, path: Path | str, ema: bool = False) -> None:
    """Raise as `load_causal_wan` would for names, shapes and damaged headers; reads no tensor."""
    with torch.device("meta"):
        model = CausalDiT(spec)
    check_source(model, open_source(path, ema))


# -- parts of them ------------------------------------------------------------------------------


def open_source(path: Path | str, ema: bool = False) -> TorchSource | SafeSource:
    """The tensors of a file or folder, none of them read yet.

    Raises:
        FileNotFoundError, WeightsError: see `load_causal_wan`.
    """
    path = Path(path)
    files = weight_files(path)
    if files[0].suffix in TORCH_SUFFIXES:
        return TorchSource.open(files[0], ema)
    if ema:
        raise WeightsError(f"{path}: safetensors hold one set of weights; drop the EMA option")
    return SafeSource.open(files, path)


def weight_files(path: Path) -> list[Path]:
    """The file, or all shards, that make up the weights at `path`.

    Raises:
        FileNotFoundError: nothing there, or a shard is missing; it is named.
        WeightsError: there are several to choose from, or the index is no index.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such file or folder of weights; pull the model first")
    indices = sorted(path.glob(INDEX))
    shards = sorted(found for found in path.glob("*.safetensors") if SHARD.fullmatch(found.name))
    if len(indices) == 1:
        files = _indexed(indices[0])
    elif shards and not indices:
        files = _complete(shards)
    else:
        files = indices or _single(path)
        if len(files) > 1:
            names = some([str(file.relative_to(path)) for file in files])
            raise WeightsError(f"{path}: holds several models ({names}); name the one to load")
    lacking = [file.name for file in files if not file.is_file()]
    if lacking:
        raise FileNotFoundError(f"{path}: {some(lacking)} missing; pull the model again")
    return files


def _single(folder: Path) -> list[Path]:
    suffixes = (".safetensors", *TORCH_SUFFIXES)
    for found in (folder.iterdir(), folder.rglob("*")):
        files = sorted(file for file in found if file.suffix in suffixes and file.is_file())
        if files:
            return files
    raise FileNotFoundError(f"{folder}: no weights ({', '.join(suffixes)}) there; pull the model")


def _indexed(index: Path) -> list[Path]:
    try:
        names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(f"{index}: is no index of weights ({error}); fetch it again") from error
    if not names or any(Path(name).name != name for name in names):
        raise WeightsError(f"{index}: must list files of its own folder")
    return [index.parent / name for name in sorted(names)]


def _complete(shards: list[Path]) -> list[Path]:
    """All shards of the set that the given ones belong to, there or not."""
    sets = {(m[1], m[3]) for m in (SHARD.fullmatch(shard.name) for shard in shards) if m}
    if len(sets) > 1:
        names = some(sorted(name for name, _ in sets))
        raise WeightsError(f"{shards[0].parent}: holds several models ({names}); name one")
    ((stem, count),) = sets
    return [
        shards[0].parent / f"{stem}-{number:0{len(count)}d}-of-{count}.safetensors"
        for number in range(1, int(count) + 1)
    ]


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


def place(
    model: CausalDiT,
    source: Source,
    device: torch.device | str,
    dtype: torch.dtype,
    progress: Progress | None = None,
) -> None:
    """Give a model on the meta device its weights, one tensor after another.

    Raises:
        WeightsError: a tensor cannot be read or is not finite; the model is then of no use.
    """
    owners = [
        (f"{prefix}.{leaf}" if prefix else leaf, module, leaf)
        for prefix, module in model.named_modules()
        for leaf, _ in module.named_parameters(recurse=False)
    ]
    owners.sort(key=lambda owner: source.where(owner[0]))  # One file after another.
    for count, (name, module, leaf) in enumerate(owners, 1):
        value = nn.Parameter(_converted(source, name, device, dtype), requires_grad=False)
        keep_plain([value])
        module.register_parameter(leaf, value)
        if progress is not None:
            progress(count, len(owners))


def _converted(source: Source, name: str, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    """A tensor of its own memory: what was read ends with this call."""
    given = source.read(name)
    if given.dtype not in FLOATS:
        raise WeightsError(
            f"{source.where(name)}: {name} is {given.dtype}; quantised weights cannot be loaded"
        )
    value = given.to(device, dtype, copy=True, memory_format=torch.contiguous_format)
    low, high = value.aminmax()
    if not (low.isfinite() and high.isfinite()):
        kind = str(dtype).removeprefix("torch.")
        raise WeightsError(
            f"{source.where(name)}: {name} holds values that are no finite numbers in {kind}; "
            "the file is damaged (verify it) or needs a wider type"
        )
    return value
