"""Named tensors in files, read one at a time, and models that are filled from them.

Files of tens of gigabytes: names and shapes are known before the first tensor is read, and at no
time is there more than the model and one tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor, nn

from ..kernels import keep_plain
from .loaders import (
    CONTAINERS,
    Shape,
    WeightsError,
    mapped,
    named_tensors,
    reading,
    some,
    without_prefix,
)
from .weight_files import TORCH_SUFFIXES, weight_files

EMA_CONTAINERS = ("generator_ema",)
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)

Progress = Callable[[int, int], None]
"""(tensors placed, tensors in all)."""
Named = Callable[[str], str | None]
"""A tensor's name in a file -> what the model calls it; None for what it does not take."""


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
    def open(cls, paths: list[Path], origin: Path, named: Named | None = None) -> SafeSource:
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
        short = without_prefix(held) if named is None else _renamed(held, named, origin)
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


def _renamed(held: Iterable[str], named: Named, origin: Path) -> dict[str, str]:
    """Our name -> theirs, of what the model takes."""
    places: dict[str, str] = {}
    for theirs in held:
        ours = named(theirs)
        if ours is None:
            continue
        if ours in places:
            raise WeightsError(f"{origin}: {theirs} and {places[ours]} are both {ours}")
        places[ours] = theirs
    return places


def open_source(
    path: Path | str, ema: bool = False, named: Named | None = None
) -> TorchSource | SafeSource:
    """The tensors of a file or folder, none of them read yet.

    Args:
        ema: take the moving average of the training run, where the file holds both.
        named: of a name in safetensors files, what the model calls it, or None for what it does
            not take; by default a common prefix `model.` is taken off.

    Raises:
        FileNotFoundError: no such file, or one of the shards is missing; it is named.
        WeightsError: a file is damaged, holds no weights by name, or there are several to choose
            from.
    """
    path = Path(path)
    files = weight_files(path)
    if files[0].suffix in TORCH_SUFFIXES:
        return TorchSource.open(files[0], ema)
    if ema:
        raise WeightsError(f"{path}: safetensors hold one set of weights; drop the EMA option")
    return SafeSource.open(files, path, named)


def place(
    model: nn.Module,
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
