"""Prompts as the Wan models read them, by an encoder whose weights are off the device while idle.

A prompt becomes [512, 4096], rows after its end zero, as the released wrapper gives it. The encoder
has 5.7 billion parameters and is asked once for each new prompt. So its weights stay in the host's
memory (mapped from the file where they can be) and come to the device one block at a time; or all
of them, from `wake` to `park`. A live pipeline need not stand still meanwhile: it may have a prompt
read a few blocks at a time, between two chunks.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .bring import bring
from .parked import Parked
from .specs import UMT5Spec

CACHE_BYTES = 64 * 2**20
"""Embeddings kept, without the rows of zeros: about a hundred long prompts, or a thousand short."""
_STRAIGHT = str.maketrans({"‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"'})


def clean(text: str) -> str:
    """A prompt as the released wrapper gives it to the tokenizer: HTML marks resolved, quotes
    straight, unprintable characters out, white space single. Case stays."""
    text = html.unescape(html.unescape(unicodedata.normalize("NFC", text)))
    text = text.translate(_STRAIGHT)
    text = "".join(c for c in text if c.isspace() or unicodedata.category(c) != "Cc")
    return re.sub(r"\s+", " ", text).strip()


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """A prompt after the encoder.

    Attributes:
        rows: [tokens, dim], on the device, as bringing them to the host would wait for it; the
            rows of zeros after it are left out.
        note: what the viewer must be told, or "": a prompt that is too long is cut.
    """

    rows: Tensor
    note: str


@dataclass(eq=False)
class Underway:
    """A prompt on its way through the encoder.

    Attributes:
        text: cleaned.
        note: see `Embedded`.
        rows: [1, tokens, dim] after the blocks that it has passed.
        passed: how many those are.
    """

    text: str
    note: str
    rows: Tensor
    passed: int = 0


class TextEncoder:
    """Reads prompts.

    Args:
        model: transformers' UMT5EncoderModel, weights on the host.
        tokenizer: transformers' tokenizer of the same model.
        spec: sizes; `text_len` rows are given.
        device: where it computes.
        cache_bytes: of embeddings kept; those used longest ago are dropped.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Callable[..., Any],
        spec: UMT5Spec,
        device: torch.device | str,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.spec, self.device = spec, torch.device(device)
        self._tokenizer = tokenizer
        # The table of words is never moved: a prompt needs a few of its rows.
        self._words = model.get_parameter("shared.weight")
        stack = model.get_submodule("encoder")
        self._blocks = [*stack.get_submodule("block").children()]
        self._blocks.append(stack.get_submodule("final_layer_norm"))
        self._weights = Parked(self._blocks, self.device)
        self._kept: OrderedDict[str, Embedded] = OrderedDict()
        self._cache_bytes, self._held = cache_bytes, 0

    # -- reading --------------------------------------------------------------------------------

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Prompts to [n, text_len, dim] on the device, in the type of the weights.

        A negative prompt is a prompt as any other. Each text is read once, as long as the cache
        holds it; see `note` for what had to be cut.
        """
        found = [self._get(clean(text)) for text in texts]
        shape = (len(texts), self.spec.text_len, self.spec.dim)
        out = torch.zeros(shape, dtype=self._words.dtype, device=self.device)
        for row, embedded in zip(out, found, strict=True):
            row[: len(embedded.rows)] = embedded.rows
        return out

    def __call__(self, text: str) -> Tensor:
        """One prompt, [text_len, dim]."""
        return self.encode([text])[0]

    def note(self, text: str) -> str:
        """What a viewer must be told of this prompt, or ""; the encoder need not have read it."""
        text = clean(text)
        return self._kept[text].note if text in self._kept else self._tokens(text)[1]

    def _get(self, text: str) -> Embedded:
        if text in self._kept:
            self._kept.move_to_end(text)
            return self._kept[text]
        prompt = self._begin(text)
        self._pass(prompt, len(self._blocks))
        return self._keep(prompt)

    # -- reading in parts -----------------------------------------------------------------------

    def begin(self, text: str) -> Underway | None:
        """Begin to read a prompt; None if it is known and `encode` has it at once."""
        text = clean(text)
        return None if text in self._kept else self._begin(text)

    def advance(self, prompt: Underway, blocks: int) -> bool:
        """Take a prompt through some more blocks of the encoder (`spec.layers` and one in all);
        through all of them while it is awake.

        Returns:
            Whether it is done: `encode` then has it at once.
        """
        if prompt.text in self._kept:
            return True  # somebody else wanted the same
        done = self._pass(prompt, len(self._blocks) if self._weights.awake else blocks)
        if done:
            self._keep(prompt)
        return done

    def _begin(self, text: str) -> Underway:
        ids, note = self._tokens(text)
        # Without padding: masked positions change nothing but the time it takes.
        rows = nn.functional.embedding(ids, self._words)[None]
        return Underway(text, note, bring(rows, self.device))

    @torch.no_grad()
    def _pass(self, prompt: Underway, blocks: int) -> bool:
        """Through as many more blocks; whether they were the last."""
        for block in self._blocks[prompt.passed : prompt.passed + blocks]:
            with self._weights.visit(block):
                prompt.rows = block(prompt.rows)
            prompt.passed += 1
        return prompt.passed == len(self._blocks)

    def _keep(self, prompt: Underway) -> Embedded:
        embedded = Embedded(prompt.rows[0], prompt.note)
        self._kept[prompt.text] = embedded
        self._held += embedded.rows.nbytes
        # The one just read stays whatever its size: somebody is about to ask for it.
        while self._held > self._cache_bytes and len(self._kept) > 1:
            self._held -= self._kept.popitem(last=False)[1].rows.nbytes
        return embedded

    def _tokens(self, text: str) -> tuple[Tensor, str]:
        most = self.spec.text_len
        ids = list(self._tokenizer(text)["input_ids"])
        if len(ids) <= most:
            return torch.tensor(ids), ""
        cut = list(self._tokenizer(text, truncation=True, max_length=most)["input_ids"])
        note = (
            f"the prompt has {len(ids)} tokens and the model reads {most}; "
            f"the last {len(ids) - len(cut)} are left out"
        )
        return torch.tensor(cut), note

    @property
    def held_bytes(self) -> int:
        """Of the embeddings kept."""
        return self._held

    # -- the device -----------------------------------------------------------------------------

    def wake(self) -> None:
        """Bring all weights to the device: new prompts are quick from now on."""
        self._weights.wake()

    def park(self) -> None:
        """Give the device's memory back; prompts are read all the same, block by block."""
        self._weights.park()
