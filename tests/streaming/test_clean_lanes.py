"""Weights with one clean history (Self-Forcing, CausVid): lanes and pipeline against the plain
definition, one chunk and one pass after another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from millrace.kernels import gaussian_noise
from millrace.models.policies import CAUSVID, SELF_FORCING, WanPolicy
from millrace.models.wan import WanModel, WanSizes, random_wan
from millrace.streaming.clean_lanes import CleanLanes
from millrace.streaming.controls import Controls
from millrace.streaming.entries import Entry
from millrace.streaming.pipeline import Effort, StreamConfig, Work
from millrace.streaming.prompts import Prompt
from millrace.streaming.wan_info import IMAGE, TEXT
from millrace.streaming.wan_info import controls as schema
from millrace.streaming.wan_parts import WanNoise

from .wan_models import DIT, SIDE, SIZES, apart, pipeline, run

POLICY = replace(SELF_FORCING, frames=2, ring=replace(SELF_FORCING.ring, window=4))
SCHEMA = schema(POLICY)
SIZE = StreamConfig(SIDE, SIDE)
CHUNK = 8


@pytest.fixture(scope="module")
def of() -> WanModel:
    sizes = WanSizes(POLICY.spec(DIT), SIZES.vae, SIZES.taehv)
    return random_wan(sizes, "taehv", "cpu", torch.float64, seed=3)


def wishes(**changes: object) -> Controls:
    return Controls.defaults(SCHEMA).changed(SCHEMA, {"prompt": "a red fox", **changes})


def clip(seed: int, chunks: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(chunks, CHUNK, 3, SIDE, SIDE, generator=generator).double()


@pytest.mark.parametrize("policy", [POLICY, replace(CAUSVID, frames=2, ring=POLICY.ring)])
def test_lanes_equal_the_definition(of: WanModel, policy: WanPolicy) -> None:
    dit, noise = of.dit, WanNoise.of(policy)
    levels = noise.levels
    lanes = CleanLanes(dit, 2, levels.nominal, (2, 4, 4), shift=levels.shift)
    generator = torch.Generator().manual_seed(1)
    context = torch.randn(DIT.text_len, DIT.text_dim, generator=generator).double()
    state = dit.init_state(1, 4, 4, 2, "cpu", torch.float64)
    dit.set_context(state, torch.tensor([0]), context[None])
    for index in range(6):
        steps = 1 + index % len(levels)
        x = gaussian_noise(7, index, 0, (2, 16, 4, 4)).double()[None]
        entry = Entry(
            index=index,
            cond=torch.zeros(2, 16, 4, 4, dtype=torch.float64),
            sigma=torch.tensor(1.0),
            timestep=torch.tensor(1000.0),
            steps=steps,
            seed=7,
            prompt=Prompt("p", context),
        )
        lanes.enter(1, entry)
        (done,) = lanes.step([0, 1], spread=[1])
        assert (done.slot, done.index, lanes.in_flight(1)) == (1, index, 0)
        for step in range(steps):
            t = torch.full((1, 2), 1000 * levels.nominal[step])
            clean = dit.to_x0(dit(x, t, state), x, levels.read(t).double())
            if step + 1 < steps:
                fresh = gaussian_noise(7, index, step + 1, (2, 16, 4, 4))
                sigma = levels.sigma(levels.nominal[step + 1])
                x = torch.lerp(clean.float(), fresh, sigma).double()
        dit(clean, torch.zeros(1, 2), state)
        state.ring.commit(None)
        torch.testing.assert_close(done.latent, clean[0], rtol=1e-6, atol=1e-6)
    assert lanes.state.ring.frames.tolist() == [0, 12]


@pytest.mark.parametrize("mode", [TEXT, IMAGE])
def test_streams_in_one_batch_equal_each_alone(of: WanModel, mode: str) -> None:
    host = pipeline(of, policy=POLICY, sequential=False, streams=3)
    streams = [host.open(SIZE) for _ in range(3)]
    asked = [
        wishes(mode=mode, seed=1),
        wishes(mode=TEXT, steps=1, seed=2),
        wishes(mode=mode, steps=3),
    ]
    together: list[dict[int, torch.Tensor]] = [{}, {}, {}]
    for index in range(4):
        works = [
            Work(stream, index, clip(i, 4)[index], asked[i]) for i, stream in enumerate(streams)
        ]
        for result in host.step(works):
            assert result.index == index, "nothing stays in flight"
            together[streams.index(result.stream)][index] = result.frames
    for i in range(3):
        alone = pipeline(of, policy=POLICY)
        own = run(alone, alone.open(SIZE), clip(i, 4), {0: asked[i]})
        for index, pictures in together[i].items():
            assert pictures.shape == (CHUNK, 3, SIDE, SIDE)
            torch.testing.assert_close(pictures, own[index].frames, rtol=1e-9, atol=1e-10)


def test_a_moved_stream_equals_one_that_stays(of: WanModel) -> None:
    here, there = pipeline(of, policy=POLICY), pipeline(of, policy=POLICY)
    staying, leaving = here.open(SIZE), here.open(SIZE)
    for stream in (staying, leaving):
        run(here, stream, clip(1, 3), {0: wishes(mode=IMAGE)})
    arrived = there.load(SIZE, here.save(leaving))
    then = {0: wishes(mode=IMAGE)}
    moved = run(there, arrived, clip(1, 2), then, start=3)
    assert apart(moved, run(here, staying, clip(1, 2), then, start=3)) == 0


def test_an_early_end_equals_fewer_steps_and_a_pass_less_changes_what_follows(
    of: WanModel,
) -> None:
    def three(wish: Controls, effort: Effort, most: int) -> list[torch.Tensor]:
        host = pipeline(of, policy=POLICY)
        stream = host.open(SIZE)
        made = []
        for index in range(3):
            work = Work(
                stream, index, clip(1, 3)[index], wish, effort, lambda passes: passes < most
            )
            made += [result.frames for result in host.step([work])]
        return made

    full = Effort("full")
    # From a picture, whose pass is one whatever the steps.
    asked = wishes(steps=2, mode=IMAGE)
    early = three(wishes(steps=len(POLICY.levels), mode=IMAGE), full, 2)
    assert all(map(torch.equal, early, three(asked, full, 9)))
    unclean = three(asked, Effort("unclean", commit=False), 9)
    assert not torch.allclose(unclean[2], early[2])


def test_what_it_declares(of: WanModel) -> None:
    info = pipeline(of, policy=POLICY).info
    mode = next(control for control in info.controls if control.name == "mode")
    assert info.chunk == CHUNK and mode.choices == (TEXT, IMAGE) and mode.default == TEXT
