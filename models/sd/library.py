"""Networks of diffusers and transformers: imported when needed, read strictly, asked quietly."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ..loaders import WeightsError, load_model

WEIGHTS = "diffusion_pytorch_model.safetensors"
EXTRA = "pip install 'millrace[sd]'"


class MissingPackage(RuntimeError):
    """A package of the extra is not installed; the message says how to install it."""


def require(package: str) -> ModuleType:
    """A package of the extra, imported.

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackage(
            f"this model needs the package {package} ({error}); install it with {EXTRA}"
        ) from error


def read_network(kind: Any, folder: Path, device: str, dtype: torch.dtype) -> nn.Module:
    """A network of diffusers, built from config.json without allocating, with exactly its keys.

    Raises:
        FileNotFoundError, WeightsError: a file is missing, damaged or of another network.
    """
    config = read_json(folder / "config.json")
    named = config.get("_class_name", kind.__name__)
    if named != kind.__name__:
        raise WeightsError(
            f"{folder / 'config.json'} is of a {named}, expected {kind.__name__}; "
            "choose the folder of the right part"
        )
    try:
        with quiet(), torch.device("meta"):
            kind.from_config(config)
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"{folder / 'config.json'} describes no {kind.__name__} that can be built: {error}"
        ) from error
    with quiet():
        network: nn.Module = load_model(
            lambda: kind.from_config(config), folder / WEIGHTS, device, dtype
        )
    return network


def read_text(folder: Path, device: str, dtype: torch.dtype) -> tuple[nn.Module, Any]:
    """The CLIP text encoder of a folder, with exactly its keys, and its tokenizer.

    Raises:
        MissingPackage, FileNotFoundError, WeightsError: see `parts.load_sd`.
    """
    transformers = require("transformers")
    place, words = folder / "text_encoder", folder / "tokenizer"
    for file in (place / "config.json", words / "vocab.json", words / "merges.txt"):
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file; check the folder or pull the model")
    with quiet():
        try:
            encoder, report = transformers.CLIPTextModel.from_pretrained(
                str(place), local_files_only=True, output_loading_info=True, dtype=dtype
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise WeightsError(
                f"{place}: cannot be read as a CLIP text encoder: {error}"
            ) from error
        tokenizer = transformers.CLIPTokenizer.from_pretrained(str(words), local_files_only=True)
    faults = [
        f"{kind}: {', '.join(sorted(map(str, report[key]))[:5])}"
        for kind, key in (("missing", "missing_keys"), ("unknown", "unexpected_keys"))
        if report[key]
    ]
    if faults:
        raise WeightsError(f"{place} does not fit CLIPTextModel: {'; '.join(faults)}")
    return frozen(encoder.to(device)), tokenizer


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the libraries print: bars of a moment, and advice on files that are read here
    strictly anyway, where what is wrong is an error."""
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    levels = [logger.level for logger in loggers]
    transformers = sys.modules.get("transformers")
    bars = transformers is not None and transformers.utils.logging.is_progress_bar_enabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    if transformers is not None:
        transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if transformers is not None and bars:
            transformers.utils.logging.enable_progress_bar()


def read_json(file: Path) -> Mapping[str, Any]:
    """
    Raises:
        FileNotFoundError, WeightsError: the file is not there, or holds no settings.
    """
    try:
        content = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{file}: no such file; check the folder or pull the model"
        ) from None
    except ValueError as error:
        raise WeightsError(f"{file}: is no JSON ({error}); please fetch it again") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{file}: holds no settings by name")
    return content


def frozen(module: Any) -> nn.Module:
    """For inference."""
    frozen: nn.Module = module.eval().requires_grad_(False)
    return frozen
