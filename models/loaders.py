"""Reading weights from files, strictly."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn as nn
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

Model = TypeVar("Model", bound=nn.Module)

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
    try:
        if path.suffix == ".safetensors":
            content: object = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise WeightsError(
            f"{path}: cannot be read as weights ({error}); the file may be damaged, "
            "please fetch it again"
        ) from error
    return _named_tensors(content, path)


def _named_tensors(content: object, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        for name in CONTAINERS:
            if isinstance(content.get(name), Mapping):
                content = content[name]
                break
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path}: holds no weights by name")
    odd = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if odd:
        raise WeightsError(
            f"{path}: {_some(odd)} are no tensors; known containers are {', '.join(CONTAINERS)}"
        )
    if all(name.startswith(PREFIX) for name in content):
        return {name[len(PREFIX) :]: value for name, value in content.items()}
    return dict(content)


def check_weights(module: nn.Module, weights: Mapping[str, Tensor], origin: str) -> None:
    """Raise WeightsError unless names and shapes are exactly those of `module`."""
    expected = module.state_dict()
    missing = [name for name in expected if name not in weights]
    extra = [name for name in weights if name not in expected]
    shapes = [
        f"{name} is {tuple(weights[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected
        if name in weights and weights[name].shape != expected[name].shape
    ]
    faults = [
        f"{kind}: {_some(names)}"
        for kind, names in (("missing", missing), ("unknown", extra), ("wrong shape", shapes))
        if names
    ]
    if faults:
        raise WeightsError(
            f"{origin} does not fit {type(module).__name__}: {'; '.join(faults)}. "
            "Choose the spec that these weights were made for."
        )


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


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
