"""Counter-based noise: the integer stream, its distribution, and what it depends on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.kernels import gaussian_noise
from millrace.kernels.noise import philox

word = st.integers(0, 2**32 - 1)


def philox_numpy(counter: tuple[int, ...], key: tuple[int, ...]) -> list[int]:
    """Philox4x32-10 in unsigned arithmetic, written from the paper."""
    c = [np.uint64(value) for value in counter]
    k = [np.uint32(value) for value in key]
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    with np.errstate(over="ignore"):
        for _ in range(10):
            first, second = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
            c = [
                (second >> half) ^ c[1] ^ np.uint64(k[0]),
                second & low,
                (first >> half) ^ c[3] ^ np.uint64(k[1]),
                first & low,
            ]
            k = [k[0] + np.uint32(0x9E3779B9), k[1] + np.uint32(0xBB67AE85)]
    return [int(value) for value in c]


@pytest.mark.parametrize(
    "counter, key, words",
    [
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF,) * 4,
            (0xFFFFFFFF,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_published_vectors(
    counter: tuple[int, ...], key: tuple[int, ...], words: tuple[int, ...]
) -> None:
    """Known-answer tests of the authors' Random123 library."""
    ours = philox(tuple(map(torch.tensor, counter)), tuple(map(torch.tensor, key)))  # type: ignore[arg-type]
    assert tuple(int(w) for w in ours) == words
    assert tuple(philox_numpy(counter, key)) == words


@settings(max_examples=50, deadline=None)
@given(st.tuples(word, word, word, word), st.tuples(word, word))
def test_integers_equal_unsigned_arithmetic(counter: tuple[int, ...], key: tuple[int, ...]) -> None:
    ours = philox(tuple(map(torch.tensor, counter)), tuple(map(torch.tensor, key)))  # type: ignore[arg-type]
    assert [int(w) for w in ours] == philox_numpy(counter, key)


def test_it_is_standard_normal() -> None:
    noise = gaussian_noise(1, 2, 3, (4, 100, 500)).double()
    assert noise.mean().abs() < 0.01
    assert (noise.std() - 1).abs() < 0.01
    assert (noise.pow(4).mean() - 3).abs() < 0.1
    within = (noise.abs() < 1.96).double().mean()
    assert (within - 0.95).abs() < 0.003
    neighbours = (noise[..., 1:] * noise[..., :-1]).mean()
    assert neighbours.abs() < 0.01


def test_it_depends_on_every_argument_and_nothing_else() -> None:
    base = gaussian_noise(5, 6, 1, (3, 8))
    assert torch.equal(base, gaussian_noise(5, 6, 1, (3, 8)))
    # 2^32 and up: the upper halves count as well.
    for other in ((9, 6, 1), (5, 7, 1), (5, 6, 2), (5 + 2**32, 6, 1), (5, 6 + 2**32, 1)):
        assert not torch.equal(base, gaussian_noise(*other, (3, 8)))


def test_an_element_does_not_know_the_shape() -> None:
    long = gaussian_noise(-4, 6, 1, (50,))
    for count in (1, 2, 3, 7, 48):
        assert torch.equal(long[:count], gaussian_noise(-4, 6, 1, (count,)))
    assert torch.equal(long[:24], gaussian_noise(-4, 6, 1, (2, 3, 4)).flatten())


def test_a_row_of_a_batch_is_the_row_alone() -> None:
    seeds, chunks = torch.tensor([3, 1, 2**40]), torch.tensor([10, 0, 7])
    batch = gaussian_noise(seeds, chunks, 1, (2, 5), dtype=torch.bfloat16)
    assert batch.shape == (3, 2, 5) and batch.dtype == torch.bfloat16
    for row in range(3):
        alone = gaussian_noise(int(seeds[row]), int(chunks[row]), 1, (2, 5), dtype=torch.bfloat16)
        assert torch.equal(batch[row], alone)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_makes_the_same_noise() -> None:
    here, there = (gaussian_noise(5, 6, 1, (1 << 16,), device) for device in ("cpu", "cuda"))
    assert torch.equal(here, there.cpu())
