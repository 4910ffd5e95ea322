"""A moving buffer whose steps are replayed draws what it draws when they run: streams from words
and from live pictures, guided and not, that come, go and change their minds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import torch
from millrace.models.text import PromptEncoder
from millrace.models.tiny import load_prompts, load_tiny
from millrace.models.video import VideoModel
from millrace.streaming.dream_info import HOLD, PICTURES, VIDEO
from millrace.streaming.dream_looks import Looks
from millrace.streaming.dream_pipeline import Dreaming
from millrace.streaming.dream_streams import Stream
from millrace.streaming.pipeline import Work
from tape import TapeRecorder, references_only

from .dream_models import SIZE, Both, small_parts, wished

TICKS = 10
Wishes = Mapping[int, Mapping[str, str | int | float]]
Viewer = tuple[int, int, Wishes]
"""Joins, leaves, wishes by tick."""
CROWD: list[Viewer] = [
    (0, 5, {0: {"prompt": "fire", "seed": 1}}),
    (0, 99, {0: {"mode": VIDEO, "strength": 0.5, "seed": 2, "guidance": 2.0}, 7: {"seed": 2}}),
    (2, 99, {2: {"prompt": "snow", "seed": 3, "guidance": 1.5}, 6: {"prompt": "waves", "seed": 3}}),
    (3, 99, {3: {"mode": VIDEO, "strength": 0.5, "prompt": "sunset"}}),
    (6, 99, {6: {"prompt": "red snow", "seed": 5}}),
]


@pytest.fixture(scope="module")
def parts() -> Both:
    return small_parts()


@pytest.fixture(autouse=True)
def _as_on_a_gpu() -> Iterator[None]:
    with references_only():
        yield


def film(number: int, tick: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(100 * number + tick)
    few = torch.rand(PICTURES * HOLD, 3, 8, 8, generator=generator)
    return torch.nn.functional.interpolate(few, size=(128, 128), mode="bilinear")


def shown(host: Dreaming, viewers: list[Viewer]) -> list[torch.Tensor]:
    """All pictures, in order."""
    streams: dict[int, Stream] = {}
    found = []
    for tick in range(TICKS):
        works = []
        for number, (joins, leaves, wanted) in enumerate(viewers):
            if tick == joins:
                streams[number] = host.open(SIZE)
            if tick == leaves:
                host.close(streams.pop(number))
            if number not in streams:
                continue
            asked = wished({"guidance": 1.0, **[w for at, w in wanted.items() if at <= tick][-1]})
            works.append(Work(streams[number], tick - joins, film(number, tick), asked))
        found += [result.frames.clone() for result in host.step(works)]
    return found


def same(some: list[torch.Tensor], others: list[torch.Tensor]) -> None:
    """Neighbours are one batch, the rest are not, so sums may be ordered otherwise."""
    assert len(some) == len(others) > TICKS
    torch.testing.assert_close(torch.stack(some), torch.stack(others), rtol=0, atol=1e-9)


def test_replayed_steps_draw_the_same(parts: Both) -> None:
    recorder = TapeRecorder()
    replayed = Dreaming(*parts, streams=5, steps=2, recorder=recorder)
    plain = Dreaming(*parts, streams=5, steps=2)
    same(shown(replayed, CROWD), shown(plain, CROWD))
    counts = replayed.stage_runs()
    assert counts["replayed"] == recorder.replays - counts["recorded"] > 2 * TICKS
    assert not replayed.tally.refused and "replayed" in replayed.told()[0]
    assert plain.told() == () and not plain.stage_runs()


def test_a_look_is_replayed_too(parts: Both) -> None:
    model, _ = small_parts(torch.float32)
    tiny: tuple[VideoModel, PromptEncoder] = (load_tiny(), load_prompts())
    recorder = TapeRecorder()
    look = "snow, oil painting"
    viewers: list[Viewer] = [(0, 99, {0: {"prompt": look, "seed": 4}, 5: {"prompt": "snow"}})]
    hosts = [
        Dreaming(model, tiny[0].autoencoder, looks=Looks(*tiny, 1, own), steps=1, recorder=own)
        for own in (recorder, None)
    ]
    found, expected = (torch.stack(shown(host, viewers)) for host in hosts)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    looks = hosts[0].looks
    assert looks is not None and looks.tally.counts["replayed"] > TICKS
    assert hosts[0].stage_runs()["replayed"] == recorder.replays - recorder.recorded
    assert len(hosts[0].told()) == 2
