"""The options that put parts of a model into eight bits; both are off unless asked for.

`fp8`: a file of linear layers, made by `millrace bench fp8`. `kv_cache`: how the past is stored.
Loads torch only when called.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.specs import STORES, Store
from .config import ConfigError

if TYPE_CHECKING:
    from ..models.dit import CausalDiT

OPTIONS = ("fp8", "kv_cache")


def store_of(options: Mapping[str, Any]) -> Store:
    """How a stream's past is stored.

    Raises:
        ConfigError: not one of the ways that there are.
    """
    asked = str(options.get("kv_cache", "plain"))
    for store in STORES:
        if asked == store:
            return store
    raise ConfigError(f"kv_cache: {asked!r} is not one of {', '.join(STORES)}")


def narrow(dit: CausalDiT, device: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Put the layers that the option `fp8` names into eight bits; returns what was done, in
    sentences.

    Raises:
        ConfigError: the file cannot be used for these weights, or the device has no such products.
    """
    from ..kernels.fp8_ops import why_not
    from ..models.quantise import ChoiceError, Fp8Choice, put_to_use

    store, told = store_of(options), []
    if store != "plain":
        told.append(f"Past: keys and values are stored in eight bits ({store}), as asked.")
    if file := options.get("fp8"):
        if why := why_not(device):
            raise ConfigError(f"fp8: {why}; leave the option out")
        try:
            choice = Fp8Choice.load(Path(str(file)).expanduser())
            put_to_use(dit, choice)
        except ChoiceError as error:
            raise ConfigError(f"fp8: {error}") from error
        told.append(f"Layers: {choice.told()}, as {file} says.")
        if device == "cpu":
            told.append("Layers: a processor computes eight bits slower than what they stand for.")
    return tuple(told)
