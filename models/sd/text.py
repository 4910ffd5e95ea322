"""Prompts as a UNet reads them: CLIP's last hidden states, each text encoded once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ...kernels import gaussian_noise
from ..bring import bring
from .cache import Kept
from .library import quiet
from .lora import Lora

PROMPTS = 64
"""Embeddings that are kept; one of 77 x 1024 in bfloat16 has 158 kB."""


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A text and its embedding [tokens, dim].

    Attributes:
        cut: the end of the text that did not fit, or "".
    """

    text: str
    embedding: Tensor
    cut: str = ""


class Prompts(Protocol):
    """From a text to its prompt; the same text gives the same object while it is kept."""

    def get(self, text: str, lora: float = 0.0) -> Prompt: ...


class ClipPrompts:
    """Prompts of a CLIP text encoder.

    Args:
        tokenizer: transformers' CLIPTokenizer.
        encoder: transformers' CLIPTextModel.
        tokens: length that the network was trained with; longer prompts are cut, and say so.
        lora: attached to the encoder, or None.
    """

    def __init__(
        self,
        tokenizer: Callable[..., Any],
        encoder: nn.Module,
        tokens: int,
        lora: Lora | None = None,
    ) -> None:
        self._tokenizer, self._encoder, self._tokens, self._lora = tokenizer, encoder, tokens, lora
        self._kept = Kept[Prompt](PROMPTS)

    def get(self, text: str, lora: float = 0.0) -> Prompt:
        """The prompt of a text.

        Args:
            lora: weight of the LoRA; it may change the encoder as well.
        """
        scale = 0.0 if self._lora is None else lora
        return self._kept.get((text, scale), lambda: self._encode(text, scale))

    def _encode(self, text: str, scale: float) -> Prompt:
        given = self._tokenizer(
            text,
            padding="max_length",
            max_length=self._tokens,
            truncation=True,
            return_tensors="pt",
        )
        device = next(self._encoder.parameters()).device
        ids = bring(given["input_ids"], device)
        if self._lora is None or not scale:
            hidden = self._encoder(ids)[0]
        else:
            with self._lora.weighted(bring(torch.tensor([scale]), device, self._dtype)):
                hidden = self._encoder(ids)[0]
        return Prompt(text, hidden[0], self._cut(text))

    @property
    def _dtype(self) -> torch.dtype:
        return next(self._encoder.parameters()).dtype

    def _cut(self, text: str) -> str:
        with quiet():  # about the very length that is looked at here
            whole = self._tokenizer(text)["input_ids"]
        if len(whole) <= self._tokens:
            return ""
        # The last token of those kept is the end mark.
        rest: str = self._tokenizer.decode(  # type: ignore[attr-defined]
            whole[self._tokens - 1 :], skip_special_tokens=True
        )
        return rest.strip()


class RandomPrompts:
    """Noise in place of embeddings, the same for the same text: speed without looks."""

    def __init__(self, tokens: int, dim: int, device: torch.device, dtype: torch.dtype) -> None:
        self._shape, self._device, self._dtype = (tokens, dim), device, dtype
        self._kept = Kept[Prompt](PROMPTS)

    def get(self, text: str, lora: float = 0.0) -> Prompt:
        return self._kept.get(text, lambda: self._make(text))

    def _make(self, text: str) -> Prompt:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])
        noise = gaussian_noise(seed, 0, 0, self._shape, self._device, torch.float32)
        return Prompt(text, noise.to(self._dtype))
