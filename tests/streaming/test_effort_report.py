"""The measured worth of the efforts: how it is reckoned, and what is drawn for it."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from hypothesis import given
from hypothesis import strategies as st
from millrace.models.text import PromptEncoder
from millrace.models.tiny import STYLES, random_tiny
from millrace.streaming.diffusion import VideoDiffusion
from millrace.streaming.effort_report import Figures, Named, draw, table, worth
from millrace.streaming.pipeline import Effort
from millrace.streaming.tiny import tiny_parts
from millrace.streaming.tiny_info import EFFORTS

BEST = Figures(1.0, 100.0, 0.8, 25.0, 0.020)
likeness = st.floats(0.0, 1.0)


@given(likeness, likeness, likeness, likeness)
def test_the_worth_rises_with_both_likenesses(a: float, b: float, c: float, d: float) -> None:
    low = replace(BEST, ssim_full=min(a, b), ssim_look=min(c, d))
    high = replace(BEST, ssim_full=max(a, b), ssim_look=max(c, d))
    assert 0.0 <= worth(low, BEST) <= worth(high, BEST) <= 1.0
    assert worth(BEST, BEST) == 1.0


def test_the_table_names_what_a_saving_costs() -> None:
    half = Figures(0.81, 30.0, 0.8, 24.0, 0.010)
    lines = table({"full": BEST, "half": half}).splitlines()
    assert lines[1].split() == [
        "full",
        "1.000",
        "1.000",
        "0.800",
        "100.0",
        "25.0",
        "20.0",
        "100%",
        "-",
    ]
    # A tenth of the quality for half of the time: 0.02 for each tenth.
    assert lines[2].split() == [
        "half",
        "0.900",
        "0.810",
        "0.800",
        "30.0",
        "24.0",
        "10.0",
        "50%",
        "0.020",
    ]


def test_a_chunk_that_rests_shows_the_picture_before_it() -> None:
    pipeline = VideoDiffusion(tiny_parts(random_tiny(), cast(PromptEncoder, Named())), streams=2)
    clips = torch.rand(2, 5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        every = draw(pipeline, clips, "oil", 2, Effort("full"))
        second = draw(pipeline, clips, "oil", 2, Effort("half rate", rate=0.5))
        alone = draw(pipeline, clips[1:], "oil", 2, Effort("full"))
        fewer = draw(pipeline, clips[:, ::2], "oil", 2, Effort("full"))
    assert every.shape == clips.shape
    assert torch.allclose(every[1:], alone, atol=1e-4)
    assert not torch.equal(every[:, 1], every[:, 0])
    for t in (1, 3):
        assert torch.equal(second[:, t], second[:, t - 1])
    assert torch.allclose(second[:, ::2], fewer, atol=1e-4)
    assert all(bank.take() is not None for bank in pipeline.banks.values()), "streams are closed"


def test_the_ladder_goes_down() -> None:
    qualities = [effort.quality for effort in EFFORTS]
    assert qualities[0] == 1.0 and qualities == sorted(qualities, reverse=True)
    assert all(0.0 < quality <= 1.0 for quality in qualities)
    # What a chunk looks like, times how many of them there are.
    shown = [effort.quality * effort.rate for effort in EFFORTS]
    assert shown == sorted(shown, reverse=True)


def test_looks_go_by_their_names() -> None:
    row = Named().weights_of(Named().understand("trails"))
    assert row.sum() == 1.0 and row[STYLES.index("trails")] == 1.0
