"""What a pass of the transformer costs, counted from its spec. This file imports no torch.

FLOPs are those of matrix products, convolutions and attention, two for a multiplication and its
addition, exactly as `torch.utils.flop_counter` counts them; what is done number by number (norms,
rotations, activations) is not counted, by custom. Bytes are the least that has to come over the
memory bus: each weight once, the keys and values of the past once, what is written of them, and
what goes in and comes out. What a kernel moves besides is its own affair.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

from .specs import ConvStemSpec, DiTSpec


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run of something.

    Attributes:
        flops: see above.
        weights: bytes of weights that are read.
        memory: bytes of what a stream remembers that are read or written.
        passing: bytes that go in and come out.
        parts: the FLOPs by kind.
    """

    flops: int = 0
    weights: int = 0
    memory: int = 0
    passing: int = 0
    parts: dict[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """All that comes over the memory bus."""
        return self.weights + self.memory + self.passing

    @staticmethod
    def total(costs: Iterable[Cost]) -> Cost:
        """Of several things, one after another."""
        every = list(costs)
        parts: dict[str, int] = {}
        for cost in every:
            for name, flops in cost.parts.items():
                parts[name] = parts.get(name, 0) + flops
        return Cost(
            sum(cost.flops for cost in every),
            sum(cost.weights for cost in every),
            sum(cost.memory for cost in every),
            sum(cost.passing for cost in every),
            parts,
        )


class Tally:
    """Adds up layers, each of which sees its positions once.

    Attributes:
        weights: numbers, not bytes.
        parts: FLOPs by kind.
    """

    def __init__(self) -> None:
        self.weights = 0
        self.parts: dict[str, int] = {}

    def layer(self, kind: str, inner: int, outer: int, positions: int, bias: bool = True) -> None:
        """A matrix [inner, outer] (of a convolution: of all its taps) applied at `positions`."""
        self.weights += inner * outer + outer * bias
        self.add(kind, 2 * positions * inner * outer)

    def add(self, kind: str, flops: int) -> None:
        self.parts[kind] = self.parts.get(kind, 0) + flops

    def cost(self, each: int, memory: int, passing: int) -> Cost:
        """Args: numbers of memory and of what passes; `each` is the bytes of a number."""
        kept = {kind: flops for kind, flops in self.parts.items() if flops}
        return Cost(sum(kept.values()), self.weights * each, memory * each, passing * each, kept)


def dit_pass(
    spec: DiTSpec,
    latent: tuple[int, int],
    frames: int,
    each: int,
    *,
    rows: int = 1,
    past: int | None = None,
) -> Cost:
    """One pass of a `CausalDiT` over a chunk of every row, its prompt being read already.

    Args:
        latent: height and width of a latent frame.
        frames: latent frames of a chunk.
        each: bytes of a number.
        rows: of the batch.
        past: latent frames of the past that are looked at; None for all that a full ring holds.

    Raises:
        ValueError: the size is no multiple of the patch.
    """
    past = spec.ring.sinks + spec.ring.window if past is None else past
    tokens = spec.tokens(*latent)
    keys = (past + frames) * tokens
    remembered = keys + frames * tokens + spec.text_len
    return _pass(spec, latent, frames, each, rows, keys, remembered)


def buffer_pass(
    spec: DiTSpec, latent: tuple[int, int], frames: int, each: int, *, rows: int = 1
) -> Cost:
    """One pass of a `CausalDiT` over moving buffers of so many latent frames, their prompts being
    read already. Nothing is remembered but the keys and values of a prompt for each frame.

    Args: see `dit_pass`; `rows` counts those of guidance as well.

    Raises:
        ValueError: the size is no multiple of the patch.
    """
    whole = (frames, latent[0] // spec.patch[1], latent[1] // spec.patch[2])
    keys = frames * spec.tokens(*latent)
    if spec.windows is not None:
        keys = prod(map(min, whole, spec.windows))
    return _pass(spec, latent, frames, each, rows, keys, frames * spec.text_len)


def _pass(
    spec: DiTSpec,
    latent: tuple[int, int],
    frames: int,
    each: int,
    rows: int,
    keys: int,
    remembered: int,
) -> Cost:
    """A pass whose tokens look at `keys` tokens each, and for which the keys and values of so many
    tokens of a row are read or written in every layer."""
    cells = latent[0] * latent[1]
    chunk, frame_rows = rows * frames * spec.tokens(*latent), rows * frames
    channels = spec.in_channels + spec.cond_channels
    tally, dim = Tally(), spec.dim
    if spec.stem is not None:
        _stem(tally, spec.stem, channels, spec, frame_rows, cells)
    _ends(tally, spec, chunk, frame_rows)
    for _ in range(spec.layers):
        _block(tally, spec, chunk)
    tally.add("attention", 4 * chunk * keys * dim * spec.layers)
    tally.add("prompt", 4 * chunk * spec.text_len * dim * spec.layers)
    passing = frame_rows * cells * (channels + spec.out_channels)
    return tally.cost(each, 2 * spec.layers * rows * dim * remembered, passing)


def _ends(tally: Tally, spec: DiTSpec, chunk: int, frames: int) -> None:
    """Patches to tokens, what is made of the timestep, and tokens to patches."""
    dim, patch = spec.dim, spec.patch[1] * spec.patch[2]
    inner, outer = spec.in_channels + spec.cond_channels, spec.out_channels
    if spec.stem is not None:
        inner = outer = spec.stem.width
    tally.layer("products", inner * patch, dim, chunk)
    tally.layer("products", spec.freq_dim, dim, frames)
    tally.layer("products", dim, dim, frames)
    tally.layer("products", dim, 6 * dim, frames)
    tally.weights += 2 * dim
    tally.layer("products", dim, outer * patch, chunk)


def _block(tally: Tally, spec: DiTSpec, chunk: int) -> None:
    """One block but for its attentions: four products of self-attention, the two of
    cross-attention that are not of the prompt, and the MLP."""
    dim = spec.dim
    for _ in range(6):
        tally.layer("products", dim, dim, chunk)
    tally.layer("products", dim, spec.ffn_dim, chunk)
    tally.layer("products", spec.ffn_dim, dim, chunk)
    # Modulation, the norms of queries and keys, that of queries of the prompt, and norm3.
    tally.weights += 6 * dim + 3 * dim + 2 * dim


def _stem(
    tally: Tally, stem: ConvStemSpec, channels: int, spec: DiTSpec, frames: int, cells: int
) -> None:
    """Convolutions before and after the transformer; the last of them has weights of the prompt."""
    width, positions = stem.width, frames * cells
    tally.layer("convolutions", 9 * (channels + 2 * stem.place), width, positions)
    for _ in range(stem.stem_blocks + stem.head_blocks):
        tally.layer("convolutions", 9 * width, width, positions)
        tally.layer("convolutions", spec.dim, 2 * width, frames)
        tally.layer("convolutions", width, width, positions)
    tally.layer("convolutions", 9 * width, spec.out_channels, positions)
    tally.layer("convolutions", width, spec.out_channels, positions)
