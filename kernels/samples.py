"""A call of every operation, in the sizes of a model: what `millrace bench kernels` measures.

An operation is given its samples here by `@samples(name)`; a test holds that none is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .dispatch import TABLE
from .quantise import quantise
from .rope import axis_pairs, turns

PARTS = 4
"""That attention is dealt out to, in the sample of merging them."""


@dataclass(frozen=True, slots=True)
class Work:
    """One pass of a transformer over a chunk, and the picture that it belongs to.

    Attributes:
        rows: streams in the batch.
        frames: latent frames of a chunk.
        grid: height and width of a frame in tokens.
        dim, inner, heads: width of the transformer, of its MLP, and number of heads.
        texts: tokens of a prompt.
        sinks, slots: of the ring; a chunk's own slots among them.
        channels: of a convolution at the resolution of the latents.
        latent: channels, height and width of a latent frame.
        picture: height and width in pixels.
        dtype, device: of weights and activations.
    """

    rows: int
    frames: int
    grid: tuple[int, int]
    dim: int
    inner: int
    heads: int
    texts: int
    sinks: int
    slots: int
    channels: int
    latent: tuple[int, int, int]
    picture: tuple[int, int]
    dtype: torch.dtype
    device: torch.device

    @property
    def tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads


@dataclass(frozen=True, slots=True)
class Sample:
    """One call.

    Attributes:
        op: the operation.
        label: which of the calls of a pass this is.
        arguments: of the reference, by position.
        flops: two for each multiplication and its addition in products; 0 where there are none.
        moved: least bytes over the memory bus; None: all arguments once and all results once.
    """

    op: str
    label: str
    arguments: tuple[Any, ...]
    flops: int = 0
    moved: int | None = None


class Draw:
    """Numbers of a stated seed, in the type and on the device of some work."""

    def __init__(self, work: Work, seed: int = 0) -> None:
        self._dtype, self._device = work.dtype, work.device
        # Drawn on the processor, so that every device is given the same.
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Normal values."""
        values = torch.randn(shape, generator=self._generator)
        return values.to(self._device, dtype or self._dtype)

    def weight(self, *shape: int) -> Tensor:
        """Normal values that keep the length of what they are multiplied with."""
        return self(*shape) / math.sqrt(math.prod(shape[1:]))

    def numbers(self, stop: int, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        """Whole numbers below `stop`."""
        drawn = torch.randint(stop, shape, generator=self._generator)
        return drawn.to(self._device, dtype)

    def turns(self, *shape: int) -> Tensor:
        """Rotations [*shape, 2] by any angle."""
        return turns(self(*shape, dtype=torch.float32), torch.float32)


Maker = Callable[[Work, Draw], Iterator[tuple[str, tuple[Any, ...], int, int | None]]]
MAKERS: dict[str, Maker] = {}


def samples(op: str) -> Callable[[Maker], Maker]:
    """Register the decorated function as what gives the samples of an operation.

    It yields label, arguments, FLOPs and bytes, see `Sample`.
    """

    def register(maker: Maker) -> Maker:
        MAKERS[op] = maker
        return maker

    return register


def samples_of(op: str, work: Work, seed: int = 0) -> list[Sample]:
    """The calls of one operation.

    Raises:
        KeyError: there is no such operation.
    """
    TABLE[op]
    return [Sample(op, *made) for made in MAKERS[op](work, Draw(work, seed))]


def _chunk(work: Work, draw: Draw) -> Tensor:
    return draw(work.rows, work.frames, work.tokens, work.dim)


def _heads(work: Work, draw: Draw) -> Tensor:
    return draw(work.rows, work.frames, work.tokens, work.heads, work.head_dim)


def _each_frame(work: Work, draw: Draw) -> Tensor:
    return draw(work.rows, work.frames, 1, work.dim)


def _size(*tensors: Tensor) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _ring(work: Work, draw: Draw) -> Tensor:
    return draw(work.rows, work.slots, work.tokens, work.heads, work.head_dim)


def _places(work: Work, draw: Draw) -> Tensor:
    last = torch.arange(work.slots - work.frames, work.slots, device=work.device)
    return last.expand(work.rows, -1).contiguous()


@samples("rms_norm")
def _rms_norm(work: Work, draw: Draw) -> Iterator[Any]:
    yield "queries", (_chunk(work, draw), draw(work.dim), 1e-6), 0, None


@samples("modulated_layer_norm")
def _modulated(work: Work, draw: Draw) -> Iterator[Any]:
    frame = _each_frame(work, draw), _each_frame(work, draw)
    yield "before attention", (_chunk(work, draw), *frame, 1e-6), 0, None


@samples("gated_residual")
def _gated(work: Work, draw: Draw) -> Iterator[Any]:
    both = _chunk(work, draw), _chunk(work, draw)
    yield "after attention", (*both, _each_frame(work, draw)), 0, None


@samples("modulated_layer_norm_e4m3")
def _modulated_e4m3(work: Work, draw: Draw) -> Iterator[Any]:
    frame = _each_frame(work, draw), _each_frame(work, draw)
    yield "before the MLP", (_chunk(work, draw), *frame, 1e-6), 0, None


@samples("gated_residual_norm")
def _gated_norm(work: Work, draw: Draw) -> Iterator[Any]:
    both = _chunk(work, draw), _chunk(work, draw)
    three = tuple(_each_frame(work, draw) for _ in range(3))
    yield "after the MLP", (*both, *three, 1e-6, True), 0, None
    plain = draw(work.dim), draw(work.dim)
    yield "after attention", (*both, three[0], *plain, 1e-6, False), 0, None


@samples("rope")
def _rope(work: Work, draw: Draw) -> Iterator[Any]:
    turn = draw.turns(1, work.frames, work.tokens, 1, work.head_dim // 2)
    yield "queries", (_heads(work, draw), turn), 0, None


@samples("linear")
def _linear(work: Work, draw: Draw) -> Iterator[Any]:
    count, dim, inner = work.rows * work.frames * work.tokens, work.dim, work.inner
    x, residual = _chunk(work, draw), _chunk(work, draw)
    wide = draw(work.rows, work.frames, work.tokens, inner)
    out, up, down = draw.weight(dim, dim), draw.weight(inner, dim), draw.weight(dim, inner)
    yield "attention out", (x, out, draw(dim), "none", None), 2 * count * dim * dim, None
    yield "mlp in, gelu", (x, up, draw(inner), "gelu", None), 2 * count * dim * inner, None
    last = (wide, down, draw(dim), "none", residual)
    yield "mlp out, residual", last, 2 * count * dim * inner, None


@samples("quantise_rows")
def _quantise_rows(work: Work, draw: Draw) -> Iterator[Any]:
    yield "before attention", (_chunk(work, draw),), 0, None
    wide = draw(work.rows, work.frames, work.tokens, work.inner)
    yield "mlp out", (wide,), 0, None


@samples("fp8_product")
def _fp8_product(work: Work, draw: Draw) -> Iterator[Any]:
    count, dim, inner = work.rows * work.frames * work.tokens, work.dim, work.inner
    weight = quantise(draw.weight(inner, dim), torch.float8_e4m3fn)
    rows = quantise(_chunk(work, draw), torch.float8_e4m3fn)
    yield "mlp in", (rows, weight, draw(inner), work.dtype), 2 * count * dim * inner, None


def _projections(work: Work, draw: Draw) -> tuple[Any, ...]:
    dim = work.dim
    weight = tuple(draw.weight(dim, dim) for _ in range(3))
    bias, norm = tuple(draw(dim) for _ in range(3)), tuple(draw(dim) for _ in range(2))
    turn = draw.turns(1, work.frames, work.tokens, 1, work.head_dim // 2)
    return _chunk(work, draw), weight, bias, norm, turn, 1e-6


def _projection_flops(work: Work) -> int:
    return 6 * work.rows * work.frames * work.tokens * work.dim**2


@samples("query_key_value")
def _query_key_value(work: Work, draw: Draw) -> Iterator[Any]:
    yield "self-attention", _projections(work, draw), _projection_flops(work), None


@samples("ring_write")
def _ring_write(work: Work, draw: Draw) -> Iterator[Any]:
    new, ring = _heads(work, draw), _ring(work, draw)
    yield "keys", (ring, new, _places(work, draw), None, None), 0, 2 * _size(new)


def _into_ring(work: Work, draw: Draw) -> tuple[Any, ...]:
    """Where keys and values go: ring, slots, mask, rows, scales."""
    return (_ring(work, draw), _ring(work, draw)), _places(work, draw), None, None, None


@samples("turn_keys")
def _turn_keys(work: Work, draw: Draw) -> Iterator[Any]:
    pairs = axis_pairs(work.head_dim)[0]
    keys, turn = _ring(work, draw)[None], draw.turns(work.rows, work.slots, pairs)
    moved = 2 * _size(keys) * 2 * pairs // work.head_dim
    yield "a layer's ring", (keys, turn, None, None), 0, moved


@samples("project_into_ring")
def _project_into_ring(work: Work, draw: Draw) -> Iterator[Any]:
    first = _projections(work, draw)
    x, weight = first[:2]
    moved = 4 * _size(x) + _size(*weight) + _size(first[4])
    arguments = (*first, *_into_ring(work, draw))
    yield "self-attention", arguments, _projection_flops(work), moved


@samples("norm_rope_write")
def _norm_rope_write(work: Work, draw: Draw) -> Iterator[Any]:
    products = tuple(_chunk(work, draw) for _ in range(3))
    _, _, _, norm, turn, eps = _projections(work, draw)
    moved = 2 * _size(*products) + _size(turn)
    yield "self-attention", (products, norm, turn, eps, *_into_ring(work, draw)), 0, moved


@samples("ring_attention")
def _ring_attention(work: Work, draw: Draw) -> Iterator[Any]:
    query = _heads(work, draw).flatten(1, 2)
    key, value = _ring(work, draw), _ring(work, draw)
    turn = draw.turns(work.rows, work.sinks, axis_pairs(work.head_dim)[0])
    flops = 4 * work.rows * query.shape[1] * work.slots * work.tokens * work.dim
    for label, seen in (("full ring", work.slots), ("half full", (work.slots + 1) // 2)):
        valid = torch.zeros(work.rows, work.slots, dtype=torch.bool, device=work.device)
        valid[:, work.slots - seen :] = True
        share = seen / work.slots
        moved = 2 * _size(query) + int(share * _size(key, value))
        arguments = (query, key, value, valid, turn if work.sinks else None, None)
        yield label, arguments, int(share * flops), moved
    valid, moved = torch.ones_like(valid), 2 * _size(query) + _size(key, value)
    turn_or_none = turn if work.sinks else None
    yield "promised full", (query, key, value, valid, turn_or_none, None, True), flops, moved
    (keys, key_scale), (values, value_scale) = (quantise(x, torch.int8) for x in (key, value))
    scales = (key_scale, value_scale)
    moved = 2 * _size(query) + _size(keys, values, *scales)
    arguments = (query, keys, values, valid, turn_or_none, None, False, scales)
    yield "eight bits", arguments, flops, moved


@samples("attention")
def _attention(work: Work, draw: Draw) -> Iterator[Any]:
    query, key, value = (_heads(work, draw).flatten(1, 2) for _ in range(3))
    flops = 4 * work.rows * query.shape[1] * key.shape[1] * work.dim
    yield "a chunk over itself", (query, key, value, None), flops, None


@samples("merge_attention")
def _merge_attention(work: Work, draw: Draw) -> Iterator[Any]:
    shape = (PARTS, work.rows, work.frames * work.tokens, work.heads)
    most, mixed = (
        draw(*shape, dtype=torch.float32),
        draw(*shape, work.head_dim, dtype=torch.float32),
    )
    total = draw(*shape, dtype=torch.float32).abs() + 1
    yield f"{PARTS} parts", (most, total, mixed), 0, None


@samples("prompt_attention")
def _prompt_attention(work: Work, draw: Draw) -> Iterator[Any]:
    dim, tokens = work.dim, work.frames * work.tokens
    x, residual = (draw(work.rows, tokens, dim) for _ in range(2))
    key, value = (draw(work.rows, work.texts, work.heads, work.head_dim) for _ in range(2))
    query, out = ((draw.weight(dim, dim), draw(dim)) for _ in range(2))
    flops = 4 * work.rows * tokens * dim * (dim + work.texts)
    yield "a chunk", (x, residual, query, draw(dim), 1e-6, key, value, out), flops, None


@samples("conv2d")
def _conv2d(work: Work, draw: Draw) -> Iterator[Any]:
    (height, width), channels = work.latent[1:], work.channels
    image = draw(work.rows * work.frames, channels, height, width)
    image = image.contiguous(memory_format=torch.channels_last)
    weight, bias = draw.weight(channels, channels * 9), draw(channels)
    flops = 2 * len(image) * height * width * 9 * channels**2
    yield "3x3, silu", (image, weight, bias, (3, 3), False, "silu", None), flops, None
    residual = draw(*image.shape).contiguous(memory_format=torch.channels_last)
    added = (image, weight, bias, (3, 3), False, "relu", residual)
    yield "3x3, residual, relu", added, flops, None


@samples("causal_clip")
def _causal_clip(work: Work, draw: Draw) -> Iterator[Any]:
    (height, width), channels = work.latent[1:], work.channels
    x, past = (draw(work.rows, count, height, width, channels) for count in (4, 2))
    yield "norm, silu", (x, past, None, draw(channels), 1e-24), 0, _size(x, x, past, past, past)


@samples("memory_conv")
def _memory_conv(work: Work, draw: Draw) -> Iterator[Any]:
    (height, width), channels = work.latent[1:], work.channels
    x, past = (draw(work.rows, count, height, width, channels) for count in (4, 1))
    weight = draw.weight(channels, 2 * channels, 3, 3)
    flops = 2 * work.rows * 4 * height * width * 9 * 2 * channels**2
    yield "four frames", (x, weight, draw(channels), past, None), flops, None


@samples("upsampled_conv")
def _upsampled_conv(work: Work, draw: Draw) -> Iterator[Any]:
    (height, width), channels = work.latent[1:], work.channels
    image = draw(work.rows * work.frames, 2 * channels, height, width)
    image = image.contiguous(memory_format=torch.channels_last)
    weight, bias = draw.weight(channels, 2 * channels, 3, 3), draw(channels)
    flops = 2 * len(image) * 4 * height * width * 9 * 2 * channels**2
    yield "to twice the size", (image, weight, bias), flops, None


@samples("pixel_unshuffle")
def _pixel_unshuffle(work: Work, draw: Draw) -> Iterator[Any]:
    yield "a picture, 8x8", (draw(work.rows, 3, *work.picture), 8), 0, None


@samples("pixel_shuffle")
def _pixel_shuffle(work: Work, draw: Draw) -> Iterator[Any]:
    height, width = work.picture
    yield "a picture, 8x8", (draw(work.rows, 192, height // 8, width // 8), 8), 0, None


@samples("i420_to_rgb")
def _i420_to_rgb(work: Work, draw: Draw) -> Iterator[Any]:
    height, width = work.picture
    codes = draw.numbers(256, work.rows, height * 3 // 2, width, dtype=torch.uint8)
    yield "a picture", (codes, work.dtype), 0, None


def _other_size(work: Work) -> tuple[int, int]:
    """What a camera sends is often twice as tall and wide as what is drawn."""
    height, width = work.picture
    return 2 * height, 2 * width


@samples("i420_to_rgb_sized")
def _i420_to_rgb_sized(work: Work, draw: Draw) -> Iterator[Any]:
    height, width = _other_size(work)
    codes = draw.numbers(256, work.rows, height * 3 // 2, width, dtype=torch.uint8)
    yield "half the sides", (codes, work.picture, work.dtype), 0, None


@samples("rgb_to_i420_sized")
def _rgb_to_i420_sized(work: Work, draw: Draw) -> Iterator[Any]:
    picture = draw(work.rows, 3, *work.picture) / 4 + 0.5
    yield "twice the sides", (picture, _other_size(work)), 0, None


@samples("rgb_to_i420")
def _rgb_to_i420(work: Work, draw: Draw) -> Iterator[Any]:
    yield "a picture", (draw(work.rows, 3, *work.picture) / 4 + 0.5,), 0, None


def _latents(work: Work, draw: Draw) -> Tensor:
    return draw(work.rows, work.frames, *work.latent)


@samples("gaussian_noise")
def _gaussian_noise(work: Work, draw: Draw) -> Iterator[Any]:
    count = work.frames * math.prod(work.latent)
    three = (draw.numbers(1 << 30, work.rows) for _ in range(3))
    yield "a chunk", (*three, count), 0, None


@samples("flow_step")
def _flow_step(work: Work, draw: Draw) -> Iterator[Any]:
    x, flow, noise = (_latents(work, draw) for _ in range(3))
    levels = (torch.full((work.rows,), level, device=work.device) for level in (0.7, 0.4))
    yield "a chunk", (x, flow, *levels, noise), 0, None


@samples("flow_step_noised")
def _flow_step_noised(work: Work, draw: Draw) -> Iterator[Any]:
    sigma = torch.full((work.rows,), 0.7, dtype=torch.float64, device=work.device)
    three = (draw.numbers(1 << 30, work.rows) for _ in range(3))
    both = _latents(work, draw), _latents(work, draw)
    yield "a chunk", (*both, sigma, sigma / 2, *three), 0, None
