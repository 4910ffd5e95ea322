"""Noise of the causal Wan models: what enters, what the model is told, and the golden stream."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from millrace.models.dit import CausalDiT
from millrace.models.loaders import assign_weights
from millrace.models.policies import POLICIES, STREAMDIFFUSION_V2
from millrace.models.sigmas import sigma_of
from millrace.models.specs import WAN_1_3B, DiTSpec, RingSpec
from millrace.streaming.entries import Entry
from millrace.streaming.lanes import Lanes
from millrace.streaming.levels import Levels
from millrace.streaming.motion import NoiseController
from millrace.streaming.prompts import Prompt
from millrace.streaming.wan_info import IMAGE, TEXT
from millrace.streaming.wan_parts import WanNoise

from .wan_models import wishes

GOLDEN = Path(__file__).parents[1] / "golden" / "streamdiffusionv2.pt"
NOISE = WanNoise.of(STREAMDIFFUSION_V2)


def test_timesteps_mean_the_nearest_noise_of_the_table() -> None:
    told = torch.tensor([[0.0, 3.3, 200.0], [615.0, 700.0, 1000.0]])
    found = NOISE.levels.read(told)
    expected = torch.tensor([[sigma_of(float(t)) for t in row] for row in told])
    torch.testing.assert_close(found, expected)
    # As the reference was seen to look them up.
    for timestep, sigma in ((700, 0.70023), (500, 0.49972), (400, 0.40026), (200, 0.19835)):
        assert round(NOISE.levels.sigma(timestep / 1000), 5) == sigma
    plain = Levels((0.8, 0.5))
    assert plain.sigma(0.5) == 0.5 and torch.equal(plain.read(told), told / 1000)


def test_every_policy_keeps_its_levels() -> None:
    for policy in POLICIES.values():
        noise = WanNoise.of(policy)
        for nominal, level in zip(noise.levels.nominal, policy.levels, strict=True):
            assert 1000 * nominal == pytest.approx(level.timestep)
            assert noise.levels.sigma(nominal) == pytest.approx(level.sigma, abs=1e-6)


def reference_scales(clips: torch.Tensor, start: float) -> list[tuple[float, int]]:
    """Written from the description of the released controller, in Python numbers."""
    scale, last, found = start, None, []
    for chunk in clips:
        wide = chunk * 2 - 1
        frames = wide if last is None else torch.cat((last[None], wide))
        steps = (frames[1:] - frames[:-1]).square().mean((1, 2, 3)).sqrt()
        moved = min(float(steps.max()) / 0.2, 1.0)
        scale = 0.9 * (start - 0.1 * moved) + 0.1 * scale
        found.append((scale, int(1000 * scale + 1e-3) - 100))
        last = wide[-1]
    return found


def test_entry_noise_follows_motion_and_is_told_a_hundred_less() -> None:
    generator = torch.Generator().manual_seed(1)
    still = torch.rand(3, 16, 16, generator=generator).double()
    drift = torch.randn(6, 4, 3, 16, 16, generator=generator).double()
    speeds = torch.tensor([0.0, 0.01, 0.1, 1.0, 0.02, 0.0]).view(-1, 1, 1, 1, 1)
    clips = (still + drift * speeds).clamp(0, 1)
    controller, noise, last = NoiseController(0.8), torch.tensor(0.8), None
    for chunk, (scale, told) in zip(clips, reference_scales(clips, 0.8), strict=True):
        noise = controller.next(noise, chunk, last)
        last = chunk[-1]
        assert float(noise) == pytest.approx(scale, abs=1e-6)
        assert float(NOISE.timestep(noise)) == told
    assert [told for _, told in reference_scales(clips, 0.8)][0] == 700


@pytest.mark.parametrize("strength", [0.3, 0.35, 0.5, 0.65, 0.7, 0.8, 0.9, 1.0])
def test_no_later_level_is_noisier_than_what_can_come_in(strength: float) -> None:
    course = NOISE.course(wishes(strength=strength))
    ladder = course.ladder or NOISE.levels.nominal
    assert ladder[0] == pytest.approx(strength - 0.1)
    least = strength - 0.1 - 0.1
    assert all(level < least for level in ladder[1:])
    assert all(a > b for a, b in zip(ladder, ladder[1:], strict=False))


@pytest.mark.parametrize("mode", [TEXT, IMAGE])
def test_noise_alone_goes_down_in_even_steps(mode: str) -> None:
    assert NOISE.course(wishes(mode=mode, steps=4)).ladder == (1.0, 0.75, 0.5, 0.25)
    assert NOISE.course(wishes(mode=mode, steps=1)).ladder == (1.0,)


def test_timesteps_never_fall_below_zero() -> None:
    assert float(NOISE.timestep(torch.tensor(0.05))) == 0


# -- the public reference -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return torch.load(GOLDEN, weights_only=True)


def golden_spec(golden: dict[str, Any]) -> DiTSpec:
    cfg = golden["cfg"]
    sinks = golden["num_sink"]
    ring = RingSpec(sinks, golden["num_kv_cache"] - sinks - 1, "absolute", None)
    return replace(
        WAN_1_3B,
        dim=cfg["dim"],
        ffn_dim=cfg["ffn_dim"],
        freq_dim=cfg["freq_dim"],
        text_dim=cfg["text_dim"],
        text_len=cfg["text_len"],
        heads=cfg["num_heads"],
        layers=cfg["num_layers"],
        ring=ring,
    )


def primed(golden: dict[str, Any]) -> Lanes:
    """Lanes whose past is the reference's first chunk, the same at both levels."""
    weights = {name.removeprefix("model."): w for name, w in golden["state_dict"].items()}
    dit = assign_weights(CausalDiT(golden_spec(golden)), weights, "golden", "cpu", torch.float32)
    levels = tuple(step / 1000 for step in golden["steps"])
    latent = (1, golden["height"] // 8, golden["width"] // 8)
    lanes = Lanes(dit, 1, levels, latent, shift=8.0)
    x = golden["first"]
    alone = dit.init_state(1, *latent[1:], 1, "cpu", torch.float32)
    dit.set_context(alone, torch.tensor([0]), golden["context"])
    for step, following in zip(golden["steps"], golden["steps"][1:] + [0], strict=True):
        told = torch.full((1, 2), float(step))
        clean = dit.to_x0(dit(x, told, alone, first=True), x, lanes.noise.read(told))
        x = torch.lerp(clean, golden["renoise"][0][None], sigma_of(following))
    alone.ring.commit(None, 2)
    both = torch.tensor([0, 1])
    lanes.state.ring.copy_rows(torch.zeros_like(both), both, alone.ring)
    return lanes


@pytest.mark.parametrize("batched", [True, False])
def test_the_golden_stream_through_the_lanes(golden: dict[str, Any], batched: bool) -> None:
    """Ten chunks of the reference's stream batch, its noise put in the place of ours. One level
    after another gives the same, since the levels do not read each other's past."""
    lanes = primed(golden)
    prompt = Prompt("golden", golden["context"][0])
    out: dict[int, torch.Tensor] = {}
    for index, (latent, _, timestep) in enumerate(golden["chunks"]):
        # It enters as it is; its own noise is in the vectors already.
        entry = Entry(
            index=index,
            cond=latent[0],
            sigma=torch.tensor(0.0),
            timestep=torch.tensor(float(timestep)),
            steps=2,
            seed=0,
            prompt=prompt,
        )
        lanes.forward.noises.kept.tensors[0, index, 0] = torch.zeros_like(latent[0])
        lanes.forward.noises.kept.tensors[0, index, 1] = golden["renoise"][index + 1][0]
        lanes.enter(0, entry)
        for done in lanes.advance([0]) if batched else lanes.complete(0):
            out[done.index] = done.latent.clone()
    assert len(out) == len(golden["chunks"]) - batched
    for index, latent in out.items():
        if index + 1 == len(golden["outs"]):
            continue  # It left the reference after the vectors end.
        expected = golden["outs"][index + 1][1]
        error = (latent - expected).abs().max() / expected.abs().max()
        assert error < 1e-5, f"chunk {index}: {error:.1e}"
