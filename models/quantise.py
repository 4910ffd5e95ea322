"""Which linear layers of a transformer run in eight bits: found, kept in a file, put to use.

A group is what has to be of one kind: queries, keys and values of a block, whose products may be
computed together, or a single layer. Embeddings, modulations and the head stay as they are: they
cost little and all that is drawn goes through them, as does what a prompt is read with, once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn as nn

from ..kernels import Fp8Weight, keep_plain
from ..kernels.fp8 import GRAIN
from .block import Block
from .dit import CausalDiT

KIND = "millrace fp8 layers"
FORMAT = 1
Groups = dict[str, tuple[nn.Linear, ...]]


class ChoiceError(ValueError):
    """A file of layers that cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class LayerError:
    """What one group costs in eight bits.

    Attributes:
        local: its own outputs' relative error, on inputs of the plain model.
        whole: the model's outputs' relative error with this group alone in eight bits.
        fp8: whether it runs in eight bits.
    """

    local: float
    whole: float
    fp8: bool


@dataclass(frozen=True, slots=True)
class Fp8Choice:
    """The layers that run in eight bits, and what was measured for them.

    Attributes:
        model: a name, for the reader.
        weights: fingerprint of the weights that it was measured on.
        inputs: what it was measured on, in words.
        limit: relative error of the model's outputs that was asked for.
        error, psnr_db: of the model's outputs with all chosen groups, against the plain model.
        layers: group -> what it costs, for every group that could be in eight bits.
    """

    model: str
    weights: str
    inputs: str
    limit: float
    error: float
    psnr_db: float
    layers: Mapping[str, LayerError]

    @property
    def chosen(self) -> tuple[str, ...]:
        """The groups in eight bits."""
        return tuple(name for name, layer in self.layers.items() if layer.fp8)

    def told(self) -> str:
        """As a sentence."""
        return (
            f"fp8: {len(self.chosen)} of {len(self.layers)} groups of linear layers in eight bits, "
            f"relative error {self.error:.2g} on {self.inputs} (limit {self.limit:g})"
        )

    def save(self, file: Path) -> None:
        """As JSON."""
        layers = {name: asdict(layer) for name, layer in self.layers.items()}
        head = {"kind": KIND, "format": FORMAT}
        own = {
            name: getattr(self, name)
            for name in ("model", "weights", "inputs", "limit", "error", "psnr_db")
        }
        file.write_text(json.dumps(head | own | {"layers": layers}, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, file: Path) -> Fp8Choice:
        """
        Raises:
            ChoiceError: there is no such file, or it is not one of these.
        """
        remedy = "make one with `millrace bench fp8 --out FILE`"
        try:
            told = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ChoiceError(f"{file}: {error}; {remedy}") from error
        if not isinstance(told, dict) or told.get("kind") != KIND:
            raise ChoiceError(f"{file} is not a choice of layers; {remedy}")
        if told.get("format") != FORMAT:
            raise ChoiceError(f"{file} has format {told.get('format')} and not {FORMAT}; {remedy}")
        try:
            layers = {str(name): LayerError(**layer) for name, layer in told["layers"].items()}
            return cls(
                model=str(told["model"]),
                weights=str(told["weights"]),
                inputs=str(told["inputs"]),
                limit=float(told["limit"]),
                error=float(told["error"]),
                psnr_db=float(told["psnr_db"]),
                layers=layers,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ChoiceError(f"{file} is damaged ({error!r}); {remedy}") from error


def groups_of(dit: CausalDiT) -> Groups:
    """Every group that can run in eight bits, in the order in which they run."""
    found: Groups = {}
    for index, entry in enumerate(dit.blocks):
        block = cast(Block, entry)
        own, cross, mlp = block.self_attn, block.cross_attn, list(block.ffn)
        named: dict[str, tuple[nn.Module, ...]] = {
            "self_attn.qkv": (own.q, own.k, own.v),
            "self_attn.o": (own.o,),
            "cross_attn.q": (cross.q,),
            "cross_attn.o": (cross.o,),
            "ffn.0": (mlp[0],),
            "ffn.2": (mlp[2],),
        }
        for name, layers in named.items():
            linears = tuple(cast(nn.Linear, layer) for layer in layers)
            if all(side % GRAIN == 0 for layer in linears for side in layer.weight.shape):
                found[f"blocks.{index}.{name}"] = linears
    return found


def narrow(layers: Sequence[nn.Linear]) -> None:
    """Put layers into eight bits, for good."""
    for layer in layers:
        weight = nn.Parameter(Fp8Weight.of(layer.weight), requires_grad=False)
        keep_plain([weight])
        layer.weight = weight


@contextmanager
def narrowed(layers: Sequence[nn.Linear]) -> Iterator[None]:
    """Layers in eight bits for a while."""
    kept = [layer.weight for layer in layers]
    try:
        narrow(layers)
        yield
    finally:
        for layer, weight in zip(layers, kept, strict=True):
            layer.weight = weight


def fingerprint(dit: CausalDiT) -> str:
    """Of the first block's weights, the same in every type that they may be loaded in."""
    first = cast(Block, dit.blocks[0]).self_attn.q.weight
    codes = first.detach().to("cpu", torch.bfloat16).contiguous().view(torch.uint8)
    shape = f"{len(dit.blocks)} blocks {tuple(first.shape)} "
    return hashlib.sha256(shape.encode() + codes.numpy().tobytes()).hexdigest()[:16]


def put_to_use(dit: CausalDiT, choice: Fp8Choice) -> None:
    """Put the chosen groups into eight bits, for good.

    Raises:
        ChoiceError: it was made for another model or for other weights.
    """
    groups = groups_of(dit)
    strange = sorted({*choice.layers} ^ {*groups})
    if strange:
        raise ChoiceError(
            f"this choice of layers was made for another model ({choice.model}): "
            f"{', '.join(strange[:3])}{' ...' if len(strange) > 3 else ''} are not in both"
        )
    if (found := fingerprint(dit)) != choice.weights:
        raise ChoiceError(
            f"this choice of layers was measured on other weights ({choice.weights}, these are "
            f"{found}); measure again with `millrace bench fp8`"
        )
    narrow([layer for name in choice.chosen for layer in groups[name]])
