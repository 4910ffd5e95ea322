"""A live picture through the moving buffer, and guidance, by a small model with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import make_frame
from millrace.models.buffer import MovingBuffer
from millrace.models.scene import CHUNK, PLACES, scene_schedule
from millrace.streaming import offline
from millrace.streaming.dream_info import HOLD, PICTURES, VIDEO
from millrace.streaming.dream_pipeline import Dreaming
from millrace.streaming.pipeline import Result, Work
from torch import Tensor

from .dream_models import BLANK, SIZE, Both, drawn, lived, small_parts, wishes

STEPS = 2


@pytest.fixture(scope="module")
def parts() -> Both:
    return small_parts()


def host(parts: Both) -> Dreaming:
    return Dreaming(*parts, streams=3, steps=STEPS)


def film(chunks: int) -> list[Tensor]:
    """Chunks of a soft picture that moves."""
    across = torch.linspace(0, 6, 128).expand(128, 128)
    frames = [
        torch.stack((across + 0.3 * t, across.t() - 0.2 * t, across + across.t())).sin() / 2 + 0.5
        for t in range(chunks * PICTURES * HOLD)
    ]
    return list(torch.stack(frames).split(PICTURES * HOLD))


def plainly(parts: Both, places: int, chunks: list[Tensor], seed: int, prompt: str) -> list[Tensor]:
    """What comes out, by the buffer itself: all chunks are known beforehand."""
    model, autoencoder = parts
    schedule = scene_schedule(STEPS, places)
    buffer = MovingBuffer(model.dit, schedule, "euler", denoise=model.denoise)
    state = buffer.init_state(1, 16, 16, dtype=torch.float64)
    row = torch.tensor([0])
    buffer.set_context(state, row, model.context(model.tokens([prompt])))
    pictures = torch.stack([chunk[::HOLD] for chunk in chunks]).double()
    latents = model.measured(autoencoder.encode(pictures))
    first = latents[:1]
    reference = first.repeat(1, PLACES - places, 1, 1, 1)
    buffer.begin(state, row, torch.tensor([seed]), first.repeat(1, places, 1, 1, 1), reference)
    memory = autoencoder.init_state(1, 128, 128, dtype=torch.float64)
    made: list[Tensor] = []
    for number in range(1, len(chunks) + places):
        entering = latents[min(number, len(chunks) - 1)][None]
        for _ in range(STEPS):
            oldest = buffer.step(state, source=entering).latents
        if number >= places:
            decoded = autoencoder.decode(model.unmeasured(oldest), memory)
            made.append(decoded[0].clamp(0, 1).repeat_interleave(HOLD, 0))
    return made


def frames(results: list[Result]) -> list[Tensor]:
    return [result.frames for result in results]


def close(some: list[Tensor], others: list[Tensor]) -> None:
    assert len(some) == len(others) > 0
    torch.testing.assert_close(torch.stack(some), torch.stack(others), rtol=0, atol=1e-9)


@pytest.mark.parametrize("strength", [0.25, 0.5, 0.75])
def test_chunks_enter_at_their_place_and_come_out_in_order(parts: Both, strength: float) -> None:
    """As the buffer does it by itself; each chunk that came in comes out once, those in flight at
    the end too."""
    dreaming, places = host(parts), round(4 * strength)
    stream, chunks = dreaming.open(SIZE), film(6)
    asked = wishes(mode=VIDEO, prompt="fire", seed=7, strength=strength)
    results: list[Result] = []
    for index, chunk in enumerate(chunks):
        found = dreaming.step([Work(stream, index, chunk, asked)])
        assert [result.index for result in found] == ([index - places] if index >= places else [])
        results += found
    while any(index is not None for index in stream.flight):
        results += dreaming.step([Work(stream, 0, None, asked)])
    assert [result.index for result in results] == list(range(6))
    close(frames(results), plainly(parts, places, chunks, 7, "fire"))


def test_strength_is_how_much_is_drawn_anew(parts: Both) -> None:
    chunks, far = film(5), []
    for strength in (0.25, 0.5, 0.75):
        dreaming = host(parts)
        asked = wishes(mode=VIDEO, strength=strength)
        made = frames(lived(dreaming, dreaming.open(SIZE), asked, chunks))
        far.append(
            float(
                (torch.stack(made) - torch.stack(chunks)[:, ::HOLD].repeat_interleave(HOLD, 1))
                .abs()
                .mean()
            )
        )
    assert far[0] < far[1] < far[2]


def test_a_buffer_of_fewer_places_is_filled_with_what_is_finished() -> None:
    for places in range(1, PLACES + 1):
        schedule = scene_schedule(3, places)
        assert schedule.reference + schedule.chunks * CHUNK == PLACES * CHUNK
        assert schedule.levels == scene_schedule(3).levels[-3 * places :]


def test_a_slow_source_gets_what_is_in_flight(parts: Both) -> None:
    """Flushes between chunks: nothing is lost, doubled or out of order."""
    dreaming = host(parts)
    stream, asked = dreaming.open(SIZE), wishes(mode=VIDEO, strength=0.75)
    found = []
    for index, chunk in enumerate(film(7)):
        found += dreaming.step([Work(stream, index, chunk, asked)])
        if index == 3:
            for _ in range(2):
                found += dreaming.step([Work(stream, 0, None, asked)])
    while any(index is not None for index in stream.flight):
        found += dreaming.step([Work(stream, 0, None, asked)])
    assert [result.index for result in found] == list(range(7))


def test_streams_of_all_kinds_in_one_batch_equal_each_alone(parts: Both) -> None:
    """Live and from words, guided and not: each is what it would be by itself."""
    dreaming, chunks = host(parts), film(4)
    kinds = [
        wishes(mode=VIDEO, prompt="fire", strength=0.5, seed=1),
        wishes(mode=VIDEO, prompt="snow", strength=0.5, seed=2, guidance=2.0),
        wishes(prompt="waves", seed=3, guidance=1.5),
    ]
    streams = [dreaming.open(SIZE) for _ in kinds]
    together: list[list[Tensor]] = [[] for _ in kinds]
    for index, chunk in enumerate(chunks):
        batch = [Work(s, index, chunk, wish) for s, wish in zip(streams, kinds, strict=True)]
        for result in dreaming.step(batch):
            together[streams.index(result.stream)].append(result.frames)
    assert [len(mine) for mine in together] == [2, 2, 4], "half strength comes out two chunks later"
    for wish, mine in zip(kinds, together, strict=True):
        alone = host(parts)
        stream, its = alone.open(SIZE), []
        for index, chunk in enumerate(chunks):
            its += frames(alone.step([Work(stream, index, chunk, wish)]))
        close(mine, its)


def test_another_mode_lets_out_what_is_in_flight_first(parts: Both) -> None:
    dreaming = host(parts)
    stream, chunks = dreaming.open(SIZE), film(2)
    live = wishes(mode=VIDEO, strength=0.75)
    for index, chunk in enumerate(chunks):
        assert not dreaming.step([Work(stream, index, chunk, live)])
    results = dreaming.step([Work(stream, 2, BLANK, wishes(prompt="fire"))])
    assert [result.index for result in results] == [0, 1, 2]
    assert not stream.bank.way.live
    new = host(parts)
    close([results[2].frames], drawn(new, new.open(SIZE), wishes(prompt="fire"), 1))


def test_a_live_stream_that_moved_goes_on(parts: Both) -> None:
    """Bit for bit: saved with nothing in flight, as the engine does it."""
    here, there, chunks = host(parts), host(parts), film(5)
    asked = wishes(mode=VIDEO, strength=0.5, prompt="fire", guidance=1.5)
    staying, leaving = here.open(SIZE), here.open(SIZE)
    for stream in (staying, leaving):
        lived(here, stream, asked, chunks[:3])
    arrived = there.load(SIZE, here.save(leaving))
    moved = frames(lived(there, arrived, asked, chunks[3:], 3))
    stayed = frames(lived(here, staying, asked, chunks[3:], 3))
    assert torch.equal(torch.stack(moved), torch.stack(stayed))


def test_a_film_through_the_engine_keeps_its_length(parts: Both) -> None:
    """One picture for each that came, those in flight at the end too, and each of its own time."""
    dreaming = Dreaming(parts[0].float(), parts[1].float(), streams=1, steps=1)
    frames = (make_frame(index, (64, 64)) for index in range(18))
    outputs = list(offline.run(dreaming, frames, {"mode": VIDEO, "strength": 0.75}))
    assert [output.frame.index for output in outputs] == list(range(18))
    pictures = [output.frame.planes for output in outputs]
    assert not np.array_equal(pictures[0], pictures[-1])
    for module in parts:
        module.double()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_gpu_draws_what_a_processor_draws() -> None:
    """Live, guided and from words in one batch, in float32; some rounding apart."""
    kinds = [
        wishes(mode=VIDEO, prompt="fire", strength=0.5, seed=1),
        wishes(prompt="waves", seed=3, guidance=1.5),
    ]
    films = []
    for device in ("cpu", "cuda:0"):
        model, autoencoder = small_parts(torch.float32)
        dreaming = Dreaming(model.to(device), autoencoder.to(device), streams=3, steps=STEPS)
        streams, made = [dreaming.open(SIZE) for _ in kinds], []
        for index, chunk in enumerate(film(4)):
            given = chunk.to(device)
            works = [Work(s, index, given, k) for s, k in zip(streams, kinds, strict=True)]
            made += [result.frames.cpu() for result in dreaming.step(works)]
        films.append(torch.stack(made))
    torch.testing.assert_close(*films, rtol=0, atol=0.02)


def test_guidance_of_one_is_none_and_more_changes_the_picture(parts: Both) -> None:
    films = {}
    for scale in (1.0, 1.25, 3.0):
        dreaming = host(parts)
        asked = wishes(prompt="fire", guidance=scale)
        films[scale] = torch.stack(drawn(dreaming, dreaming.open(SIZE), asked, 2))
    apart = [float((films[scale] - films[1.0]).abs().mean()) for scale in (1.25, 3.0)]
    assert 0 < apart[0] < apart[1]


def test_guided_streams_say_what_they_cost(parts: Both) -> None:
    """The engine plans by the rows of each pass: two for a guided stream."""
    dreaming = host(parts)
    rows: list[int] = []

    def mark(stage: str, count: int, window: int | None) -> None:
        rows.extend([count] if stage == "pass" else [])

    works = [
        Work(dreaming.open(SIZE), 0, BLANK, wishes(guidance=scale), mark=mark)
        for scale in (1.0, 2.0)
    ]
    dreaming.step(works)
    assert set(rows) == {1, 2} and sum(rows) == 3 * len(rows) // 2
