"""UNet models: levels, guidance, LoRA, ControlNet, text and strict loading, at a tiny size."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from diffusers import LCMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.kernels import flow_step
from millrace.models.sd import steps
from millrace.models.sd.denoiser import CFG, Cfg, Denoiser, Drawing, Task
from millrace.models.sd.network import Network
from millrace.models.sd.specs import (
    SD15_LCM,
    SD_TURBO,
    NoiseLevel,
    Prediction,
    SDSpec,
    level_indices,
    levels,
)
from sd_fakes import (
    SPEC,
    Answers,
    FakePrompts,
    noises,
    oracle,
    tiny_unet,
)
from torch import Tensor

PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "v_prediction", "flow")
LATENT = (4, 4, 4)


# Levels.


@pytest.mark.parametrize(
    ("index", "timestep", "share"),
    [
        (0, 999, 0.0683),
        (16, 679, 0.3098),
        (22, 559, 0.4513),
        (32, 359, 0.7011),
        (35, 299, 0.7695),
        (40, 199, 0.8690),
        (45, 99, 0.9463),
    ],
)
def test_levels_are_those_of_lcm_sampling(index: int, timestep: int, share: float) -> None:
    (level,) = levels(SD_TURBO, (index,))
    assert level.timestep == timestep
    assert level.clean == pytest.approx(share, abs=5e-5)
    assert level.clean**2 + level.noise**2 == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("wrong", [(), (1, 1), (5, 3), (-1,), (50,), (1, 2, 3, 4, 5)])
def test_levels_that_make_no_sense_are_refused(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="level"):
        levels(SD_TURBO, wrong)


@given(st.floats(0, 1), st.integers(1, 8))
def test_every_strength_and_number_of_steps_gives_levels(strength: float, count: int) -> None:
    found = levels(SD15_LCM, level_indices(SD15_LCM, strength, count))
    assert 1 <= len(found) <= count
    assert found[0].timestep == pytest.approx(20 * 50 * strength - 1, abs=20)


def test_a_strength_is_the_first_level() -> None:
    assert level_indices(SD_TURBO, 0.3, 2) == (35, 45)
    assert level_indices(SD_TURBO, 1.0, 4) == (0, 15, 30, 45)
    assert level_indices(SD_TURBO, 0.0, 4) == (49,)
    assert level_indices(SD_TURBO, 0.04, 4) == (48, 49)


# Steps.


def numbers(level: NoiseLevel) -> tuple[Tensor, Tensor]:
    return torch.tensor(level.clean).double(), torch.tensor(level.noise).double()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("chosen", [(22, 32, 45), (0, 45), (35,)])
def test_a_step_equals_that_of_the_lcm_scheduler(
    prediction: Prediction, chosen: tuple[int, ...]
) -> None:
    theirs: Any = LCMScheduler(prediction_type=prediction)
    theirs.set_timesteps(50)
    spec = replace(SD15_LCM, prediction=prediction)
    generator = torch.Generator().manual_seed(0)
    z, output, clean, noise = (torch.randn(1, 4, 4, 4, generator=generator) for _ in range(4))
    for index, level in zip(chosen, levels(spec, chosen), strict=True):
        assert theirs.timesteps[index] == level.timestep
        theirs._step_index = None
        there = theirs.step(output, theirs.timesteps[index], z).denoised
        a, b = numbers(level)
        here = steps.to_clean(output, z, a, b, prediction)
        here = steps.bounded(here, z, torch.tensor(level.skip), torch.tensor(level.out))
        torch.testing.assert_close(here.float(), there, rtol=1e-5, atol=1e-5)
        there = theirs.add_noise(clean, noise, theirs.timesteps[index : index + 1])
        torch.testing.assert_close(steps.noised(clean, noise, a, b).float(), there)


def test_a_flow_step_is_that_of_the_video_models() -> None:
    now, after = levels(replace(SD_TURBO, prediction="flow"), (20, 40))
    generator = torch.Generator().manual_seed(0)
    z, flow, noise = (torch.randn(2, 4, 4, 4, generator=generator) for _ in range(3))
    sigma, later = torch.tensor([now.noise] * 2), torch.tensor([after.noise] * 2)
    clean, following = flow_step(z, flow, sigma, later, noise)
    mine = steps.to_clean(flow, z, torch.tensor(now.clean), torch.tensor(now.noise), "flow")
    torch.testing.assert_close(mine, clean)
    own = steps.noised(mine, noise, torch.tensor(after.clean), torch.tensor(after.noise))
    torch.testing.assert_close(own, following)


# Guidance.


def denoised(
    denoiser: Denoiser, cleans: list[Tensor], drawings: list[Drawing]
) -> list[list[Tensor]]:
    """What each chunk's steps give, all chunks together, the shorter ones leaving earlier."""
    state = denoiser.init_state(len(cleans))
    for row, (clean, drawing) in enumerate(zip(cleans, drawings, strict=True)):
        denoiser.enter(state, row, clean, drawing, torch.empty(0))
    found: list[list[Tensor]] = [[] for _ in cleans]
    for level in range(max(len(drawing.levels) for drawing in drawings)):
        rows = [row for row, own in enumerate(drawings) if level < len(own.levels)]
        tasks = [Task(row, drawings[row], level) for row in rows]
        for row, clean in zip(rows, denoiser.step(state, tasks), strict=True):
            found[row].append(clean)
    return found


def wish(
    spec: SDSpec = SPEC, chosen: tuple[int, ...] = (22, 32, 45), cfg: Cfg = "self", **more: Any
) -> Drawing:
    prompts = FakePrompts(torch.float64)
    own = levels(spec, chosen)
    return Drawing(prompts.get("a"), prompts.get("b"), own, cfg, **more)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(PREDICTIONS),
    st.sampled_from(["constant", "lcm"]),
    st.lists(
        st.tuples(
            st.sampled_from(CFG),
            st.lists(st.integers(10, 49), min_size=1, max_size=4, unique=True),
            st.floats(1, 4),
            st.floats(0, 1),
            st.booleans(),
            st.integers(0, 5),
        ),
        min_size=1,
        max_size=3,
    ),
    st.integers(1, 3),
)
def test_every_guidance_equals_its_definition_step_by_step(
    prediction: Prediction, boundary: str, asked: list[tuple], frames: int
) -> None:
    spec = replace(SPEC, prediction=prediction, boundary=boundary)
    network = Network(spec, Answers())
    drawings = [
        wish(spec, tuple(sorted(own)), cfg, guidance=g, delta=d, noise=noise, seed=seed)
        for cfg, own, g, d, noise, seed in asked
    ]
    generator = torch.Generator().manual_seed(7)
    cleans = [torch.randn(frames, *LATENT, dtype=torch.float64, generator=generator) for _ in asked]
    found = denoised(Denoiser(network, frames, LATENT), cleans, drawings)
    for clean, drawing, results in zip(cleans, drawings, found, strict=True):
        drawn = noises(drawing.seed, 5, LATENT)
        for t in range(frames):
            expected = oracle(network, clean[t], drawing, drawn)
            for result, one in zip(results, expected, strict=True):
                torch.testing.assert_close(result[t], one, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("cfg", "noise"), list(product(CFG, [True, False])))
def test_guidance_on_a_real_unet_equals_its_definition(cfg: Cfg, noise: bool) -> None:
    network = Network(SPEC, tiny_unet(torch.float64))
    drawing = wish(cfg=cfg, guidance=1.4, delta=0.5, noise=noise, seed=3)
    clean = torch.randn(2, *LATENT, dtype=torch.float64)
    (found,) = denoised(Denoiser(network, 2, LATENT), [clean], [drawing])
    for t in range(2):
        for result, one in zip(
            found, oracle(network, clean[t], drawing, noises(3, 3, LATENT)), strict=True
        ):
            # diffusers makes the sinusoid of the time in float32.
            torch.testing.assert_close(result[t], one, rtol=1e-6, atol=1e-6)


def test_one_step_of_self_guidance_is_a_function_of_the_frame() -> None:
    denoiser = Denoiser(Network(SPEC, Answers()), 1, LATENT)
    state = denoiser.init_state(1)
    drawing = wish(chosen=(35,), guidance=1.4)
    seen = []
    for seed in (1, 2, 1, 1):
        clean = torch.randn(
            1, *LATENT, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
        )
        denoiser.enter(state, 0, clean, drawing, torch.empty(0))
        seen.append(denoiser.step(state, [Task(0, drawing, 0)]))
    assert torch.equal(seen[0], seen[2]) and torch.equal(seen[0], seen[3])
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("cfg", CFG)
def test_guidance_of_one_is_none_bit_for_bit(cfg: Cfg) -> None:
    denoiser = Denoiser(Network(SPEC, Answers()), 1, LATENT)
    clean = torch.randn(1, *LATENT, dtype=torch.float64)
    (plain,) = denoised(denoiser, [clean], [wish(cfg="none", guidance=3.0, delta=0.3)])
    (other,) = denoised(denoiser, [clean], [wish(cfg=cfg, guidance=1.0, delta=0.3)])
    assert all(map(torch.equal, plain, other))
    assert denoiser.rows_of([Task(0, wish(cfg=cfg, guidance=1.0), 0)]) == 1


def test_only_negative_prompts_cost_rows() -> None:
    denoiser = Denoiser(Network(SPEC, Answers()), 3, LATENT)
    rows = {
        cfg: [denoiser.rows_of([Task(0, wish(cfg=cfg, guidance=2.0), level)]) for level in (0, 1)]
        for cfg in CFG
    }
    assert rows == {"none": [1, 1], "full": [2, 2], "self": [1, 1], "onetime": [2, 1]}


def test_a_step_touches_its_own_rows_alone() -> None:
    denoiser = Denoiser(Network(SPEC, Answers()), 1, LATENT)
    state = denoiser.init_state(3)
    state.z.normal_(), state.anchor.normal_()
    z, anchor, places = (
        state.z.clone(),
        state.anchor.clone(),
        [t.data_ptr() for t in state.tensors()],
    )
    denoiser.step(state, [Task(1, wish(cfg="onetime", guidance=2.0), 0)])
    for now, before in ((state.z, z), (state.anchor, anchor)):
        assert torch.equal(now[[0, 2]], before[[0, 2]]) and not torch.equal(now[1], before[1])
    assert places == [t.data_ptr() for t in state.tensors()]
