"""Reading weights from files, strictly."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn as nn
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

Model = TypeVar("Model", bound=nn.Module)
Shape = tuple[int, ...]

CONTAINERS = ("generator", "generator_ema", "state_dict")
"""Keys under which training programs nest the weights, in the order of preference."""
PREFIX = "model."
_SHOWN = 5


class WeightsError(ValueError):
    """A file of weights that cannot be read or does not fit; the message says where and why."""


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` or torch (`.pt`, `.pth`) file by name.

    A nested container and a common `model.` prefix are taken off. Code in the file is not run.

    Raises:
        FileNotFoundError: no such file.
        WeightsError: the file is damaged, or is no file of named tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file; check the path or download it")
    with reading(path):
        content: object = load_file(path) if path.suffix == ".safetensors" else mapped(path)
    return named_tensors(content, path)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what libraries raise at a damaged file into a WeightsError that names it."""
    try:
        yield
    except (SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError, OSError) as error:
        raise WeightsError(
            f"{path}: cannot be read as weights ({error}); the file may be damaged, "
            "please fetch it again"
        ) from error


def mapped(path: Path) -> object:
    """What a torch file holds; its tensors are mapped, not read, and none of its code is run."""
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def named_tensors(
    content: object, path: Path, containers: Sequence[str] = CONTAINERS
) -> dict[str, Tensor]:
    """The tensors by name in what a file holds, out of the first of `containers` that is there.

    Raises:
        WeightsError: it holds something else.
    """
    if isinstance(content, Mapping):
        for name in containers:
            if isinstance(content.get(name), Mapping):
                content = content[name]
                break
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path}: holds no weights by name")
    odd = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if odd:
        raise WeightsError(
            f"{path}: {some(odd)} are no tensors; known containers are {', '.join(CONTAINERS)}"
        )
    return {short: content[name] for short, name in without_prefix(content).items()}


def without_prefix(names: Iterable[str]) -> dict[str, str]:
    """Each name without the `model.` that all of them may share -> the name as it stands."""
    every = list(names)
    cut = len(PREFIX) if all(name.startswith(PREFIX) for name in every) else 0
    return {name[cut:]: name for name in every}


def check_weights(module: nn.Module, weights: Mapping[str, Tensor], origin: str) -> None:
    """Raise WeightsError unless names and shapes are exactly those of `module`."""
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    told = differences(expected, found)
    if told:
        raise WeightsError(
            f"{origin} does not fit {type(module).__name__}: {told}. "
            "Choose the spec that these weights were made for."
        )


def differences(expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> str:
    """What is missing, unknown or of another shape, in words; empty when nothing is."""
    faults = {
        "missing": [name for name in expected if name not in found],
        "unknown": [name for name in found if name not in expected],
        "wrong shape": [
            f"{name} is {found[name]}, expected {shape}"
            for name, shape in expected.items()
            if found.get(name, shape) != shape
        ],
    }
    return "; ".join(f"{kind}: {some(names)}" for kind, names in faults.items() if names)


def load_model(
    build: Callable[[], Model],
    path: Path | str,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Model:
    """A module with the weights of a file, for inference, without ever holding random ones.

    Args:
        build: makes the module; it runs on the meta device and allocates nothing.

    Raises:
        FileNotFoundError, WeightsError: see `read_weights` and `check_weights`.
    """
    weights = read_weights(path)
    with torch.device("meta"):
        module = build()
    return assign_weights(module, weights, str(path), device, dtype)


def assign_weights(
    module: Model,
    weights: Mapping[str, Tensor],
    origin: str,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Model:
    """Give a module (on the meta device or not) its weights, for inference.

    Raises:
        WeightsError: they do not fit; `origin` is named in the message.
    """
    check_weights(module, weights, origin)
    ready = {
        name: value.to(device, dtype if value.is_floating_point() else None)
        for name, value in weights.items()
    }
    module.load_state_dict(ready, assign=True)
    return module.eval().requires_grad_(False)


def random_model(
    build: Callable[[], Model], device: torch.device | str, dtype: torch.dtype, seed: int = 0
) -> Model:
    """A module with random weights, for inference: what it costs to run, not what it can do.

    One tensor after another in its final type, so that there is never a second copy.
    """
    generator = torch.Generator(device).manual_seed(seed)
    with torch.device("meta"):
        module = build()
    module.to(dtype).to_empty(device=device)
    for name, parameter in module.named_parameters():
        fan_in = parameter[0].numel() if parameter.dim() > 1 and len(parameter) > 1 else 2500
        bound = (3 / fan_in) ** 0.5  # of deviation 1 / sqrt(fan in), which keeps the scale
        norm = name.endswith("gamma") or ("norm" in name and name.endswith("weight"))
        with torch.no_grad():
            parameter.fill_(1) if norm else parameter.uniform_(-bound, bound, generator=generator)
    return module.eval().requires_grad_(False)


def some(names: Sequence[str]) -> str:
    """The first few of many names."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
