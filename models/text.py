"""From a free-text prompt to weights over the looks of the shipped model.

A word is the sum of a hashed word embedding and hashed letter-group embeddings; two attention
blocks let words such as "not", "mostly" or "a bit of" act on their neighbours; then every word
votes for looks and the votes are normalised. Words that were never seen cannot vote: they are
handed back by name, so that the page can say what was not understood.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from .words import GRAMS, STOP_WORDS, Vocabulary, letter_groups, split_words

CAMERA = "camera"
MIN_WEIGHT = 0.08
"""Shares below this are dropped: they are doubt of the network, not a wish of the viewer."""


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """Size of a `PromptEncoder`.

    Attributes:
        styles: names of the looks in the order of the weights; "camera" is one of them.
        buckets: rows of the hashed embedding table.
        dim, heads, layers: of the attention blocks.
        max_words: known words that are read; later ones are left out.
    """

    styles: tuple[str, ...]
    buckets: int
    dim: int
    heads: int
    layers: int
    max_words: int


@dataclass(frozen=True, slots=True)
class Understanding:
    """What was made of a prompt.

    Attributes:
        weights: (style, weight), heaviest first, positive, summing to 1.
        unknown: content words that were never seen in training, in order, once each.
        recognised: whether the prompt asked for anything; if not, the weights are camera 1.
    """

    weights: tuple[tuple[str, float], ...]
    unknown: tuple[str, ...]
    recognised: bool

    def sentence(self) -> str:
        """One line for the viewer."""
        if self.recognised:
            text = " + ".join(f"{name} {weight:.0%}" for name, weight in self.weights)
        else:
            text = "no look recognised, showing the camera"
        if self.unknown:
            text += "; not understood: " + ", ".join(self.unknown)
        return text


@dataclass(frozen=True, slots=True)
class Tokens:
    """Prompts as indices.

    Attributes:
        words: [U] table rows of the distinct words.
        grams: [U, G] table rows of their letter groups, -1 for none.
        place: [B, L] which of the U words stands where.
        mask: [B, L] whether one stands there at all.
    """

    words: Tensor
    grams: Tensor
    place: Tensor
    mask: Tensor


class _Block(nn.Module):
    """A pre-norm transformer block whose attention also sees the distance between words."""

    def __init__(self, dim: int, heads: int, reach: int) -> None:
        super().__init__()
        self.heads = heads
        self.reach = reach
        self.norm_attention = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.distance = nn.Parameter(torch.zeros(heads, 2 * reach + 1))
        self.norm_mlp = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 2 * dim)
        self.down = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        rows, length, dim = x.shape
        at = torch.arange(length, device=x.device)
        apart = (at[None, :] - at[:, None]).clamp(-self.reach, self.reach) + self.reach
        bias = self.distance[:, apart] + torch.where(mask, 0.0, -1e4)[:, None, None, :]
        qkv = self.qkv(self.norm_attention(x)).view(rows, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = x + self.out(seen.transpose(1, 2).reshape(rows, length, dim))
        return x + self.down(functional.silu(self.up(self.norm_mlp(x))))


class PromptEncoder(nn.Module):
    """Prompt -> weights over styles and confidence. Weights only; no state, no randomness."""

    known: Tensor
    near: Tensor

    def __init__(self, spec: PromptSpec, vocabulary: Vocabulary) -> None:
        super().__init__()
        if CAMERA not in spec.styles:
            raise ValueError(f"the styles must hold {CAMERA!r}, not only {spec.styles}")
        self.spec = spec
        self.vocabulary = vocabulary
        self.table = nn.Embedding(spec.buckets, spec.dim)
        nn.init.normal_(self.table.weight, std=0.5)
        self.blocks = nn.ModuleList(_Block(spec.dim, spec.heads, 6) for _ in range(spec.layers))
        self.norm = nn.LayerNorm(spec.dim)
        self.vote = nn.Linear(spec.dim, len(spec.styles))
        self.say = nn.Linear(spec.dim, 1)
        self.sure = nn.Linear(spec.dim, 1)
        self.register_buffer("known", torch.tensor(sorted(vocabulary.known), dtype=torch.int64))
        pairs = sorted(vocabulary.near.items())
        self.register_buffer("near", torch.tensor(pairs, dtype=torch.int64).view(-1, 2))

    def tokens(self, prompts: Sequence[Sequence[str]]) -> Tokens:
        """Indices of the known words of prompts that were split into words.

        Unknown words leave no trace; a prompt without known words has an all-false mask.
        """
        distinct: dict[str, int] = {}
        words: list[int] = [0]
        grams: list[tuple[int, ...]] = [()]
        rows: list[list[int]] = []
        for prompt in prompts:
            rows.append([])
            for word in prompt:
                code = self.vocabulary.resolve(word)
                if code is None:
                    continue
                if word not in distinct:
                    distinct[word] = len(words)
                    words.append(code % self.spec.buckets)
                    grams.append(letter_groups(word, self.spec.buckets))
                rows[-1].append(distinct[word])
                if len(rows[-1]) == self.spec.max_words:
                    break
        length = max(1, max((len(row) for row in rows), default=1))
        place = torch.tensor([row + [0] * (length - len(row)) for row in rows])
        filled = torch.tensor([some + (-1,) * (GRAMS - len(some)) for some in grams])
        device = self.table.weight.device
        # Index 0 is no word of the prompts: it fills the gaps and is masked out.
        return Tokens(
            torch.tensor(words, device=device),
            filled.to(device),
            place.to(device),
            (place > 0).to(device),
        )

    def forward(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Weights [B, K], not negative, each row summing to 1, and confidence logits [B]."""
        present = (tokens.grams >= 0).unsqueeze(-1)
        letters = (self.table(tokens.grams.clamp(min=0)) * present).sum(1)
        letters = letters / present.sum(1).clamp(min=1)
        x = (self.table(tokens.words) + letters)[tokens.place]
        for block in self.blocks:
            x = block(x, tokens.mask)
        x = self.norm(x)
        mask = tokens.mask.unsqueeze(-1)
        loudness = functional.softplus(self.say(x)) * mask
        votes = (torch.softmax(self.vote(x), -1) * loudness).sum(1)
        # The camera's own small vote keeps the sum positive and wins where nobody speaks.
        votes = votes + 0.02 * self._camera(votes)
        sure = self.sure(x).masked_fill(~mask, -20.0).amax(1).squeeze(-1)
        return votes / votes.sum(-1, keepdim=True), sure

    def _camera(self, like: Tensor) -> Tensor:
        row = like.new_zeros(len(self.spec.styles))
        row[self.spec.styles.index(CAMERA)] = 1.0
        return row

    @torch.no_grad()
    def understand(self, prompt: str) -> Understanding:
        """What `prompt` asks for; any text is accepted."""
        words = split_words(prompt)
        unknown = [
            word
            for word in words
            if word not in STOP_WORDS
            and not word.isdigit()
            and self.vocabulary.resolve(word) is None
        ]
        tokens = self.tokens([words])
        weights, sure = self(tokens)
        distinct = tuple(dict.fromkeys(unknown))
        if not bool(tokens.mask.any()) or sure.item() < 0:
            return Understanding(((CAMERA, 1.0),), distinct, False)
        pairs = list(zip(self.spec.styles, weights[0].tolist(), strict=True))
        kept = [(name, weight) for name, weight in pairs if weight >= MIN_WEIGHT]
        total = sum(weight for _, weight in kept)
        kept.sort(key=lambda pair: -pair[1])
        return Understanding(tuple((name, weight / total) for name, weight in kept), distinct, True)

    def weights_of(self, understood: Understanding) -> Tensor:
        """[K]: the weights of an understanding in the order of `spec.styles`."""
        row = torch.zeros(len(self.spec.styles))
        for name, weight in understood.weights:
            row[self.spec.styles.index(name)] = weight
        return row


def save_prompt_encoder(encoder: PromptEncoder, path: Path) -> None:
    """Writes spec and weights (as float16) into one safetensors file."""
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in encoder.state_dict().items()
    }
    save_file(tensors, str(path), metadata={"spec": json.dumps(asdict(encoder.spec))})


def load_prompt_encoder(path: Path) -> PromptEncoder:
    """Reads what `save_prompt_encoder` wrote, as float32 on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a prompt encoder.
        RuntimeError: its tensors do not fit its spec.
    """
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata() or {}
        if "spec" not in metadata:
            raise ValueError(f"{path} is not a prompt encoder: it names no spec")
        fields = json.loads(metadata["spec"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    spec = PromptSpec(**{**fields, "styles": tuple(fields["styles"])})
    vocabulary = Vocabulary(
        tensors["known"].tolist(), [(a, b) for a, b in tensors["near"].tolist()]
    )
    encoder = PromptEncoder(spec, vocabulary)
    encoder.load_state_dict(
        {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}, strict=True
    )
    return encoder.eval()
