"""Makes the prompt encoder: prompts from templates with the weights they mean, and the training.

The meaning of a prompt is a weight per style that sums to 1, and whether it asked for anything:
"a portrait of my dog" does not, and shows the camera.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..text import CAMERA, PromptEncoder, PromptSpec
from ..words import Vocabulary, split_words
from . import templates
from .heldout_prompts import HELD_OUT
from .phrases import ADJECTIVES, LINKS, PHRASES, SUBJECTS
from .styles import STYLES

NAMES = tuple(style.name for style in STYLES)
LOOKS = tuple(name for name in NAMES if name != CAMERA)
SPEC = PromptSpec(styles=NAMES, buckets=8192, dim=80, heads=4, layers=2, max_words=128)


_LONG_EVERY = 16
_ANYWHERE = SUBJECTS + ADJECTIVES + 2 * LINKS


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt in words, what it means, and whether it asks for anything."""

    words: tuple[str, ...]
    meaning: dict[str, float]
    asks: bool


def _fill(rng: random.Random, template: str, *phrases: str) -> str:
    return template.format(
        *phrases,
        s=rng.choice(SUBJECTS),
        s2=rng.choice(SUBJECTS),
        a=rng.choice(ADJECTIVES),
        a2=rng.choice(ADJECTIVES),
    )


def _say(rng: random.Random, style: str) -> str:
    """One way to name a style; its plain name comes up more often than any other."""
    if rng.random() < 0.15:
        return style
    return rng.choice(PHRASES[style])


def _compose(rng: random.Random) -> tuple[str, dict[str, float], bool]:
    """A prompt of a random sort, its meaning, and whether it asks for anything."""
    first, second, third = rng.sample(LOOKS, 3)
    one, two = _say(rng, first), _say(rng, second)
    sort = rng.random()
    if sort < 0.36:
        first = rng.choice(NAMES)
        return _fill(rng, rng.choice(templates.SINGLE), _say(rng, first)), {first: 1.0}, True
    if sort < 0.44:
        return (
            _fill(rng, rng.choice(templates.TWO_NAMES), one, _say(rng, first)),
            {first: 1.0},
            True,
        )
    if sort < 0.58:
        return _fill(rng, rng.choice(templates.EVEN), one, two), {first: 0.5, second: 0.5}, True
    if sort < 0.69:
        return _fill(rng, rng.choice(templates.UNEVEN), one, two), {first: 0.75, second: 0.25}, True
    if sort < 0.75:
        return _fill(rng, rng.choice(templates.FAINT), one), {first: 0.35, CAMERA: 0.65}, True
    if sort < 0.81:
        return _fill(rng, rng.choice(templates.INSTEAD), one, two), {first: 1.0}, True
    if sort < 0.85:
        return _fill(rng, rng.choice(templates.NEVER), one), {CAMERA: 1.0}, True
    if sort < 0.88:
        return _fill(rng, rng.choice(templates.PLAIN)), {CAMERA: 1.0}, True
    if sort < 0.91:
        share = rng.randint(1, 9)
        text = rng.choice(("{2}% {0} {3}% {1}", "{2}% {0} and {3}% {1}", "{2}% {0}, {3}% {1}"))
        text = text.format(one, two, share * 10, 100 - share * 10)
        return text, {first: share / 10, second: 1 - share / 10}, True
    if sort < 0.94:
        text = rng.choice(("{0}, {1} and {2}", "{0} + {1} + {2}", "mix of {0}, {1} and {2}"))
        return (
            text.format(one, two, _say(rng, third)),
            dict.fromkeys((first, second, third), 1 / 3),
            True,
        )
    return _fill(rng, rng.choice(templates.NEUTRAL)), {CAMERA: 1.0}, False


def _slip(rng: random.Random, word: str) -> str:
    """A typing error: a letter lost, doubled or two letters swapped; never the first one."""
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return word[:at] + word[at + 1 :]
    if kind == 1:
        return word[:at] + word[at] + word[at:]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _pad(rng: random.Random, words: list[str], count: int) -> list[str]:
    """Words without meaning put in anywhere: they must not be taken for a wish."""
    words = list(words)
    for _ in range(count):
        words.insert(rng.randint(0, len(words)), rng.choice(_ANYWHERE))
    return words


def examples(seed: int) -> Iterator[Example]:
    """Endless prompts with their meaning, the same for the same seed."""
    rng = random.Random(seed)
    while True:
        text, meaning, asks = _compose(rng)
        words = split_words(text)
        if asks and rng.random() < 0.2:
            around = split_words(_fill(rng, rng.choice(templates.NEUTRAL[:6])))
            words = [*around, ",", *words] if rng.random() < 0.5 else [*words, ",", *around]
        if rng.random() < 0.35:
            words = _pad(rng, words, rng.randint(1, 4))
        if rng.random() < 0.1:
            words = [_slip(rng, w) if len(w) > 4 and rng.random() < 0.4 else w for w in words]
        # A lost filler word must not change the meaning.
        words = [w for w in words if w not in ("a", "the", "it", "of", "my") or rng.random() < 0.8]
        yield Example(tuple(words), meaning, asks)


def vocabulary() -> Vocabulary:
    """Every word of the phrases and templates, and nothing else."""
    words: set[str] = set(_ANYWHERE) | set(NAMES)
    words.update(str(share * 10) for share in range(1, 10))
    for phrases in PHRASES.values():
        words.update(word for phrase in phrases for word in split_words(phrase))
    for template in (t for group in templates.ALL for t in group):
        bare = template.format("", "", s="", s2="", a="", a2="")
        words.update(split_words(bare))
    return Vocabulary.of(words)


def train_prompt_encoder(
    seed: int = 0,
    steps: int = 2000,
    progress: Callable[[int, float], None] | None = None,
    batch: int = 96,
) -> PromptEncoder:
    """Trains a `PromptEncoder` on the CPU, the same weights for the same seed.

    Args:
        seed: of the weights and of the prompts.
        steps: optimiser steps of `batch` prompts.
        progress: called after every step with its number from 1 and its loss.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = PromptEncoder(SPEC, vocabulary())
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 3e-3, total_steps=max(steps, 2), pct_start=0.1
    )
    stream, rng = examples(seed), random.Random(seed)
    for index in range(1, steps + 1):
        rows = [next(stream) for _ in range(batch)]
        prompts = [list(example.words) for example in rows]
        if index % _LONG_EVERY == 0:
            # Whole batches of long prompts: one among short ones would pad them all.
            prompts = [_pad(rng, words, rng.randint(20, 60)) for words in prompts]
        total = _loss(encoder, prompts, rows)
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress(index, total.item())
    return encoder.eval()


def _loss(
    encoder: PromptEncoder, prompts: Sequence[Sequence[str]], rows: Sequence[Example]
) -> Tensor:
    """Divergence of the weights from what is meant, and doubt whether anything is asked.

    Args:
        prompts: the words of the examples, with what was put among them.
    """
    target = torch.zeros(len(rows), len(NAMES))
    for row, example in enumerate(rows):
        for name, weight in example.meaning.items():
            target[row, NAMES.index(name)] = weight
    asks = torch.tensor([float(example.asks) for example in rows])
    weights, sure = encoder(encoder.tokens(prompts))
    loss = -(target * (weights + 1e-6).log()).sum(1)
    loss = loss + (target * (target + 1e-6).log()).sum(1)
    doubt = functional.binary_cross_entropy_with_logits(sure, asks)
    # Prompts that ask for nothing teach no votes, or their words would vote for the camera.
    return (loss * asks).mean() + 0.3 * doubt


@dataclass(frozen=True, slots=True)
class Score:
    """How the hand-written prompts fare.

    Attributes:
        top1: part of the prompts whose heaviest style is the expected one (either one in an even
            blend), and that name every expected style.
        error: mean absolute error of the weights of the expected styles.
        wrong: (prompt, sentence) of the others.
    """

    top1: float
    error: float
    wrong: tuple[tuple[str, str], ...]


def score(encoder: PromptEncoder) -> Score:
    """Judges an encoder on `HELD_OUT`."""
    wrong = []
    errors = []
    for prompt, expected in HELD_OUT:
        understood = encoder.understand(prompt)
        got = dict(understood.weights)
        heaviest = max(expected.values())
        leaders = {name for name, weight in expected.items() if weight == heaviest}
        if understood.weights[0][0] not in leaders or not set(expected) <= set(got):
            wrong.append((prompt, understood.sentence()))
        errors += [abs(got.get(name, 0.0) - weight) for name, weight in expected.items()]
    return Score(1 - len(wrong) / len(HELD_OUT), sum(errors) / len(errors), tuple(wrong))
