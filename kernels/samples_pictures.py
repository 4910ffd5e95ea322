"""Calls of what works on pictures and latents, for `samples`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .sample_work import Draw, Work, nbytes, samples


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
    yield "norm, silu", (x, past, None, draw(channels), 1e-24), 0, nbytes(x, x, past, past, past)


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


@samples("gaussian_noise")
def _gaussian_noise(work: Work, draw: Draw) -> Iterator[Any]:
    count = work.frames * math.prod(work.latent)
    three = (draw.numbers(1 << 30, work.rows) for _ in range(3))
    yield "a chunk", (*three, count), 0, None


def _latents(work: Work, draw: Draw) -> Tensor:
    return draw(work.rows, work.frames, *work.latent)


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
