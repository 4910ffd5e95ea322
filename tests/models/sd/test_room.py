"""What is told of a UNet model's memory, against what PyTorch allocates."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from millrace.models.sd import room
from millrace.models.sd.denoiser import Denoiser, Drawing, Task
from millrace.models.sd.network import Network, channels_last
from millrace.models.sd.parts import Autoencoder
from millrace.models.sd.room import Extra, Walk, estimate
from millrace.models.sd.specs import levels
from peak import peak_bytes
from sd_fakes import (
    SPEC,
    UNET,
    FakePrompts,
    picture,
    seeded,
    tiny_controlnet,
    tiny_unet,
)
from torch import nn

DEEP: dict[str, Any] = {
    **UNET,
    "block_out_channels": (32, 64, 64),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}
PLAIN: dict[str, Any] = {
    **UNET,
    "block_out_channels": (64, 64),
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
}


@pytest.mark.parametrize("unet", [UNET, DEEP, PLAIN], ids=["small", "deep", "no attention"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("rows", "side"), [(1, 16), (3, 32)])
def test_a_forward_is_bounded_closely(
    unet: dict[str, Any], dtype: torch.dtype, rows: int, side: int
) -> None:
    network = channels_last(nn.Module.to(seeded(UNet2DConditionModel, 1, **unet), dtype))
    z, text = torch.zeros(rows, 4, side, side, dtype=dtype), torch.zeros(rows, 77, 32, dtype=dtype)
    times = torch.full((rows,), 99.0)
    with torch.inference_mode():
        there = peak_bytes(lambda: network(z, times, text, return_dict=False))
    walk = Walk.through(unet, side * side)
    told = (rows * walk.most + walk.layer) * z.element_size()
    assert there <= told < 1.6 * there


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_autoencoder_is_bounded_closely(dtype: torch.dtype) -> None:
    coder = Autoencoder(nn.Module.to(seeded(AutoencoderTiny, 4), dtype))
    pictures, latents = picture(1, 2, 64), torch.zeros(2, 4, 8, 8)
    with torch.inference_mode():
        there = [
            peak_bytes(lambda: coder.encode(pictures)),
            peak_bytes(lambda: coder.decode(latents)),
        ]
    # A forward of a small network at this size is far below.
    told = estimate(SPEC, (64, 64), 1, 2, str(dtype).removeprefix("torch."), 1)["work"]
    assert max(there) <= told < 2 * max(there)


@pytest.mark.parametrize("controlled", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_stream_batch_takes_no_more_than_is_told(
    controlled: bool, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that a batch allocates: rows, prompts and noise that are kept, and the forward."""
    # An autoencoder of the usual width would hide what a small network takes.
    monkeypatch.setattr(room, "TAESD_WIDTH", 0)
    controlnet = tiny_controlnet() if controlled else None
    network = Network(
        SPEC, tiny_unet(), None, controlnet, (lambda frames: frames) if controlled else None
    )
    prompts, side, frames, sessions = FakePrompts(), 128, 2, 2
    denoiser = Denoiser(network, frames, (4, side // 8, side // 8))
    pictures, clean = picture(1, frames, side), torch.zeros(frames, 4, side // 8, side // 8)

    def run() -> object:
        state = denoiser.init_state(sessions * SPEC.max_steps)
        given = levels(SPEC, tuple(range(10, 10 + steps)))
        drawing = Drawing(prompts.get("a"), prompts.get("b"), given, cfg="full", guidance=1.4)
        tasks = []
        for session in range(sessions):
            for level in range(steps):
                row = session * SPEC.max_steps + level
                denoiser.enter(state, row, clean, drawing, pictures)
                tasks.append(Task(row, drawing, level))
        return state, denoiser.step(state, tasks)

    with torch.inference_mode():
        there = peak_bytes(run)
    extra = Extra(controlnet=controlled)
    told = estimate(SPEC, (side, side), sessions, frames, "float32", steps, extra)
    del told["weights"]
    assert told["frames"] < there <= sum(told.values())


def test_what_is_added_counts() -> None:
    plain = estimate(SPEC, (64, 64), 1, 1, "bfloat16", 1)
    lora = estimate(SPEC, (64, 64), 1, 1, "bfloat16", 1, Extra(1000))
    assert lora == {**plain, "weights": plain["weights"] + 2000}
    lines = estimate(SPEC, (64, 64), 1, 1, "bfloat16", 1, Extra(1000, controlnet=True))
    # A condition of three channels for each frame in flight.
    assert lines["frames"] - plain["frames"] == SPEC.max_steps * 3 * 64 * 64 * 2


@pytest.mark.parametrize(
    "more", [((128, 64), 1, 1, 1), ((64, 64), 2, 1, 1), ((64, 64), 1, 2, 1), ((64, 64), 1, 1, 2)]
)
def test_more_of_everything_takes_more(more: tuple[tuple[int, int], int, int, int]) -> None:
    size, sessions, frames, steps = more
    told = estimate(SPEC, size, sessions, frames, "float32", steps)
    assert sum(told.values()) > sum(estimate(SPEC, (64, 64), 1, 1, "float32", 1).values())
