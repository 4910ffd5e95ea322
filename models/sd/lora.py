"""LoRA: low-rank changes of a network, loaded from a file, weighted row by row while it runs.

A LoRA is attached as a branch beside each layer that it changes, y = W x + s (alpha / r) B A x, and
the weights stay as they were: two viewers in one batch may want different scales s, and a scale of
0 is the base itself. One that belongs to the model (LCM's) is merged into the weights at load.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from ..loaders import WeightsError, read_weights

_DOWN = (
    ".lora_down.weight",
    ".lora_A.weight",
    ".lora_A.default.weight",
    ".lora.down.weight",
    "_lora.down.weight",
    ".lora_linear_layer.down.weight",
)
_UP = (
    ".lora_up.weight",
    ".lora_B.weight",
    ".lora_B.default.weight",
    ".lora.up.weight",
    "_lora.up.weight",
    ".lora_linear_layer.up.weight",
)
"""Endings of the two factors, as kohya, peft and diffusers of several years name them."""
_ALPHA = ".alpha"
_UNET = ("lora_unet_", "unet.", "base_model.model.", "")
_TEXT = ("lora_te_", "lora_te1_", "text_encoder.")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Factor:
    """One layer's change: weight [r, in, ...], [out, r, ...], and alpha / r."""

    down: Tensor
    up: Tensor
    share: float

    def product(self, shape: torch.Size) -> Tensor:
        """The change of a weight of this shape, float32."""
        up, down = self.up.float().flatten(1), self.down.float().flatten(1)
        return (self.share * (up @ down)).view(shape)


Factors = dict[str, Factor]
"""By the name of the layer."""
Layer = nn.Linear | nn.Conv2d


def read_lora(path: Path | str, unet: nn.Module, text: nn.Module | None) -> tuple[Factors, Factors]:
    """The changes that a file makes to the layers of a UNet and of a text encoder.

    Raises:
        FileNotFoundError: no such file.
        WeightsError: something in the file belongs to no layer, is of another shape, or is not a
            plain LoRA; the message names it. Nothing is skipped.
    """
    tensors = read_weights(path)
    pairs, rest = _pairs(tensors)
    if rest or not pairs:
        raise WeightsError(
            f"{path}: {_some(rest) or 'nothing'} is no part of a plain LoRA (a pair of factors "
            "for each layer); LoHa, LoKr and DoRA files are not taken"
        )
    found: tuple[Factors, Factors] = ({}, {})
    known = _names(unet, _UNET), _names(text, _TEXT) if text is not None else {}
    modules = unet, text or unet
    lost, wrong = [], []
    for name, factor in pairs.items():
        for which, names in enumerate(known):
            if name not in names:
                continue
            weight = _layer(modules[which], names[name]).weight
            if not _fits(weight, factor):
                wrong.append(f"{name} ({_shape(factor)} beside {tuple(weight.shape)})")
            found[which][names[name]] = factor
            break
        else:
            lost.append(name)
    if lost or wrong:
        raise WeightsError(_complaint(path, lost, wrong, len(pairs)))
    return found


def merge(network: nn.Module, factors: Mapping[str, Factor], scale: float = 1.0) -> None:
    """Add changes to the weights for good."""
    for name, factor in factors.items():
        weight = _layer(network, name).weight
        with torch.no_grad():
            change = factor.product(weight.shape).to(weight.device)
            weight.copy_((weight.float() + scale * change).to(weight.dtype))


class Lora:
    """Changes that are attached to networks and run with a weight for each row.

    Args:
        parts: networks, and the changes of their layers.
    """

    def __init__(self, *parts: tuple[nn.Module, Mapping[str, Factor]]) -> None:
        self._scales: Tensor | None = None
        self.layers = sum(len(factors) for _, factors in parts)
        for network, factors in parts:
            for name, factor in factors.items():
                self._attach(_layer(network, name), factor)

    @contextmanager
    def weighted(self, scales: Tensor | None) -> Iterator[None]:
        """Run with these weights, one for each row of the batch ([rows]), or without (None)."""
        self._scales = scales
        try:
            yield
        finally:
            self._scales = None

    def _attach(self, layer: Layer, factor: Factor) -> None:
        weight = layer.weight
        down, up = factor.down.to(weight), (factor.up * factor.share).to(weight)
        if isinstance(layer, nn.Conv2d):
            down = down.view(-1, *weight.shape[1:])
            up = up.view(*up.shape[:2], 1, 1)
        else:
            down, up = down.flatten(1), up.flatten(1)
        layer.register_forward_hook(partial(self._add, down, up))

    def _add(
        self, down: Tensor, up: Tensor, layer: nn.Module, given: tuple[Tensor, ...], output: Tensor
    ) -> Tensor:
        if self._scales is None:
            return output
        x = given[0]
        if isinstance(layer, nn.Conv2d):
            assert not isinstance(layer.padding, str)
            small = functional.conv2d(
                x, down, None, layer.stride, layer.padding, layer.dilation, layer.groups
            )
            change = functional.conv2d(small, up)
        else:
            change = functional.linear(functional.linear(x, down), up)
        return output + change * self._scales.view(-1, *[1] * (output.dim() - 1))


def _pairs(tensors: Mapping[str, Tensor]) -> tuple[Factors, list[str]]:
    """Factors by the layer's name in the file, and the names that are none."""
    downs: dict[str, Tensor] = {}
    ups: dict[str, Tensor] = {}
    alphas: dict[str, Tensor] = {}
    rest = []
    for name, tensor in tensors.items():
        for endings, kept in ((_DOWN, downs), (_UP, ups), ((_ALPHA,), alphas)):
            ending = next((end for end in endings if name.endswith(end)), None)
            if ending is not None:
                kept[_plain(name[: -len(ending)])] = tensor
                break
        else:
            rest.append(name)
    rest += sorted((downs.keys() ^ ups.keys()) | (alphas.keys() - downs.keys()))
    factors = {}
    for name in downs.keys() & ups.keys():
        rank = downs[name].shape[0]
        alpha = float(alphas[name]) if name in alphas else float(rank)
        factors[name] = Factor(downs[name], ups[name], alpha / rank)
    return dict(sorted(factors.items())), rest


def _plain(name: str) -> str:
    """Older files put the factors of attention into its processor."""
    return name.replace(".processor.", ".")


def _names(network: nn.Module, prefixes: tuple[str, ...]) -> dict[str, str]:
    """Every name that a file may have for a layer of the network -> the layer's own."""
    names = {}
    for own, layer in network.named_modules():
        if not isinstance(layer, Layer):
            continue
        # `to_out` is a layer and a dropout; old files name the pair. Text encoders lost a level of
        # their names in newer versions of transformers.
        short = own.removesuffix(".0") if own.endswith("to_out.0") else own
        for name in {own, short, f"text_model.{own}"}:
            for prefix in prefixes:
                flat = prefix.endswith("_")
                names[prefix + (name.replace(".", "_") if flat else name)] = own
    return names


def _layer(network: nn.Module, name: str) -> Layer:
    layer = network.get_submodule(name)
    assert isinstance(layer, Layer)
    return layer


def _fits(weight: Tensor, factor: Factor) -> bool:
    down, up = factor.down, factor.up
    inner = weight.shape[1:].numel()
    outer = up.shape[0] == weight.shape[0] and up[0].numel() == down.shape[0]
    return outer and down[0].numel() == inner


def _shape(factor: Factor) -> str:
    return f"{tuple(factor.up.shape)} x {tuple(factor.down.shape)}"


def _complaint(path: Path | str, lost: list[str], wrong: list[str], count: int) -> str:
    parts = []
    if lost:
        parts.append(f"no such layer: {_some(lost)}")
    if wrong:
        parts.append(f"wrong shape: {_some(wrong)}")
    return (
        f"{path} does not fit this model ({len(lost) + len(wrong)} of {count} changes): "
        f"{'; '.join(parts)}. Choose a LoRA that was made for it."
    )


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
