"""Choosing the next token from logits. Repetition counts over recent words of captions alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...kernels.noise import philox

_MASK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        temperature: 0 takes the likeliest; else what logits are divided by.
        seed: of the noise, 64 bits count.
        penalty: positive logits of recent tokens are divided by it, negative ones multiplied
            (CTRL, arXiv 1909.05858, section 4.1); 1 for none.
        recent: how many tokens of the past count as recent.
        ngram: no run of so many tokens occurs twice within the recent ones; 0 for any.
        free: tokens that may always repeat: ends and silence.
    """

    temperature: float = 0.0
    seed: int = 0
    penalty: float = 1.05
    recent: int = 96
    ngram: int = 0
    free: frozenset[int] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature {self.temperature}; expected 0 or more")
        if not self.penalty > 0:
            raise ValueError(f"repetition penalty {self.penalty}; expected more than 0")
        if self.recent < 0 or self.ngram < 0:
            raise ValueError(f"{self.recent} recent tokens, n-grams of {self.ngram}: below 0")


def choose(
    logits: Tensor, said: Sequence[int], settings: Sampling, stream: int = 0, step: int = 0
) -> int:
    """The next token of one stream.

    Args:
        logits: [vocab].
        said: tokens of the captions so far, oldest first, the current one last. Questions and
            pictures do not belong here.
        stream, step: what the noise is a function of beside the seed: a number of the stream and
            one that never repeats within it.
    """
    recent = list(said[-settings.recent :]) if settings.recent else []
    row = logits.detach().double().clone()
    repeated = sorted(set(recent) - settings.free)
    if repeated and settings.penalty != 1:
        index = torch.tensor(repeated, device=row.device)
        old = row[index]
        row[index] = torch.where(old > 0, old / settings.penalty, old * settings.penalty)
    banned = sorted(_closing(recent, settings.ngram) - settings.free)
    if banned:
        row[torch.tensor(banned, device=row.device)] = -torch.inf
    if settings.temperature:
        row = row / settings.temperature + gumbel(settings.seed, stream, step, len(row), row.device)
    return int(row.argmax())


def _closing(recent: Sequence[int], ngram: int) -> set[int]:
    """Tokens that would make the last `ngram` tokens a run that occurred before."""
    if not ngram or len(recent) < ngram:
        return set()
    head = tuple(recent[len(recent) - ngram + 1 :])
    return {
        recent[end]
        for end in range(ngram - 1, len(recent))
        if tuple(recent[end - ngram + 1 : end]) == head
    }


def gumbel(
    seed: int, stream: int, step: int, count: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Gumbel noise, float64 [count]: adding it to logits and taking the largest draws from their
    softmax. A pure function of its arguments, on any device."""
    words = torch.arange((count + 3) // 4, device=device)
    one = torch.ones((), dtype=torch.int64, device=device)
    counter = (words, one * (step & _MASK), one * (stream & _MASK), one * (stream >> 32 & _MASK))
    drawn = philox(counter, (one * (seed & _MASK), one * (seed >> 32 & _MASK)))
    # The middle of each step of 2^-32: never 0 or 1, whose logarithms are infinite or zero.
    uniform = (torch.stack(torch.broadcast_tensors(*drawn), -1).double() + 0.5) * 2.0**-32
    return -(-uniform.log()).log().flatten()[:count]
