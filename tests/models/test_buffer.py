"""The moving buffer against a plain loop over chunks, and what its rows keep apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from millrace.kernels import attention, gaussian_noise
from millrace.models.attention import OwnMemory
from millrace.models.block import Reading
from millrace.models.buffer import MovingBuffer, Solver, Swap, moving_buffer
from millrace.models.dit import CausalDiT
from millrace.models.sigmas import Schedule
from millrace.models.windows import Windows
from torch import Tensor

from .conftest import randomize, small_dit_spec

KIND = torch.float64
SIZE = (4, 6)


def network(prediction: str, windows: tuple[int, int, int] | None = None) -> CausalDiT:
    spec = small_dit_spec(stem=prediction == "x0")
    dit = CausalDiT(replace(spec, cond_channels=0, windows=windows)).to(KIND)
    randomize(dit, 3)
    return dit.eval().requires_grad_(False)


def prompts(count: int) -> Tensor:
    return torch.randn(count, 3, 10, dtype=KIND, generator=torch.Generator().manual_seed(9))


def one(value: int) -> Tensor:
    return torch.tensor([value])


def noise_of(seed: int, chunk: int, step: int, frames: int) -> Tensor:
    return gaussian_noise(seed, chunk, step, (frames, 4, *SIZE), dtype=KIND)


@dataclass
class Chunk:
    index: int
    x: Tensor
    step: int = 0


def plainly(
    dit: CausalDiT, schedule: Schedule, solver: Solver, seed: int, context: Tensor, count: int
) -> list[Tensor]:
    """The first `count` chunks of a stream, by lists and floats."""
    s, prompt = schedule, dit.read(context[None])

    def advance(flight: list[Chunk], before: Tensor, known: int) -> None:
        told = [1000.0] * (s.reference - known) + [0.0] * known
        for chunk in flight:
            told += [s.levels[chunk.step].timestep] * s.frames
        x = torch.cat([before, *(chunk.x for chunk in flight)])[None]
        out = dit.forward_buffer(x, torch.tensor([told], dtype=KIND), prompt)[0, s.reference :]
        for chunk, mine in zip(flight, out.split(s.frames), strict=True):
            now, after = s.levels[chunk.step].sigma, s.sigma_after(chunk.step)
            clean = mine if dit.spec.prediction == "x0" else chunk.x - now * mine
            left = (chunk.x - clean) / now
            if solver == "renoise":
                left = noise_of(seed, chunk.index, chunk.step + 1, s.frames)
                chunk.x = (1 - after) * clean + after * left
            else:
                chunk.x = clean + after * left
            chunk.step += 1

    before, known = noise_of(seed, -1, 0, s.reference), 0
    flight = [Chunk(i, noise_of(seed, i, 0, s.frames)) for i in range(s.chunks)]
    kept = {s.chunks - 1: flight[-1].x}
    for tick in range(1, (s.chunks - 1) * s.micro_steps + 1):
        advance(flight, before, known)
        for chunk in flight:
            if (s.chunks - 1 - chunk.index) * s.micro_steps == tick:
                kept[chunk.index] = chunk.x
    flight = [Chunk(i, kept[i], (s.chunks - 1 - i) * s.micro_steps) for i in range(s.chunks)]
    finished: list[Tensor] = []
    while len(finished) < count:
        for _ in range(s.micro_steps):
            advance(flight, before, known)
        finished.append(flight.pop(0).x)
        index = len(finished) + s.chunks - 1
        flight.append(Chunk(index, noise_of(seed, index, 0, s.frames)))
        before = torch.cat([before, finished[-1]])[-s.reference :] if s.reference else before
        known = min(s.reference, known + s.frames)
    return finished


def run(
    buffer: MovingBuffer, seed: int, context: Tensor, count: int, source: Tensor | None = None
) -> list[Tensor]:
    """The first `count` chunks of a stream of its own."""
    state = buffer.init_state(1, *SIZE, dtype=KIND)
    buffer.set_context(state, one(0), context[None])
    buffer.begin(state, one(0), one(seed), source)
    finished: list[Tensor] = []
    tick = 0 if source is None else buffer.warmup
    while len(finished) < count:
        latents, left = buffer.step(state)
        assert bool(left) == buffer.leaves(tick)
        finished += [latents[0]] if bool(left) else []
        tick += 1
    return finished


SCHEDULES = [
    moving_buffer(0, 4, 2, 1),
    moving_buffer(0, 3, 2, 3),
    moving_buffer(2, 3, 1, 2),
    moving_buffer(3, 2, 2, 2, shift=3.0),
    moving_buffer(0, 1, 5, 4),  # uniform: plain text-to-video
    moving_buffer(1, 5, 1, 1),  # diagonal
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: f"{s.reference}-{s.chunks}-{s.steps}")
@pytest.mark.parametrize("prediction", ["flow", "x0"])
@pytest.mark.parametrize("solver", ["euler", "renoise"])
def test_equals_a_plain_loop(schedule: Schedule, prediction: str, solver: Solver) -> None:
    dit, context = network(prediction), prompts(1)[0]
    buffer = MovingBuffer(dit, schedule, solver)
    wanted = plainly(dit, schedule, solver, 77, context, 4)
    for mine, its in zip(run(buffer, 77, context, 4), wanted, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-9, atol=1e-9)


def test_the_solver_follows_the_prediction() -> None:
    schedule = SCHEDULES[0]
    assert MovingBuffer(network("flow"), schedule).solver == "euler"
    assert MovingBuffer(network("x0"), schedule).solver == "renoise"


def test_a_live_condition_is_refused() -> None:
    dit = CausalDiT(small_dit_spec(stem=True))
    with pytest.raises(ValueError, match="condition"):
        MovingBuffer(dit, SCHEDULES[0])


@pytest.mark.parametrize("swap", ["all", "entering"])
def test_rows_are_streams_of_their_own(swap: Swap) -> None:
    """Streams that begin, pause and end at different times are what each would be alone."""
    dit, texts = network("flow"), prompts(3)
    buffer = MovingBuffer(dit, moving_buffer(1, 3, 2, 2), swap=swap)
    state = buffer.init_state(2, *SIZE, dtype=KIND)
    rows, seeds = torch.arange(2), torch.tensor([5, 6])
    buffer.set_context(state, rows, texts[:2])
    buffer.begin(state, rows, seeds)
    found: dict[int, list[Tensor]] = {5: [], 6: [], 8: []}
    owner = [5, 6]
    memory = [tensor.data_ptr() for tensor in state.tensors()]
    for tick in range(22):
        if tick == 7:
            buffer.set_context(state, one(1), texts[2:])
            buffer.begin(state, one(1), one(8))
            owner[1] = 8
        mask = torch.tensor([tick % 3 != 1, tick % 4 != 2])
        before = [t.clone() for t in state.rows(0, 1).tensors()]
        latents, left = buffer.step(state, mask)
        if not mask[0]:
            for old, new in zip(before, state.rows(0, 1).tensors(), strict=True):
                assert torch.equal(old, new)
        for row in range(2):
            if bool(left[row]):
                found[owner[row]].append(latents[row])
    assert [tensor.data_ptr() for tensor in state.tensors()] == memory
    for seed, text in ((5, texts[0]), (8, texts[2])):
        alone = run(buffer, seed, text, len(found[seed]))
        assert len(alone) > 2
        for mine, its in zip(found[seed], alone, strict=True):
            torch.testing.assert_close(mine, its, rtol=1e-9, atol=1e-9)


def test_the_seed_decides_all() -> None:
    buffer, text = MovingBuffer(network("x0"), SCHEDULES[1]), prompts(1)[0]
    first, again, other = (torch.stack(run(buffer, seed, text, 3)) for seed in (4, 4, 5))
    assert torch.equal(first, again)
    assert (first - other).abs().mean() > 0.1


def test_references_stay_as_they_are() -> None:
    schedule = moving_buffer(3, 2, 2, 3)
    buffer = MovingBuffer(network("flow"), schedule)
    state = buffer.init_state(1, *SIZE, dtype=KIND)
    given = torch.randn(1, 2, 4, *SIZE, dtype=KIND)
    buffer.begin(state, one(0), one(1), reference=given)
    held = state.x[:, :3].clone()
    assert torch.equal(held[:, 1:], given)
    for _ in range(20):
        latents, left = buffer.step(state)
        held = torch.cat((held, latents), 1)[:, -3:] if bool(left) else held
        assert torch.equal(state.x[:, :3], held)


def test_a_prompt_counts_for_all_chunks_or_for_new_ones() -> None:
    """With "entering" the chunks in flight finish as they began, up to what they see of the new."""
    schedule, texts = moving_buffer(0, 3, 1, 1), prompts(2)
    states = {}
    for swap in ("all", "entering", "never", "at once"):
        kind: Swap = "all" if swap == "all" else "entering"
        buffer = MovingBuffer(network("flow"), schedule, swap=kind)
        state = buffer.init_state(1, *SIZE, dtype=KIND)
        buffer.set_context(state, one(0), texts[:1])
        buffer.begin(state, one(0), one(2))
        for _ in range(4):
            buffer.step(state)
        if swap != "never":
            buffer.set_context(state, one(0), texts[1:], at_once=swap == "at once")
        states[swap] = [buffer.step(state).latents for _ in range(4)]
    same = [torch.equal(a, b) for a, b in zip(states["entering"], states["never"], strict=True)]
    assert same == [True, False, False, False]  # the first step entered a chunk of the new prompt
    assert not torch.equal(states["all"][0], states["never"][0])
    for mine, its in zip(states["all"], states["at once"], strict=True):
        torch.testing.assert_close(mine, its)


def test_a_prompt_of_each_frame_is_read_by_that_frame() -> None:
    """Chunks of one prompt each, in one forward, where attention joins nothing."""
    dit = network("flow", windows=(1, 2, 3))
    x = torch.randn(2, 3, 4, *SIZE, dtype=KIND)
    t, texts = torch.full((2, 3), 300.0, dtype=KIND), prompts(6)
    together = dit.forward_buffer(x, t, dit.read(texts)).flatten(0, 1)
    for frame in range(6):
        alone = dit.forward_buffer(
            x.flatten(0, 1)[frame][None, None], t[:1, :1], dit.read(texts[frame][None])
        )
        torch.testing.assert_close(together[frame], alone[0, 0], rtol=0, atol=1e-9)


def test_a_given_video_enters_under_the_noise_of_its_place() -> None:
    schedule = replace(moving_buffer(0, 3, 2, 1, shift=2.0))
    low = tuple(replace(level, sigma=level.sigma * 0.6) for level in schedule.levels)
    schedule = replace(schedule, levels=low)
    buffer, video = MovingBuffer(network("flow"), schedule), torch.randn(1, 8, 4, *SIZE, dtype=KIND)
    state = buffer.init_state(1, *SIZE, dtype=KIND)
    buffer.begin(state, one(0), one(3), source=video[:, :6])
    for chunk in range(3):
        sigma = low[2 - chunk].sigma
        part = slice(2 * chunk, 2 * chunk + 2)
        wanted = (1 - sigma) * video[0, part] + sigma * noise_of(3, chunk, 0, 2)
        torch.testing.assert_close(state.x[0, part], wanted)
    _, left = buffer.step(state, source=video[:, 6:])
    assert bool(left)
    sigma = low[0].sigma
    wanted = (1 - sigma) * video[0, 6:] + sigma * noise_of(3, 3, 0, 2)
    torch.testing.assert_close(state.x[0, 4:], wanted)


@pytest.mark.parametrize("swap", ["all", "entering"])
def test_guidance_leads_beyond_the_wordless_prompt(swap: Swap) -> None:
    """By a plain loop of two networks' answers, whatever each row's scale; 1 is no guidance."""
    dit, texts = network("x0"), prompts(3)
    schedule, wordless = moving_buffer(1, 3, 2, 2), texts[2]
    scales = torch.tensor([1.0, 2.5], dtype=KIND)

    def led(x: Tensor, t: Tensor, prompt: Reading) -> Tensor:
        frames = len(prompt.pooled) // len(x)
        nothing = dit.read(wordless[None].expand(len(x) * frames, -1, -1))
        plain = dit.forward_buffer(x, t, nothing)
        return plain + scales[:, None, None, None, None] * (
            dit.forward_buffer(x, t, prompt) - plain
        )

    films = []
    for buffer, guidance in (
        (MovingBuffer(dit, schedule, "euler", swap, wordless=wordless), scales),
        (MovingBuffer(dit, schedule, "euler", swap, led), None),
    ):
        state = buffer.init_state(2, *SIZE, dtype=KIND)
        buffer.set_context(state, torch.arange(2), texts[:2])
        buffer.begin(state, torch.arange(2), torch.tensor([3, 4]))
        films.append([buffer.step(state, guidance=guidance).latents for _ in range(9)])
    for mine, its in zip(*films, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-9, atol=1e-9)
    alone = MovingBuffer(dit, schedule, "euler", swap)
    state = alone.init_state(1, *SIZE, dtype=KIND)
    alone.set_context(state, one(0), texts[:1])
    alone.begin(state, one(0), one(3))
    for mine in films[0]:
        torch.testing.assert_close(mine[:1], alone.step(state).latents, rtol=0, atol=1e-9)


# -- windows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("box", [(2, 2, 2), (4, 2, 3), (1, 4, 6), (9, 9, 9)])
@pytest.mark.parametrize("layer", [0, 1])
def test_windows_equal_masked_attention(box: tuple[int, int, int], layer: int) -> None:
    whole = (4, 4, 6)
    query, key, value = torch.randn(3, 2, 4, 24, 2, 8, dtype=KIND)
    windows = Windows.fitted(whole, box)
    found = OwnMemory(torch.empty(0), windows).attend(layer, query, key, value)
    axes = torch.meshgrid(*(torch.arange(side) for side in whole), indexing="ij")
    same = torch.ones(96, 96, dtype=torch.bool)
    for axis, side, part in zip(axes, whole, windows.box, strict=True):
        shift = part // 2 if layer % 2 and part < side else 0
        index = ((axis - shift) % side // part).flatten()
        same &= index[:, None] == index
    flat = [part.flatten(1, 2) for part in (query, key, value)]
    for row in range(2):
        for place in range(96):
            wanted = attention(
                flat[0][row : row + 1, place : place + 1],
                flat[1][row : row + 1, same[place]],
                flat[2][row : row + 1, same[place]],
            )
            mine = found.flatten(1, 2)[row, place]
            torch.testing.assert_close(mine, wanted[0, 0], rtol=0, atol=1e-9)


def test_windows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="divide"):
        Windows((4, 4, 6), (3, 2, 2))


def test_without_windows_a_buffer_is_a_clip_of_one_chunk() -> None:
    dit, context = network("x0"), prompts(2)
    x, t = torch.randn(2, 3, 4, *SIZE, dtype=KIND), torch.rand(2, 3, dtype=KIND) * 1000
    whole = dit.forward_buffer(x, t, dit.read(context))
    torch.testing.assert_close(whole, dit.forward_clip(x, t, context, chunk=3))
    boxed = network("x0", windows=(9, 9, 9)).forward_buffer(x, t, dit.read(context))
    torch.testing.assert_close(whole, boxed)
