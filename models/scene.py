"""`SceneModel`: pictures from words alone, by the moving buffer.

The same transformer class as everywhere, over the latents of the embedded autoencoder, for scenes
whose words it was trained on. Every word of a prompt gives one context vector: its own, and what
the word before it adds ("on blue" is not "blue"). Words that it never met are handed back by name,
so that the page can say what was not understood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .. import assets
from .block import Reading
from .bring import bring
from .buffer import moving_buffer
from .dit import CausalDiT
from .scene_file import WEIGHTS
from .sigmas import TRAIN_STEPS, Schedule
from .specs import ConvStemSpec, DiTSpec, RingSpec
from .words import STOP_WORDS, Vocabulary, split_words

PICTURES = 8
"""Latent frames of the buffer, one picture each."""
CHUNK = 2
"""Pictures that leave it at a time."""
PLACES = PICTURES // CHUNK
SHIFT = 3.0
"""Of the noise levels, in training and running. Neighbouring latents are much alike, so the whole
of a scene shows through strong noise: most steps belong there."""
FPS = 12.0
"""Pictures a second that motion was learned at."""
MEANT = frozenset(("up", "down", "on", "over", "under", "through"))
"""Stop words that mean something here."""


def scene_schedule(micro_steps: int = 2, places: int = PLACES) -> Schedule:
    """The model's buffer with a choice of steps at each place.

    Args:
        places: chunks that hold noise, 1 to `PLACES`. Fewer are for a given video: it enters at the
            last places, where less noise is, and finished pictures fill the rest of the buffer.
    """
    whole = moving_buffer(0, PLACES, CHUNK, micro_steps, SHIFT)
    levels = whole.levels[-places * micro_steps :]
    return Schedule((PLACES - places) * CHUNK, places, CHUNK, micro_steps, levels)


TINY_SCENE = DiTSpec(
    dim=192,
    ffn_dim=768,
    freq_dim=128,
    text_dim=128,
    text_len=12,
    in_channels=48,
    out_channels=48,
    patch=(1, 2, 2),
    heads=3,
    layers=6,
    eps=1e-6,
    rope_theta=10_000.0,
    prediction="x0",
    cond_channels=0,
    stem=ConvStemSpec(width=64, stem_blocks=1, head_blocks=1, place=True),
    # A buffer has no past but its own frames.
    ring=RingSpec(sinks=0, window=0, positions="relative", sink_threshold=None),
    windows=(8, 4, 4),
)


@dataclass(frozen=True, slots=True)
class Heard:
    """What was made of a prompt.

    Attributes:
        words: those that the model knows and reads, in order.
        unknown: content words that it never met, once each.
    """

    words: tuple[str, ...]
    unknown: tuple[str, ...]


class SceneModel(nn.Module):
    """The transformer, its words, and the measure of its latents.

    Args:
        words: all that count; stop words are left out but for those in `MEANT`.
    """

    known: Tensor
    near: Tensor
    mean: Tensor
    spread: Tensor
    scale: Tensor

    def __init__(self, spec: DiTSpec, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.spec, self.vocabulary = spec, vocabulary
        self.dit = CausalDiT(spec)
        count = len(vocabulary.known) + 1  # Row 0 stands where no word does.
        self.word = nn.Embedding(count, spec.text_dim)
        self.before = nn.Embedding(count, spec.text_dim)
        nn.init.normal_(self.before.weight, std=0.5)
        order = sorted(vocabulary.known)
        self._row = {code: row + 1 for row, code in enumerate(order)}
        self.register_buffer("known", torch.tensor(order, dtype=torch.int64))
        pairs = sorted(vocabulary.near.items())
        self.register_buffer("near", torch.tensor(pairs, dtype=torch.int64).view(-1, 2))
        self.register_buffer("mean", torch.zeros(spec.in_channels))
        self.register_buffer("spread", torch.ones(spec.in_channels))
        self.register_buffer("scale", torch.ones(spec.in_channels))

    # -- words ----------------------------------------------------------------------------------

    def hear(self, prompt: str) -> Heard:
        """What `prompt` asks for; any text is accepted."""
        heard = [word for word in split_words(prompt) if self._counts(word)]
        known = [word for word in heard if self.vocabulary.resolve(word) is not None]
        unknown = dict.fromkeys(w for w in heard if w not in known and not w.isdigit())
        return Heard(tuple(known[: self.spec.text_len]), tuple(unknown))

    @staticmethod
    def _counts(word: str) -> bool:
        return word in MEANT or word not in STOP_WORDS

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """Rows of the tables, int64 [prompts, text_len], 0 behind the last word."""
        rows = []
        for prompt in prompts:
            codes = (self.vocabulary.resolve(word) for word in self.hear(prompt).words)
            row = [self._row[code] for code in codes if code is not None]
            rows.append(row + [0] * (self.spec.text_len - len(row)))
        return bring(torch.tensor(rows, dtype=torch.int64), self.word.weight.device)

    def context(self, tokens: Tensor) -> Tensor:
        """[rows, text_len, text_dim] of tokens [rows, text_len]."""
        before = torch.cat((torch.zeros_like(tokens[:, :1]), tokens[:, :-1]), 1)
        # What no word follows says nothing either.
        return self.word(tokens) + self.before(before) * (tokens > 0)[..., None]

    # -- latents --------------------------------------------------------------------------------

    @torch.no_grad()
    def set_measure(self, mean: Tensor, deviation: Tensor) -> None:
        """Measure latents by the statistics of their channels, [channels] each.

        The autoencoder's first channels are wide (brightness and colour of 8x8 pixels) and its last
        ones narrow (fine detail). They are brought nearer, not level: noise then still covers
        detail first, and what is drawn first is the whole.
        """
        spread = deviation.clamp(min=1e-3).pow(0.6)
        spread = spread * (deviation / spread).max()
        self.mean.copy_(mean)
        self.spread.copy_(spread)
        self.scale.copy_(deviation.clamp(min=1e-3) / spread)

    def measured(self, latents: Tensor) -> Tensor:
        """The autoencoder's latents [..., channels, h, w] as the transformer wants them."""
        return (latents - self.mean[:, None, None]) / self.spread[:, None, None]

    def unmeasured(self, latents: Tensor) -> Tensor:
        """The way back of `measured`."""
        return latents * self.spread[:, None, None] + self.mean[:, None, None]

    # -- running --------------------------------------------------------------------------------

    def denoise(self, x: Tensor, t: Tensor, prompt: Reading) -> Tensor:
        """The clean latents that noisy ones stand for.

        The transformer only says what is missing from the best linear guess of each value, in units
        of how much that is (preconditioning, Karras et al. 2022, arXiv 2206.00364, table 1, here
        for x = (1 - s) clean + s noise). Averages need not be learned, only what they hide.

        Args:
            x: [rows, frames, channels, h, w], measured latents under noise.
            t: [rows, frames], timesteps 0..1000.
            prompt: from `dit.read`.
        """
        skip, rest, inner = (part.to(x.dtype) for part in self.shares(t))
        return skip * x + rest * self.dit.forward_buffer(inner * x, t, prompt)

    def shares(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the linear guess is of x, what it leaves, and what brings x to unit variance:
        [rows, frames, channels, 1, 1] each."""
        noise = (t / TRAIN_STEPS)[..., None]
        clean = (1 - noise) * self.scale
        variance = clean.square() + noise.square()
        skip = clean * self.scale / variance
        rest = noise * self.scale * variance.rsqrt()
        skip, rest, inner = (part[..., None, None] for part in (skip, rest, variance.rsqrt()))
        return skip, rest, inner


def vocabulary_of(words: Sequence[str]) -> Vocabulary:
    """The words that count."""
    return Vocabulary.of(word for word in words if SceneModel._counts(word))


def _built(known: Tensor, near: Tensor) -> SceneModel:
    pairs = [(a, b) for a, b in near.tolist()]
    return SceneModel(TINY_SCENE, Vocabulary(known.tolist(), pairs))


def load_scene(device: str = "cpu", dtype: str = "float32", file: Path | None = None) -> SceneModel:
    """Weights ready to run: those of a file of `save_scene`, or the shipped ones, which are
    checked against the manifest.

    Raises:
        AssetError: the shipped file is missing or altered.
        OSError: there is no such file.
        RuntimeError: it does not fit the spec; the message names the tensors.
    """
    tensors = load_file(file or assets.path(WEIGHTS))
    model = _built(tensors["known"], tensors["near"])
    model.load_state_dict(tensors, strict=True)
    return _ready(model, device, dtype)


def save_scene(model: SceneModel, file: Path) -> None:
    """Writes what `load_scene` reads, floats as float16."""
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in model.state_dict().items()
    }
    save_file(tensors, file)


def random_scene(
    words: Sequence[str], device: str = "cpu", dtype: str = "float32", seed: int = 0
) -> SceneModel:
    """The same network with random weights: its speed, not its pictures."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SceneModel(TINY_SCENE, vocabulary_of(words))
    return _ready(model, device, dtype)


def _ready(model: SceneModel, device: str, dtype: str) -> SceneModel:
    model.dit.channels_last()
    return model.to(device, getattr(torch, dtype)).eval().requires_grad_(False)
