"""Prompts, shared: streams that want the same have one embedding and one set of keys and values."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from ..models.block import Reading
from ..models.bring import bring
from ..models.dit import CausalDiT

MIXTURES = 16
"""Combinations of different prompts in one batch that are kept; they change only when somebody
joins, leaves or changes a prompt."""
MIXTURE_BYTES = 2**30
"""Joined keys and values that are kept at most; a row of the 1.3B model has 94 MB of them in
bfloat16, and while a prompt passes into another each chunk brings a new combination."""


@dataclass(eq=False)
class Prompt:
    """What a chunk is to become.

    Attributes:
        key: a hash of its content.
        context: text embedding [text_len, text_dim].
    """

    key: str
    context: Tensor
    _reading: Reading | None = field(default=None, repr=False)

    def reading(self, dit: CausalDiT) -> Reading:
        """The prompt as the blocks of the (one) model see it, made when first asked for."""
        if self._reading is None:
            weight = dit.patch_embedding.weight
            self._reading = dit.read(bring(self.context[None], weight.device, weight.dtype))
        return self._reading


class PromptLibrary:
    """Prompts in use, by content. One lives as long as a stream or a chunk in flight holds it."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[str, Prompt] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, content: object, make: Callable[[], Tensor]) -> Prompt:
        """The prompt of this content.

        Args:
            content: all that decides the embedding, as JSON knows it.
            make: makes the embedding, if nobody has it.
        """
        key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        prompt = self._known.get(key)
        if prompt is None:
            prompt = self._known[key] = Prompt(key, make())
        return prompt


class Mixtures:
    """Readings of several rows, one prompt a row, joined for one forward."""

    def __init__(self, dit: CausalDiT) -> None:
        self._dit = dit
        self._kept: OrderedDict[tuple[str, ...], Reading] = OrderedDict()

    def of(self, prompts: Sequence[Prompt]) -> Reading:
        """Rows of one prompt share its memory; those of different ones are joined once."""
        keys = tuple(prompt.key for prompt in prompts)
        if len(keys) == 1:
            return prompts[0].reading(self._dit)
        if keys in self._kept:
            self._kept.move_to_end(keys)
            return self._kept[keys]
        one = prompts[0].reading(self._dit).text
        # Rows of one prompt share its memory, whose rows are then counted once too often.
        each = sum(key.nbytes + value.nbytes for key, value in one) * len(prompts)
        most = min(MIXTURES, max(1, MIXTURE_BYTES // max(1, each)))
        while len(self._kept) >= most:
            self._kept.popitem(last=False)
        self._kept[keys] = self._join(prompts)
        return self._kept[keys]

    def _join(self, prompts: Sequence[Prompt]) -> Reading:
        readings = [prompt.reading(self._dit) for prompt in prompts]
        shared = len({prompt.key for prompt in prompts}) == 1

        def rows(parts: Sequence[Tensor]) -> Tensor:
            first = parts[0]
            return first.expand(len(parts), *first.shape[1:]) if shared else torch.cat(list(parts))

        layers = zip(*(reading.text for reading in readings), strict=True)
        text = [
            (rows([key for key, _ in layer]), rows([value for _, value in layer]))
            for layer in layers
        ]
        pooled = rows([reading.pooled for reading in readings])
        return Reading(text, pooled, rows([reading.last for reading in readings]))
