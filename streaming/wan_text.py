"""Prompts of the causal Wan models: long text embeddings, and the way from one to the next."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from ..models.blends import blend, share_after
from ..models.specs import DiTSpec
from .controls import Controls
from .prompts import Prompt, PromptLibrary

LEAST = 0.01
"""A text with a smaller share in a mixture is left out."""
BLOCKS = 2
"""Of the text encoder that a new prompt passes with each chunk of the stream that wants it: 0.8 GB
of weights that visit the device, so that pictures go on meanwhile."""

Mixture = dict[str, float]
"""Share of each text, summing to 1."""


class Reader(Protocol):
    """What reads texts: `models.umt5.TextEncoder`, or a stand-in."""

    def __call__(self, text: str) -> Tensor:
        """[text_len, text_dim], rows after the end of the text zero."""
        ...

    def note(self, text: str) -> str:
        """What a viewer must be told of it, or ""."""
        ...

    def begin(self, text: str) -> Any:
        """Begin to read it in parts, to be gone on with by `advance`; None if it is known."""
        ...

    def advance(self, prompt: Any, blocks: int) -> bool:
        """Read on; whether it is known now."""
        ...


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
    """The prompt of one stream. A new one is read a bit with each chunk and then takes over step by
    step, chunk after chunk: only what cross-attention reads is exchanged, and the past of the
    stream stays."""

    _conditioner: WanPrompts
    prompt: Prompt | None = None
    notes: dict[str, object] = field(default_factory=dict)
    _wanted: str | None = None
    _underway: Any = None
    _read_for: int = 0
    _goal: str | None = None
    _begin: Mixture = field(default_factory=dict)
    _now: Mixture = field(default_factory=dict)
    _done: int = 0
    _chunks: int = 0

    def heed(self, controls: Controls) -> bool:
        text = controls.text("prompt")
        waited = self._underway is not None
        self._read(text)
        changed = self._underway is None and text != self._goal
        if changed:
            self._goal, self._begin, self._done = text, self._now, 0
            self._chunks = int(controls.number("transition")) if self._now else 0
        if changed or self._done < self._chunks:
            self._done += 1
            share = share_after(self._done, self._chunks)
            self._now = towards(self._begin, self._goal or "", share)
            self._renew()
        elif waited != (self._underway is not None):
            self.notes = self._told()
        return changed and bool(self._begin) and controls["new_scene"] is True

    def _read(self, text: str) -> None:
        reader = self._conditioner.reader
        if text != self._wanted:
            self._wanted = text
            # The first one at once: there is nothing to draw without it.
            self._underway = reader.begin(text) if self._now else None
            self._read_for = 0
        if self._underway is not None:
            self._read_for += 1
            self._read_on(1)

    def _read_on(self, chunks: int) -> None:
        """What is read in so many chunks."""
        if self._conditioner.reader.advance(self._underway, BLOCKS * chunks):
            self._underway = None

    def _renew(self) -> None:
        self.prompt = self._conditioner.prompt(self._now)
        self.notes = self._told()

    def _told(self) -> dict[str, object]:
        goal, told = self._goal or "", dict[str, object]()
        if len(self._now) > 1:
            told["prompt_share"] = round(self._now[goal], 3)
        if note := self._conditioner.reader.note(goal):
            told["prompt_cut"] = note
        if self._underway is not None:
            told["prompt_waits"] = "it is being read"
        return told

    def facts(self) -> Any:
        if self._goal is None:
            return None
        # What is read by now stays here, and is read again there.
        reading = [self._wanted, self._read_for] if self._underway is not None else None
        return [self._goal, self._begin, self._now, self._done, self._chunks, reading]

    def recall(self, facts: Any) -> None:
        if facts is not None:
            self._goal, self._begin, self._now, self._done, self._chunks, reading = facts
            self._wanted = self._goal
            if reading is not None:
                self._wanted, self._read_for = reading
                self._underway = self._conditioner.reader.begin(self._wanted)
                if self._underway is not None:
                    self._read_on(self._read_for)
            self._renew()


class WanPrompts:
    """Makes prompts of texts and of mixtures of texts.

    Args:
        reader: asked for a text when a mixture with it is new.
    """

    def __init__(self, reader: Reader) -> None:
        self.library, self.reader = PromptLibrary(), reader

    def wish(self) -> WanWish:
        return WanWish(self)

    def prompt(self, mixture: Mixture) -> Prompt:
        content = sorted(mixture.items())

        def make() -> Tensor:
            texts = [self.reader(text) for text, _ in content]
            # In float32: shares of bfloat16 would come in steps that can be seen.
            return blend([text.float() for text in texts], [share for _, share in content])

        return self.library.get(content, make)


@dataclass(frozen=True, slots=True)
class RandomReader:
    """A stand-in for a text encoder, for measuring: each text has noise of its own, as long as it
    has words, and is known at once."""

    spec: DiTSpec

    def __call__(self, text: str) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(text.encode()))
        words = min(max(1, len(text.split())), self.spec.text_len)
        out = torch.zeros(self.spec.text_len, self.spec.text_dim)
        out[:words] = torch.randn(words, self.spec.text_dim, generator=generator)
        return out

    def note(self, text: str) -> str:
        return ""

    def begin(self, text: str) -> None:
        return None

    def advance(self, prompt: Any, blocks: int) -> bool:
        return True
