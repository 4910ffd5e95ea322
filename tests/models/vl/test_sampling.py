"""Tokens are chosen as asked, and noise is a function of where it is used."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from millrace.models.vl.sampling import Sampling, choose, gumbel

LOGITS = torch.tensor([0.0, 3.0, 2.9, -1.0, 2.0])


def test_greedy_takes_the_likeliest() -> None:
    assert choose(LOGITS, [], Sampling(penalty=1.0)) == 1


def test_recent_words_are_less_likely() -> None:
    settings = Sampling(penalty=1.1, recent=3)
    assert choose(LOGITS, [1], settings) == 2
    assert choose(LOGITS, [1, 0, 0, 0], settings) == 1  # Too long ago.
    assert choose(-LOGITS - 5, [3], Sampling(penalty=1.5)) == 0  # Negative ones fall too.
    assert choose(LOGITS, [1], Sampling(penalty=1.1, free=frozenset({1}))) == 1


def test_no_run_occurs_twice() -> None:
    settings = Sampling(penalty=1.0, ngram=2)
    assert choose(LOGITS, [4, 1, 4], settings) == 2  # "4 1" was said.
    assert choose(LOGITS, [1, 4], settings) == 1
    assert choose(LOGITS, [], settings) == 1
    single = Sampling(penalty=1.0, ngram=1)
    assert choose(LOGITS, [1, 2], single) == 4
    assert choose(LOGITS, [1, 2], Sampling(penalty=1.0, ngram=1, free=frozenset({2}))) == 2


@given(st.lists(st.integers(0, 4), max_size=30), st.integers(1, 4))
def test_a_run_is_banned_only_where_it_was_said(said: list[int], ngram: int) -> None:
    token = choose(LOGITS, said, Sampling(penalty=1.0, ngram=ngram, recent=30))
    runs = {tuple(said[i : i + ngram]) for i in range(len(said) - ngram + 1)}
    closed = {t for t in range(5) if tuple([*said, t][len(said) + 1 - ngram :]) in runs}
    if len(said) >= ngram and len(closed) < 5:
        assert token not in closed


def test_noise_follows_the_softmax_and_its_place_alone() -> None:
    settings = Sampling(temperature=0.7, penalty=1.0, seed=3)
    drawn = [choose(LOGITS, [], settings, stream=1, step=step) for step in range(4000)]
    assert drawn[:50] == [choose(LOGITS, [], settings, stream=1, step=s) for s in range(50)]
    other = [choose(LOGITS, [], settings, stream=2, step=step) for step in range(50)]
    assert drawn[:50] != other
    share = torch.bincount(torch.tensor(drawn), minlength=5) / len(drawn)
    torch.testing.assert_close(share, (LOGITS / 0.7).softmax(0), atol=0.025, rtol=0)
    noise = gumbel(1, 2, 3, 1000)
    assert torch.equal(noise[:10], gumbel(1, 2, 3, 10))
    assert abs(noise.mean() - 0.5772) < 0.15


def test_settings_are_checked() -> None:
    for wrong in ({"temperature": -1.0}, {"penalty": 0.0}, {"recent": -1}, {"ngram": -2}):
        with pytest.raises(ValueError):
            Sampling(**wrong)
