"""Policies of released checkpoints: their numbers, and what they make of the one model class."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from millrace.models.dit import CausalDiT
from millrace.models.policies import (
    CAUSVID,
    POLICIES,
    SELF_FORCING,
    STREAMDIFFUSION_V2,
    STREAMDIFFUSION_V2_FAST,
    WanPolicy,
    placed,
    policy_named,
)
from millrace.models.rollout import denoise_chunk
from millrace.models.specs import WAN_1_3B
from torch import Tensor

from .conftest import randomize, small_dit_spec

F64 = torch.float64


def cache(policy: WanPolicy) -> int:
    """Frames that the attention of a chunk spans when the stream runs."""
    return policy.ring.sinks + policy.ring.window + policy.frames


def timesteps(policy: WanPolicy) -> list[float]:
    return [round(level.timestep, 2) for level in policy.levels]


def test_numbers_of_the_released_configurations() -> None:
    v2, fast = STREAMDIFFUSION_V2, STREAMDIFFUSION_V2_FAST
    assert (cache(v2), v2.ring.sinks, v2.ring.sink_threshold) == (6, 3, 0.2)
    assert (cache(fast), fast.ring.sinks, fast.ring.sink_threshold) == (5, 2, None)
    assert timesteps(v2) == timesteps(fast) == [700, 500, 400, 200]
    assert [round(level.sigma, 5) for level in v2.levels] == [0.70023, 0.49972, 0.40026, 0.19835]
    assert v2.entry_timestep(v2.noise) == 700 and v2.entry_timestep(0.7) == 600
    assert not v2.normalise and v2.source == "video"
    for policy in (SELF_FORCING, CAUSVID):
        assert (cache(policy), policy.ring.sinks, policy.frames) == (21, 0, 3)
        assert policy.history == "clean" and policy.source == "noise"
        assert policy.levels[0].sigma == 1 and policy.entry_timestep(1.0) == 1000
    assert timesteps(SELF_FORCING) == [1000, 937.5, 833.33, 625]
    assert timesteps(CAUSVID) == [1000, 757, 522]


def test_a_policy_gives_a_size_its_memory() -> None:
    spec = SELF_FORCING.spec(WAN_1_3B)
    assert spec.ring == SELF_FORCING.ring and replace(spec, ring=WAN_1_3B.ring) == WAN_1_3B
    assert STREAMDIFFUSION_V2.spec(WAN_1_3B) == WAN_1_3B, "what the spec has by itself"


def test_absolute_positions_end_with_the_trained_range() -> None:
    ring = placed(STREAMDIFFUSION_V2, "absolute").ring
    assert (ring.positions, ring.span, ring.reach) == ("absolute", 20, 20)
    assert placed(placed(SELF_FORCING, "absolute"), "relative") == SELF_FORCING
    assert all(policy.ring.reach is not None for policy in POLICIES.values())


def test_names_and_wrong_numbers() -> None:
    assert policy_named("self-forcing") is SELF_FORCING
    with pytest.raises(ValueError, match="there are streamdiffusionv2, "):
        policy_named("self_forcing")
    with pytest.raises(ValueError, match="5 steps; this checkpoint has 1 to 4"):
        STREAMDIFFUSION_V2.steps(5)
    with pytest.raises(ValueError, match="told less by 900"):
        replace(STREAMDIFFUSION_V2, told_less=900.0)
    with pytest.raises(ValueError, match="at least one latent frame"):
        replace(CAUSVID, frames=0)


# -- what they make of a model ------------------------------------------------------------------


def tiny(policy: WanPolicy) -> CausalDiT:
    model = CausalDiT(policy.spec(small_dit_spec(stem=False))).double()
    randomize(model)
    return model


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def roll(model: CausalDiT, policy: WanPolicy, chunks: int, levels: int) -> Tensor:
    """A stream of `chunks` from noise, [1, chunks * frames, 4, 4, 6]."""
    shape = (1, policy.frames, 4, 4, 6)
    state = model.init_state(1, 4, 6, policy.frames, "cpu", F64)
    model.set_context(state, torch.arange(1), draw(0, 1, 3, 10))
    clean = []
    for chunk in range(chunks):
        seed = 100 * chunk + 1
        noise = [draw(seed + step, *shape) for step in range(levels)]
        steps = policy.steps(levels)
        clean.append(denoise_chunk(model, state, noise[0], steps, noise.__getitem__, policy))
    assert state.ring.frames.tolist() == [chunks * policy.frames]
    return torch.cat(clean, 1)


@pytest.mark.parametrize("policy", [SELF_FORCING, CAUSVID], ids=["self-forcing", "causvid"])
def test_clean_history_is_that_of_the_finished_frames(policy: WanPolicy) -> None:
    """Past the sliding point (21 frames) each chunk is what it is over a past of clean frames at
    timestep 0, whatever its own noisy passes wrote on the way."""
    short = replace(policy, ring=replace(policy.ring, window=6))
    model, chunks = tiny(short), 6
    clean = roll(model, short, chunks, 2)
    first, second = short.steps(2)
    context = draw(0, 1, 3, 10)
    for chunk in (0, 1, chunks - 1):
        past, own = clean[:, : 3 * chunk], slice(3 * chunk, 3 * chunk + 3)
        x = draw(100 * chunk + 1, 1, 3, 4, 4, 6)
        told = torch.zeros(1, 3 * chunk + 3, dtype=F64)
        for level, after, seed in ((first, second.sigma, 2), (second, 0.0, 2)):
            told[:, own] = level.timestep
            whole = torch.cat((past, x), 1)
            flow = model.forward_clip(whole, told, context, chunk=3).detach()[:, own]
            finished = x - level.sigma * flow
            x = (1 - after) * finished + after * draw(100 * chunk + seed, 1, 3, 4, 4, 6)
        torch.testing.assert_close(clean[:, own], finished, rtol=1e-9, atol=1e-9)


def test_the_whole_released_memory_streams() -> None:
    clean = roll(tiny(SELF_FORCING), SELF_FORCING, 9, 4)
    assert clean.shape[1] == 27 and clean.isfinite().all()


def test_history_of_levels_keeps_what_the_last_step_wrote() -> None:
    """Without a clean pass the past is as noisy as the last level: another stream."""
    policy = replace(SELF_FORCING, history="levels")
    model = tiny(policy)
    assert not torch.equal(roll(model, policy, 2, 2), roll(model, SELF_FORCING, 2, 2))
    first = slice(0, 3)
    one, other = (roll(model, p, 2, 2)[:, first] for p in (policy, SELF_FORCING))
    assert torch.equal(one, other), "the first chunk has no past"


def test_one_sink_decision_for_all_layers_and_none_before_the_ring_is_full() -> None:
    """The released code judges a sink slot that is empty still, and each layer by itself."""
    policy = replace(
        STREAMDIFFUSION_V2, ring=replace(STREAMDIFFUSION_V2.ring, sink_threshold=0.999)
    )
    model = tiny(policy)
    state = model.init_state(2, 4, 6, 1, "cpu", F64)
    model.set_context(state, torch.arange(2), draw(0, 2, 3, 10))
    for frame in range(6):
        assert not state.ring.sink_shift.any(), "three sinks and a window of two: not full yet"
        model(draw(frame, 2, 1, 4, 4, 6), torch.full((2, 1), 700.0, dtype=F64), state)
        state.ring.commit(None)
    held = state.ring.sink_shift + torch.arange(3)
    assert ((held == 5).sum(1) == 1).all() and (state.ring.sink_shift != 0).sum() == 2
    newest = 3 + (5 - 3) % 3
    for row, slot in (held == 5).nonzero().tolist():
        for memory in (state.ring.k, state.ring.v):
            assert torch.equal(memory[:, row, slot], memory[:, row, newest])
