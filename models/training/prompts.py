"""Makes the prompt encoder: prompts from templates with the weights they mean, and the training.

The meaning of a prompt is a weight per style that sums to 1, and whether it asked for anything:
"a portrait of my dog" does not, and shows the camera.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from ..text import CAMERA, PromptEncoder, PromptSpec, Vocabulary, split_words
from .phrases import ADJECTIVES, HELD_OUT, LINKS, PHRASES, SUBJECTS
from .styles import STYLES

SINGLE = (
    "{0}",
    "{0} please",
    "{0} style",
    "{0} look",
    "{0} effect",
    "{0} filter",
    "{0} version",
    "in {0}",
    "as {0}",
    "as a {0}",
    "like {0}",
    "like a {0}",
    "with {0}",
    "in the style of {0}",
    "make it {0}",
    "make it look like {0}",
    "make it a {0}",
    "make the {s} {0}",
    "make this {0}",
    "turn me into a {0}",
    "turn the {s} into {0}",
    "turn it into a {0}",
    "I want {0}",
    "i want to see {0}",
    "I would like a {0}",
    "show me {0}",
    "show the {s} as {0}",
    "give it a {0} look",
    "give me {0}",
    "a {0} of my {s}",
    "a {0} of a {s}",
    "a {a} {0} of the {s}",
    "{0} of the {s}",
    "{0} portrait",
    "{0} {s}",
    "{s} in {0}",
    "{s} as {0}",
    "{a} {0}",
    "{a} {a2} {0}",
    "{0}, {a}, {a2}",
    "a {a} {s}, {0}",
    "{s}, {s2}, {0}, {a}",
    "{0} with {a} {s}",
    "the {s} drawn as {0} by the {s2}",
    "the {s} looks like {0}",
    "everything in {0}",
    "go {0}",
    "switch to {0}",
    "change to {0}",
    "use {0}",
    "apply {0}",
    "render as {0}",
    "transform the {s} into {0}",
    "now {0}",
    "can you do {0}",
    "could you make it {0} for me",
    "my {s} should look like {0}",
    "let us try {0}",
    "let my {s} be {0}",
    "do {0}",
    "very {0}",
    "fully {0}",
    "full {0}",
    "strong {0}",
    "totally {0}",
    "100% {0}",
    "out of {0}",
    "from {0}",
    "at {0}",
    "on {0}",
    "made of {0}",
    "made out of {0}",
    "by {0}",
    "{0} everywhere",
    "what would {0} look like",
    "back to {0}",
    "I am in a {0}",
    "it is all {0} and {s}",
    "{0} and a {a} {s}",
    "{s} and {s2}, {0}",
    "{0} only",
)
TWO_NAMES = ("{0} {1}", "{0}, {1}", "{0} with {1}", "a {0} with {1}", "{0} and {1}", "{0} by {1}")
"""Two phrases for the same look."""
EVEN = (
    "{0} and {1}",
    "{0} + {1}",
    "{0} & {1}",
    "{0} / {1}",
    "{0}, {1}",
    "{0} plus {1}",
    "mix of {0} and {1}",
    "a mix of {0} and {1}",
    "mix {0} with {1}",
    "mix {0} and {1}",
    "blend of {0} and {1}",
    "blend {0} and {1}",
    "blend {0} with {1}",
    "combine {0} and {1}",
    "half {0} half {1}",
    "half {0} and half {1}",
    "{0} meets {1}",
    "{0} combined with {1}",
    "{0} together with {1}",
    "both {0} and {1}",
    "between {0} and {1}",
    "{0} crossed with {1}",
    "a {0} that also has {1}",
    "{0} as well as {1}",
    "{0} with {1}",
    "{0} and {1} at the same time",
    "{0} and {1} together",
    "50% {0} 50% {1}",
    "equal parts {0} and {1}",
    "the {s} in {0} and {1}",
    "make it {0} and {1}",
    "{0} and also {1}",
)
UNEVEN = (
    "mostly {0} with a bit of {1}",
    "mostly {0} and a bit of {1}",
    "mostly {0} with some {1}",
    "mostly {0}, a little {1}",
    "mainly {0} with a touch of {1}",
    "mainly {0}, slightly {1}",
    "{0} with a bit of {1}",
    "{0} with a little {1}",
    "{0} with a touch of {1}",
    "{0} with a hint of {1}",
    "{0} with just a hint of {1}",
    "{0} with a dash of {1}",
    "{0} with slight {1}",
    "{0} plus a little {1}",
    "{0} and a little bit of {1}",
    "{0} and slightly {1}",
    "a bit of {1} with mostly {0}",
    "a bit of {1} on {0}",
    "a hint of {1} in {0}",
    "a touch of {1}, mostly {0}",
    "some {1} but mostly {0}",
    "more {0} than {1}",
    "less {1} than {0}",
    "{0} first, some {1}",
    "75% {0} 25% {1}",
    "primarily {0}, subtle {1}",
)
FAINT = (
    "slightly {0}",
    "a bit {0}",
    "a bit of {0}",
    "a little {0}",
    "a little bit of {0}",
    "a touch of {0}",
    "a hint of {0}",
    "just a hint of {0}",
    "subtle {0}",
    "subtly {0}",
    "a subtle {0} effect",
    "light {0} effect",
    "weak {0}",
    "faint {0}",
    "very slightly {0}",
    "only slightly {0}",
    "make it slightly {0}",
    "make the {s} a little {0}",
    "some {0}, but keep it subtle",
    "barely {0}",
)
INSTEAD = (
    "{0} not {1}",
    "{0}, not {1}",
    "{0} but not {1}",
    "{0} but no {1}",
    "{0} without {1}",
    "{0} without any {1}",
    "{0} instead of {1}",
    "{0} rather than {1}",
    "not {1} but {0}",
    "not {1}, {0}",
    "not a {1}, a {0}",
    "no {1}, {0}",
    "no {1} but {0}",
    "no {1}, i want {0}",
    "no more {1}, now {0}",
    "stop the {1} and make it {0}",
    "instead of {1} do {0}",
    "don't do {1}, do {0}",
    "no {1}: {0}",
    "anything but {1}, say {0}",
)
NEVER = (
    "not {0}",
    "no {0}",
    "no {0} please",
    "not a {0}",
    "without {0}",
    "without any {0}",
    "don't make it {0}",
    "do not make it a {0}",
    "do not use {0}",
    "please no {0}",
    "please don't do {0}",
    "stop the {0}",
    "remove the {0}",
    "turn off {0}",
    "anything but {0}",
    "never {0}",
)
PLAIN = (
    "no style",
    "no style at all",
    "no effect",
    "no effects",
    "no filter",
    "without style",
    "without any style",
    "without any effect",
    "without a filter",
    "off",
    "turn it off",
    "turn off the effect",
    "turn everything off",
    "switch it off",
    "switch the filter off",
    "disable all effects",
    "disable the style",
    "remove all effects",
    "remove the filter",
    "stop",
    "none",
    "clear",
    "reset",
    "back to normal",
    "as it is",
    "leave it as it is",
    "leave the {s} alone",
    "leave the {s} as it is",
    "do nothing",
    "don't change anything",
    "do not change the {s}",
    "just me",
    "show me the real {s}",
    "the real {s}",
    "the {s} without any effect",
    "only the camera",
    "keep it real",
)
NEUTRAL = (
    "{s}",
    "{a}",
    "a {a} {s}",
    "my {s}",
    "the {s} and the {s2}",
    "a portrait of my {s}",
    "a {s} by the {s2}",
    "a {a} {s} in the {s2}",
    "hello",
    "hi",
    "hello {s}",
    "test",
    "make it {a}",
    "make it {a} and {a2}",
    "the {s} on the {s2} with a {a} {s}",
    "what is this",
    "please",
    "can you see my {s}",
    "{a}, {a2}",
    "{s}, {s2}, {a}",
    "I want a {s}",
    "turn me into a {s}",
)

NAMES = tuple(style.name for style in STYLES)
LOOKS = tuple(name for name in NAMES if name != CAMERA)
SPEC = PromptSpec(styles=NAMES, buckets=8192, dim=80, heads=4, layers=2, max_words=64)


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
        return _fill(rng, rng.choice(SINGLE), _say(rng, first)), {first: 1.0}, True
    if sort < 0.44:
        return _fill(rng, rng.choice(TWO_NAMES), one, _say(rng, first)), {first: 1.0}, True
    if sort < 0.58:
        return _fill(rng, rng.choice(EVEN), one, two), {first: 0.5, second: 0.5}, True
    if sort < 0.69:
        return _fill(rng, rng.choice(UNEVEN), one, two), {first: 0.75, second: 0.25}, True
    if sort < 0.75:
        return _fill(rng, rng.choice(FAINT), one), {first: 0.35, CAMERA: 0.65}, True
    if sort < 0.81:
        return _fill(rng, rng.choice(INSTEAD), one, two), {first: 1.0}, True
    if sort < 0.85:
        return _fill(rng, rng.choice(NEVER), one), {CAMERA: 1.0}, True
    if sort < 0.88:
        return _fill(rng, rng.choice(PLAIN)), {CAMERA: 1.0}, True
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
    return _fill(rng, rng.choice(NEUTRAL)), {CAMERA: 1.0}, False


def _slip(rng: random.Random, word: str) -> str:
    """A typing error: a letter lost, doubled or two letters swapped; never the first one."""
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return word[:at] + word[at + 1 :]
    if kind == 1:
        return word[:at] + word[at] + word[at:]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def examples(seed: int) -> Iterator[Example]:
    """Endless prompts with their meaning, the same for the same seed."""
    rng = random.Random(seed)
    while True:
        text, meaning, asks = _compose(rng)
        words = split_words(text)
        if asks and rng.random() < 0.2:
            around = split_words(_fill(rng, rng.choice(NEUTRAL[:6])))
            words = [*around, ",", *words] if rng.random() < 0.5 else [*words, ",", *around]
        if rng.random() < 0.35:
            # Words without meaning may stand anywhere and must not be taken for a wish.
            for _ in range(rng.randint(1, 4)):
                words.insert(rng.randint(0, len(words)), rng.choice(_ANYWHERE))
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
    groups = (SINGLE, TWO_NAMES, EVEN, UNEVEN, FAINT, INSTEAD, NEVER, PLAIN, NEUTRAL)
    for template in (t for group in groups for t in group):
        bare = template.format("", "", s="", s2="", a="", a2="")
        words.update(split_words(bare))
    return Vocabulary.of(words)


def train_prompt_encoder(
    seed: int = 0,
    steps: int = 2500,
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
    stream = examples(seed)
    for index in range(1, steps + 1):
        rows = [next(stream) for _ in range(batch)]
        target = torch.zeros(batch, len(NAMES))
        for row, example in enumerate(rows):
            for name, weight in example.meaning.items():
                target[row, NAMES.index(name)] = weight
        asks = torch.tensor([float(example.asks) for example in rows])
        weights, sure = encoder(encoder.tokens([example.words for example in rows]))
        loss = -(target * (weights + 1e-6).log()).sum(1)
        loss = loss + (target * (target + 1e-6).log()).sum(1)
        doubt = functional.binary_cross_entropy_with_logits(sure, asks)
        total = (loss * (0.2 + 0.8 * asks)).mean() + 0.3 * doubt
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress(index, total.item())
    return encoder.eval()


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
