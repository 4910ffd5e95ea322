"""A tick asks nothing back from its device: the whole route on a device without values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from millrace.kernels import i420_to_rgb, rgb_to_i420
from millrace.models.scene import random_scene
from millrace.models.sd.control import CONDITIONS
from millrace.models.sd.network import Network
from millrace.models.sd.parts import Autoencoder, SDModel
from millrace.models.sd.text import Prompt
from millrace.models.specs import AutoencoderName
from millrace.models.taehv import TAEHV
from millrace.models.tiny import load_prompts, load_tiny
from millrace.models.wan import WanModel, random_wan
from millrace.models.wan_vae import WanVAE
from millrace.streaming.controls import Controls
from millrace.streaming.diffusion import VideoDiffusion
from millrace.streaming.dream_pipeline import Dreaming
from millrace.streaming.pipeline import Effort, Pipeline, StreamConfig, Work
from millrace.streaming.sd import UNetStylizer
from millrace.streaming.sd_info import sd_info
from millrace.streaming.tiny import tiny_parts
from millrace.streaming.tiny_info import CONTROLS
from millrace.streaming.wan_info import IMAGE, TEXT
from no_wait import DEVICE, Waits, no_wait
from sd_fakes import SPEC, TEXT_DIM, TOKENS, tiny_controlnet, tiny_unet, tiny_vae
from torch import nn

from . import wan_models

Wish = Callable[..., Controls]
TICKS = 5


def tiny(sequential: bool) -> tuple[VideoDiffusion, int, int, Wish]:
    """The shipped model's structure; pipeline, frames of a chunk, a side, and how one wishes."""
    parts = tiny_parts(load_tiny().to(DEVICE), load_prompts())

    def wish(**changes: object) -> Controls:
        return Controls.defaults(CONTROLS).changed(CONTROLS, {"prompt": "noir", **changes})

    return VideoDiffusion(parts, streams=4, sequential=sequential), 1, 64, wish


def wan(coder: AutoencoderName, sequential: bool) -> tuple[VideoDiffusion, int, int, Wish]:
    # Sinks that are renewed by what the newest frame looks like: the device decides.
    ring = replace(wan_models.POLICY.ring, sink_threshold=0.97)
    policy = replace(wan_models.POLICY, ring=ring)
    sizes = replace(wan_models.SIZES, dit=policy.spec(wan_models.SIZES.dit))
    made = random_wan(sizes, coder, "cpu", torch.bfloat16)
    coder_there = made.autoencoder
    assert isinstance(coder_there, TAEHV | WanVAE)
    there = WanModel(made.sizes, made.dit.to(DEVICE), coder_there.to(DEVICE))
    host = wan_models.pipeline(there, sequential=sequential, streams=4, policy=policy)
    return host, wan_models.CHUNK, wan_models.SIDE, wan_models.wishes


def dream() -> tuple[Dreaming, int, int, Wish]:
    """Words alone, at any strength; what else is wished changes nothing."""
    scene = random_scene(["a", "red", "circle"], str(DEVICE), "float32")
    host = Dreaming(scene, load_tiny().autoencoder.to(DEVICE), streams=4)
    schema = host.info.controls

    def wish(**changes: object) -> Controls:
        words = {"neon": "red circle"}.get(str(changes.get("prompt")), "a circle")
        return Controls.defaults(schema).changed(schema, {"prompt": words})

    return host, host.info.chunk, 64, wish


class _There:
    """Prompts that lie on the device, as kept ones do."""

    def __init__(self) -> None:
        self._known: dict[str, Prompt] = {}

    def get(self, text: str, lora: float = 0.0) -> Prompt:
        made = Prompt(text, torch.zeros(TOKENS, TEXT_DIM, device=DEVICE))
        return self._known.setdefault(text, made)


def unet(sequential: bool) -> tuple[UNetStylizer, int, int, Wish]:
    """A model of Stable Diffusion's kind, guided by what it drew before and by edges."""
    parts = [nn.Module.to(part, DEVICE) for part in (tiny_unet(), tiny_controlnet(), tiny_vae())]
    network = Network(SPEC, parts[0], None, parts[1], CONDITIONS["edges"])
    model = SDModel(SPEC, network, Autoencoder(parts[2]), _There())
    info = sd_info(SPEC, controlnet="lines")
    host = UNetStylizer(model, info, streams=4, sequential=sequential)
    schema = host.info.controls

    def wish(**changes: object) -> Controls:
        own = {name: value for name, value in changes.items() if name in SD_WISHES}
        return Controls.defaults(schema).changed(schema, {"cfg": "self", **own})

    return host, 1, 64, wish


SD_WISHES = ("steps", "seed", "prompt")
HOSTS: dict[str, Callable[[], tuple[Pipeline, int, int, Wish]]] = {
    "tiny": lambda: tiny(True),
    "tiny, as a stream batch": lambda: tiny(False),
    "wan with taehv": lambda: wan("taehv", True),
    "wan with taehv, as a stream batch": lambda: wan("taehv", False),
    "wan with its own autoencoder": lambda: wan("wan", True),
    "text to video": dream,
    "a unet": lambda: unet(True),
    "a unet, as a stream batch": lambda: unet(False),
}


def frames(chunk: int, side: int) -> torch.Tensor:
    """As `batch.encode` makes them of planes on the device."""
    planes = torch.zeros(chunk, side * 3 // 2, side, dtype=torch.uint8, device=DEVICE)
    return i420_to_rgb(planes)


@pytest.mark.parametrize("name", HOSTS)
def test_no_tick_waits_for_the_device(name: str) -> None:
    """Streams that join, leave a hole, change steps, prompt, window, size and source, and reset."""
    host, chunk, side, wish = HOSTS[name]()
    size = StreamConfig(side, side)
    streams = [host.open(size) for _ in range(4)]
    host.close(streams.pop(1))
    changes: Mapping[int, Controls] = {
        0: wish(steps=2),
        1: wish(steps=1, seed=5),
        2: replace(wish(steps=2, prompt="neon"), resets=1),
        3: wish(steps=2, prompt="neon", strength=0.5),
    }
    if name.startswith("wan"):
        changes = {**changes, 3: wish(steps=3, mode=TEXT), 4: wish(steps=2, mode=IMAGE)}
    efforts = {2: Effort("short", window=1), 3: Effort("small", scale=0.5)}
    made = 0
    with torch.inference_mode():
        # Tables are made once, which may wait.
        host.step([Work(stream, 0, frames(chunk, side), wish()) for stream in streams])
        with no_wait():
            # The large autoencoder takes seconds a tick on this device.
            for tick in range(1, 3 if "own" in name else TICKS):
                now, effort = changes.get(tick, wish()), efforts.get(tick, Effort("full"))
                works = [
                    Work(s, tick, frames(chunk, side), now, effort) for s in streams[: 1 + tick]
                ]
                results = host.step(works)
                made += sum(rgb_to_i420(r.frames).shape[0] for r in results)
    assert made


def test_whatever_waits_is_refused() -> None:
    """The watcher itself, against each kind of waiting."""
    there, mask = torch.zeros(4, device=DEVICE), torch.ones(4, dtype=torch.bool, device=DEVICE)
    waiting: dict[str, Callable[[], object]] = {
        "a value read": lambda: float(there[0]),
        "a list": lambda: there.tolist(),
        "a condition": lambda: bool(mask.all()),
        "a mask as an index": lambda: there[mask],
        "places of what is true": lambda: mask.nonzero(),
        "a copy to the host": lambda: there.cpu(),
        "a copy from the host": lambda: torch.zeros(3).to(DEVICE),
        "a copy into the device": lambda: there.copy_(torch.zeros(4)),
        "numbers of the host": lambda: torch.tensor([1, 2], device=DEVICE),
        "one number of the host": lambda: there.new_tensor(1.0),
    }
    with no_wait():
        for what, call in waiting.items():
            with pytest.raises((Waits, RuntimeError, NotImplementedError)):
                call()
                pytest.fail(f"{what} went through")
        # And what does not wait goes through.
        there.index_fill_(0, torch.zeros(2, dtype=torch.int64, device=DEVICE), 1.0)
        there.copy_(torch.zeros(4), non_blocking=True)
