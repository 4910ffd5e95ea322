"""Prompts of the causal Wan models: long text embeddings, and the way from one to the next."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..models.specs import DiTSpec
from .controls import Controls
from .prompts import Prompt, PromptLibrary

LEAST = 0.01
"""A text with a smaller share in a mixture is left out."""

Embed = Callable[[str], Tensor]
"""A text to its embedding [text_len, text_dim], rows after its end zero."""
Mixture = dict[str, float]
"""Share of each text, summing to 1."""


def towards(begin: Mixture, goal: str, share: float) -> Mixture:
    """The mixture that has gone `share` (0..1) of the way from `begin` to one text alone."""
    if share >= 1 or not begin:
        return {goal: 1.0}
    mixed = {text: part * (1 - share) for text, part in begin.items()}
    mixed[goal] = mixed.get(goal, 0.0) + share
    kept = {text: part for text, part in mixed.items() if part >= LEAST}
    total = sum(kept.values())
    return {text: part / total for text, part in kept.items()}


@dataclass(eq=False)
class WanWish:
    """The prompt of one stream. A new one takes over step by step, chunk after chunk: only what
    cross-attention reads is exchanged, and the past of the stream stays."""

    _conditioner: WanPrompts
    prompt: Prompt | None = None
    notes: dict[str, object] = field(default_factory=dict)
    _goal: str | None = None
    _begin: Mixture = field(default_factory=dict)
    _now: Mixture = field(default_factory=dict)
    _done: int = 0
    _chunks: int = 0

    def heed(self, controls: Controls) -> bool:
        text = controls.text("prompt")
        changed = text != self._goal
        if changed:
            self._goal, self._begin, self._done = text, self._now, 0
            self._chunks = int(controls.number("transition")) if self._now else 0
        if changed or self._done < self._chunks:
            self._done += 1
            share = self._done / self._chunks if self._chunks else 1.0
            self._now = towards(self._begin, text, share)
            self._renew()
        return changed and bool(self._begin) and controls["new_scene"] is True

    def _renew(self) -> None:
        mixture = self._now
        self.prompt = self._conditioner.prompt(mixture)
        self.notes = (
            {} if len(mixture) == 1 else {"prompt_share": round(mixture[self._goal or ""], 3)}
        )

    def facts(self) -> Any:
        if self._goal is None:
            return None
        return [self._goal, self._begin, self._now, self._done, self._chunks]

    def recall(self, facts: Any) -> None:
        if facts is not None:
            self._goal, self._begin, self._now, self._done, self._chunks = facts
            self._renew()


class WanPrompts:
    """Makes prompts of texts and of mixtures of texts.

    Args:
        embed: what reads a text; asked once for each as long as somebody wants it.
    """

    def __init__(self, embed: Embed) -> None:
        self.library, self._embed = PromptLibrary(), embed

    def wish(self) -> WanWish:
        return WanWish(self)

    def prompt(self, mixture: Mixture) -> Prompt:
        def make() -> Tensor:
            parts = [share * self._embed(text).float() for text, share in mixture.items()]
            return torch.stack(parts).sum(0)

        return self.library.get(sorted(mixture.items()), make)


def random_embed(spec: DiTSpec) -> Embed:
    """A stand-in for a text encoder, for measuring: each text has noise of its own, as long as it
    has words."""

    def embed(text: str) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(text.encode()))
        words = min(max(1, len(text.split())), spec.text_len)
        out = torch.zeros(spec.text_len, spec.text_dim)
        out[:words] = torch.randn(words, spec.text_dim, generator=generator)
        return out

    return embed
