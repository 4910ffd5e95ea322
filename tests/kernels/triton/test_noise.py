"""Noise in kernels: the same words as the reference, and the same numbers."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.kernels import noise as defined
from millrace.kernels.flow import flow_step_reference
from millrace.kernels.noise import gaussian_noise_reference
from millrace.kernels.triton.noise import flow_step_noised, gaussian_noise, philox
from torch import Tensor
from triton_rig import DEVICE, assert_near, drawer, dtypes

wide = st.integers(-(2**63), 2**63 - 1)
word = st.integers(0, 2**32 - 1)


@triton.jit
def words_kernel(given: tl.tensor, out: tl.tensor, COUNT: tl.constexpr) -> None:
    """Six words a row, as int64, to the four that Philox makes of them."""
    row = tl.arange(0, COUNT)
    c0 = tl.load(given + row * 6).to(tl.uint32)
    c1 = tl.load(given + row * 6 + 1).to(tl.uint32)
    c2 = tl.load(given + row * 6 + 2).to(tl.uint32)
    c3 = tl.load(given + row * 6 + 3).to(tl.uint32)
    k0 = tl.load(given + row * 6 + 4).to(tl.uint32)
    k1 = tl.load(given + row * 6 + 5).to(tl.uint32)
    c0, c1, c2, c3 = philox(c0, c1, c2, c3, k0, k1)
    tl.store(out + row * 4, c0.to(tl.int64))
    tl.store(out + row * 4 + 1, c1.to(tl.int64))
    tl.store(out + row * 4 + 2, c2.to(tl.int64))
    tl.store(out + row * 4 + 3, c3.to(tl.int64))


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(st.tuples(word, word, word, word, word, word), min_size=4, max_size=4))
def test_words_are_equal_to_the_last_bit(rows: list[tuple[int, ...]]) -> None:
    given = torch.tensor(rows, device=DEVICE)
    out = torch.empty(4, 4, dtype=torch.int64, device=DEVICE)
    words_kernel[(1,)](given, out, COUNT=4)
    columns = given.unbind(1)
    counter = (columns[0], columns[1], columns[2], columns[3])
    expected = defined.philox(counter, (columns[4], columns[5]))
    assert torch.equal(out, torch.stack(expected, 1))


def three(*values: object) -> tuple[Tensor, Tensor, Tensor]:
    """Seeds, chunks and steps on the device."""
    first, second, third = (torch.tensor(value, device=DEVICE) for value in values)
    return first, second, third


def ulps(first: Tensor, second: Tensor) -> Tensor:
    """Distance of float32 numbers, counted in numbers between them."""
    bits = (part.view(torch.int32).long() for part in (first, second))
    ordered = [torch.where(b < 0, -(2**31) - b, b) for b in bits]
    return (ordered[0] - ordered[1]).abs()


@settings(max_examples=15, deadline=None)
@given(seed=wide, chunk=wide, step=word, count=st.integers(1, 1500))
def test_normals_are_those_of_the_reference(seed: int, chunk: int, step: int, count: int) -> None:
    """Logarithm and cosine may differ in the last bit of float64: at most one float32 then."""
    words = three([seed, 7], [chunk, 7], [step, 7])
    found, exact = gaussian_noise(*words, count), gaussian_noise_reference(*words, count)
    assert found.dtype == torch.float32 and found.shape == (2, count)
    apart = ulps(found, exact)
    assert apart.max() <= 1
    assert (apart > 0).sum() <= 1 + count // 500


@dtypes
@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 3, 5, 7), (3, 2, 16, 9, 11)], ids=str)
def test_flow_step_noised(shape: tuple[int, ...], framed: bool, dtype: torch.dtype) -> None:
    draw = drawer(3, dtype)
    x, flow = draw(*shape), draw(*shape)
    sigma = draw(*shape[: 1 + framed]).double().abs()
    sigma, later = sigma / sigma.max(), sigma / (2 * sigma.max())
    later[0] = 0.0
    words = three(*([row + 2**40 * k for row in range(shape[0])] for k in range(3)))
    clean, following = flow_step_noised(x, flow, sigma, later, *words)
    noise = gaussian_noise_reference(*words, x[0].numel()).view(shape)
    exact = flow_step_reference(x.double(), flow.double(), sigma, later, noise.double())
    for found, expected in zip((clean, following), exact, strict=True):
        assert found.dtype == dtype
        assert_near(found, expected)
    assert torch.equal(following[0], clean[0])  # no noise is no noise


def test_wrong_calls_name_the_argument() -> None:
    words = three([0, 0], [0, 0], [0, 0])
    x, sigma = torch.zeros(2, 3, 4, device=DEVICE), torch.zeros(2, device=DEVICE)
    with pytest.raises(ValueError, match="count is 0"):
        gaussian_noise(*words, 0)
    with pytest.raises(ValueError, match="steps is torch.int32"):
        gaussian_noise(words[0], words[1], words[2].int(), 4)
    with pytest.raises(ValueError, match=r"chunks has shape \(1,\)"):
        gaussian_noise(words[0], words[1][:1], words[2], 4)
    with pytest.raises(ValueError, match="flow has strides"):
        flow_step_noised(x, x.mT.contiguous().mT, sigma, sigma, *words)
    with pytest.raises(ValueError, match=r"next_sigma has shape \(2, 3\)"):
        flow_step_noised(x, x, sigma, sigma[:, None].expand(2, 3).contiguous(), *words)
    with pytest.raises(ValueError, match="x is torch.float64"):
        flow_step_noised(x.double(), x.double(), sigma, sigma, *words)
