"""Every implementation of every operation equals the reference that defines it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.kernels import turns
from millrace.kernels.dispatch import TABLE, choose, explain
from millrace.kernels.quantise import quantise
from torch import Tensor

Draw = Callable[..., Tensor]
size = st.integers(1, 5)


def even(most: int) -> st.SearchStrategy[int]:
    return st.integers(1, most // 2).map(lambda half: 2 * half)


def norm_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    return draw(rows, tokens, dim), draw(dim), 1e-6


def modulate_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    return draw(rows, tokens, dim), draw(rows, 1, dim), draw(rows, 1, dim), 1e-6


def gate_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    return draw(rows, tokens, dim), draw(rows, tokens, dim), draw(rows, 1, dim)


def gated_norm_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    modulated = tokens % 2 == 0
    both = (draw(rows, 1, dim), draw(rows, 1, dim)) if modulated else (draw(dim), draw(dim))
    return *gate_arguments(draw, rows, tokens, dim), *both, 1e-6, modulated


def rope_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    angle = draw(rows, tokens, 1, max(dim // 4, 1)).float()
    return draw(rows, tokens, 3, dim), turns(angle, torch.float32)


def attention_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    valid = draw(rows, tokens + 1) > 0
    valid[:, 0] = True
    keys = draw(2, rows, tokens + 1, 2, dim)
    return draw(rows, 3, 2, dim), keys[0], keys[1], valid


def ring_attention_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    valid = draw(rows, 4) > 0
    valid[:, 2] = True
    angle = draw(rows, 2, max(dim // 4, 1)).float()
    memory = draw(2, rows + 1, 4, tokens, 2, dim)
    own = draw(rows + 1).argsort()[:rows]
    turn = turns(angle, torch.float32)
    return draw(rows, 3, 2, dim), memory[0], memory[1], valid, turn, own


def merge_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    most = draw(rows + 1, tokens)
    most[0, 0] = -torch.inf  # A part that has seen no keys.
    return most, draw(rows + 1, tokens).abs(), draw(rows + 1, tokens, dim)


def linear_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    plain = rows % 2 == 0
    residual = draw(rows, tokens, 6) if plain else None
    return draw(rows, tokens, dim), draw(6, dim), draw(6), "none" if plain else "gelu", residual


def conv_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    patches, plain = tokens % 2 == 0, rows % 2 == 0
    side = (2, 2) if patches else (3, 3)
    image, weight = draw(rows, 3, 4, 2 * dim), draw(4, 3 * side[0] * side[1])
    shape = (rows, 4, 2, dim) if patches else (rows, 4, 4, 2 * dim)
    residual = draw(*shape) if plain else None
    activation = ("none", "relu")[dim % 4 // 2] if plain else ("silu", "relu")[dim % 4 // 2]
    return image, weight / 3, draw(4), side, patches, activation, residual


def clip_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    x, past = draw(rows, tokens, 2, 3, dim), draw(rows, 1 + tokens % 2, 2, 3, dim)
    norm = draw(dim) if dim % 4 else None
    return x, past, draw(rows) > 0 if rows % 2 else None, norm, 1e-6


def upsampled_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    return draw(rows, dim, 3, tokens), draw(4, dim, 3, 3) / dim, draw(4) if rows % 2 else None


def memory_conv_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    x, past = draw(rows, tokens, 4, 3, dim), draw(rows, 1, 4, 3, 5)
    weight = draw(5, 2 * dim, 3, 3) / dim
    return x, weight, draw(5), past, draw(rows) > 0 if rows % 2 else None


def projection_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    width = 2 * dim
    weight, bias = draw(3, width, 5).unbind(0), draw(3, width).unbind(0)
    turn = turns(draw(rows, 2, tokens, 1, dim // 2).float(), torch.float32)
    return draw(rows, 2, tokens, 5), weight, bias, draw(2, width).unbind(0), turn, 1e-6


def into_ring_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    x, weight, bias, norm, turn, eps = projection_arguments(draw, rows, tokens, dim)
    _, _, slots, mask, own = ring_write_arguments(draw, rows, tokens, dim)
    ring = draw(2, rows + 2, 4, tokens, 2, dim).unbind(0)
    return x, weight, bias, norm, turn, eps, ring, slots, mask, own, None


def norm_write_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    _, _, _, *rest = into_ring_arguments(draw, rows, tokens, dim)
    return draw(3, rows, 2, tokens, 2 * dim).unbind(0), *rest


def prompt_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    texts = max(dim // 2, 1)  # few enough to be folded for some, too many for others
    layers = [(draw(8, 8) / 3, draw(8)) for _ in range(2)]
    given = draw(2, rows, 2, tokens, 8)
    key, value = draw(2, rows, min(texts, 4), 2, 4)
    return given[0], given[1], layers[0], draw(8), 1e-6, key, value, layers[1]


def rows_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    return (draw(rows, tokens, dim),)


def fp8_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    x, weight = (quantise(draw(*size), torch.float8_e4m3fn) for size in ((rows, dim), (6, dim)))
    return x, weight, draw(6) if rows % 2 else None, torch.float32


def shuffle_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    return draw(rows, 16, 4 * tokens, 4 * dim), (2, 4)[tokens % 2]


def ring_write_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    slots = draw(rows, 4).argsort(1)[:, :2]
    own = draw(rows + 2).argsort()[:rows]
    return draw(rows + 2, 4, tokens, dim), draw(rows, 2, tokens, dim), slots, draw(rows) > 0, own


def picture_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    return ((draw(rows, 3, 2 * tokens, dim).float() / 2 + 0.5),)


def i420_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    picture = (draw(rows, 3 * tokens, dim).float() * 80 + 128).clamp(0, 255)
    return picture.to(torch.uint8), torch.float32


def sized_picture_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    return (*picture_arguments(draw, rows, tokens, dim), (2 * dim, 4 * tokens - 2))


def sized_i420_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    return i420_arguments(draw, rows, tokens, dim)[0], (dim + 1, 3 * tokens), torch.float32


def noise_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    seeds, chunks, steps = (draw(3, rows) * 1e6).long()
    return seeds, chunks, steps, tokens * dim


def flow_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    x, flow, noise = draw(3, rows, tokens, dim)
    return x, flow, draw(rows), draw(rows), noise


def noised_flow_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    words = noise_arguments(draw, rows, tokens, dim)[:3]
    return *flow_arguments(draw, rows, tokens, dim)[:4], *words


def turn_keys_arguments(draw: Draw, rows: int, tokens: int, dim: int) -> Sequence[Any]:
    turn = turns(draw(rows, 3, max(dim // 4, 1)).float(), torch.float32)
    return draw(2, rows, 3, tokens, 2, dim), turn, draw(rows) > 0, None


ARGUMENTS: dict[str, Callable[[Draw, int, int, int], Sequence[Any]]] = {
    "attention": attention_arguments,
    "causal_clip": clip_arguments,
    "conv2d": conv_arguments,
    "flow_step": flow_arguments,
    "flow_step_noised": noised_flow_arguments,
    "fp8_product": fp8_arguments,
    "gated_residual": gate_arguments,
    "gated_residual_norm": gated_norm_arguments,
    "gaussian_noise": noise_arguments,
    "i420_to_rgb": i420_arguments,
    "i420_to_rgb_sized": sized_i420_arguments,
    "linear": linear_arguments,
    "memory_conv": memory_conv_arguments,
    "merge_attention": merge_arguments,
    "modulated_layer_norm": modulate_arguments,
    "modulated_layer_norm_e4m3": modulate_arguments,
    "norm_rope_write": norm_write_arguments,
    "pixel_shuffle": shuffle_arguments,
    "pixel_unshuffle": shuffle_arguments,
    "project_into_ring": into_ring_arguments,
    "prompt_attention": prompt_arguments,
    "quantise_rows": rows_arguments,
    "query_key_value": projection_arguments,
    "rgb_to_i420": picture_arguments,
    "rgb_to_i420_sized": sized_picture_arguments,
    "ring_attention": ring_attention_arguments,
    "ring_write": ring_write_arguments,
    "rms_norm": norm_arguments,
    "rope": rope_arguments,
    "upsampled_conv": upsampled_arguments,
    "turn_keys": turn_keys_arguments,
}
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float64: 1e-6}


def test_every_operation_is_tried_here() -> None:
    assert sorted(ARGUMENTS) == sorted(TABLE)


def test_what_runs_can_be_told() -> None:
    told = explain("cpu")
    assert sorted(told) == sorted(TABLE)
    assert told["rope"] == choose("rope", "cpu").__name__
    assert choose("rope", "some new device") is TABLE["rope"].reference


def results(function: Callable[..., Any], arguments: Sequence[Any]) -> list[Tensor]:
    """What a function returns, and its arguments afterwards: some are written in place."""
    with torch.no_grad():
        out = function(*arguments)
    returned = list(out) if isinstance(out, tuple) else [] if out is None else [out]
    return [*returned, *(given for given in arguments if isinstance(given, Tensor))]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize("name", ARGUMENTS)
@settings(max_examples=15, deadline=None)
@given(rows=size, tokens=size, dim=even(16), seed=st.integers(0, 99), strided=st.booleans())
def test_implementations_equal_the_reference(
    name: str, dtype: torch.dtype, rows: int, tokens: int, dim: int, seed: int, strided: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        values = torch.randn(*shape[:-1], 2 * shape[-1], generator=generator).to(dtype)
        return values[..., : shape[-1]] if strided else values[..., : shape[-1]].contiguous()

    arguments = ARGUMENTS[name](draw, rows, tokens, dim)
    for device, function in TABLE[name].implementations.items():
        if device != "cpu" and not torch.cuda.is_available():
            continue
        ours, theirs = (
            results(f, [a.clone() if isinstance(a, Tensor) else a for a in arguments])
            for f in (function, TABLE[name].reference)
        )
        for mine, defined in zip(ours, theirs, strict=True):
            assert mine.dtype == defined.dtype
            within = 1.0 if defined.dtype == torch.uint8 else TOLERANCE[dtype]
            # A value is rounded to 8 bits once or twice on the way, depending on what is fused.
            share = 2**-7 if dtype == torch.bfloat16 else 0.0
            torch.testing.assert_close(mine.double(), defined.double(), rtol=share, atol=within)
