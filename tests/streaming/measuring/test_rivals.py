"""Rivals: diffusers for real, and streamdiffusionv2 through a package that stands in for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from millrace.models.policies import STREAMDIFFUSION_V2
from millrace.models.taehv import TAEHV
from millrace.models.wan import WanSizes, random_wan
from millrace.models.wan_vae import WanVAE
from millrace.streaming import room
from millrace.streaming.clock import ManualClock
from millrace.streaming.controls import Controls
from millrace.streaming.measuring import rival_streamdiffusionv2 as peer
from millrace.streaming.measuring import rivals
from millrace.streaming.measuring.rivals import (
    Challenge,
    Challenger,
    RivalError,
    check_memory,
    entry_of,
    likeness,
)
from millrace.streaming.pipeline import StreamConfig, Work

from ..wan_models import DIT, SIZES
from .peer_package import write

SIDE = 32
RANDOM: dict[str, object] = {"random_weights": True}


def challenge(model: str, folder: Path, **changes: Any) -> Challenge:
    given = {
        "model": model,
        "size": (SIDE, SIDE),
        "device": "cpu",
        "dtype": torch.float32,
        "settings": RANDOM,
        "controls": {},
        "folder": folder,
    }
    return Challenge(**{**given, **changes})


def test_rivals_are_known_by_name_and_by_what_they_can_do() -> None:
    with pytest.raises(RivalError, match="'nobody' is not a system .* diffusers, streamdiffus"):
        entry_of("nobody", "sd-turbo")
    with pytest.raises(RivalError, match="sd-turbo, sd1.5-lcm; not with tiny"):
        entry_of("diffusers", "tiny")


def test_a_rival_that_is_not_installed_is_an_error_that_says_how(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rivals.metadata, "version", _missing)
    with pytest.raises(RivalError, match="pip install --no-deps streamdiffusionv2"):
        entry_of("streamdiffusionv2", "wan2.1-1.3b")


def _missing(package: str) -> str:
    raise rivals.metadata.PackageNotFoundError(package)


def test_two_copies_of_the_weights_must_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = challenge("wan2.1-14b", tmp_path)
    monkeypatch.setattr(room, "free_bytes", lambda device: 50 * 10**9)
    with pytest.raises(
        RivalError, match=r"57\.2 GB \(our weights 28\.6, .* where 50\.0 GB are free"
    ):
        check_memory(peer.ENTRY, asked)
    monkeypatch.setattr(room, "free_bytes", lambda device: 58 * 10**9)
    check_memory(peer.ENTRY, asked)
    monkeypatch.setattr(room, "free_bytes", lambda device: None)
    check_memory(peer.ENTRY, asked)


def test_likeness_is_of_the_whole_and_of_the_worst() -> None:
    ours = torch.zeros(1, 3, 4, 4)
    theirs = ours.clone()
    theirs[0, 0, 0, 0] = 0.5
    found = likeness(ours, theirs)
    assert found.largest == 0.5 and found.psnr_db == pytest.approx(22.83, abs=0.01)
    assert likeness(ours, ours).psnr_db == pytest.approx(200)


# -- diffusers ----------------------------------------------------------------------------------


@pytest.fixture
def unet() -> Iterator[Any]:
    """Our pipeline of a tiny UNet with the random weights of `--random-weights`."""
    pytest.importorskip("diffusers")
    import sd_fakes
    from millrace.models.sd.parts import random_sd
    from millrace.streaming.measuring import rival_diffusers
    from millrace.streaming.sd import UNetStylizer
    from millrace.streaming.sd_info import sd_info

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rival_diffusers, "SPECS", {"sd-turbo": sd_fakes.SPEC})
        model = random_sd(sd_fakes.SPEC, "cpu", torch.float32)
        yield UNetStylizer(model, sd_info(sd_fakes.SPEC, chunk=2, random=True))


@torch.inference_mode()
def drawn(pipeline: Any, pictures: torch.Tensor, changes: dict[str, object]) -> torch.Tensor:
    schema = pipeline.info.controls
    controls = Controls.defaults(schema).changed(schema, changes)
    stream = pipeline.open(StreamConfig(SIDE, SIDE))
    (result,) = pipeline.step([Work(stream, 0, pictures, controls, spread=False)])
    pipeline.close(stream)
    return result.frames


def test_diffusers_draws_the_same_pictures_from_the_exported_weights(
    unet: Any, tmp_path: Path
) -> None:
    import sd_fakes
    from millrace.streaming.measuring.rival_diffusers import ENTRY

    changes: dict[str, object] = {"strength": 0.6, "seed": 5, "prompt": "a red fox"}
    asked = challenge("sd-turbo", tmp_path, controls=changes)
    ENTRY.export(asked)
    rival = ENTRY.build(asked, unet)
    pictures = sd_fakes.picture(1, frames=2, side=SIDE)
    theirs = pictures
    for steps in (1, 2, 4):
        rival.begin(steps)
        drew = rival.draw(pictures)
        assert drew is not None
        theirs = drew
        ours = drawn(unet, pictures, {**changes, "steps": steps})
        assert float(ours.std()) > 0.01
        assert likeness(ours, theirs).psnr_db > 100, steps
    other = drawn(unet, pictures, {**changes, "steps": 4, "seed": 6})
    assert likeness(other, theirs).psnr_db < 60, "another noise is seen"
    rival.close()


def test_diffusers_is_not_held_against_what_it_does_not_do(unet: Any, tmp_path: Path) -> None:
    from millrace.streaming.measuring.rival_diffusers import ENTRY

    with pytest.raises(RivalError, match="without lora"):
        ENTRY.export(challenge("sd-turbo", tmp_path, settings={**RANDOM, "lora": "x"}))
    with pytest.raises(RivalError, match="cfg"):
        ENTRY.build(challenge("sd-turbo", tmp_path, controls={"cfg": "self"}), unet)


# -- streamdiffusionv2 --------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(write(tmp_path / "site")))
    monkeypatch.setattr(peer, "WAN_SPECS", {"wan2.1-1.3b": DIT})
    monkeypatch.setattr(peer, "WanSizes", lambda dit: WanSizes(dit, SIZES.vae, SIZES.taehv))
    yield
    for name in [n for n in sys.modules if n.split(".")[0] in ("models", "streamdiffusionv2")]:
        del sys.modules[name]


@pytest.mark.usefixtures("package")
def test_streamdiffusionv2_gets_the_same_weights_and_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    settings = {**RANDOM, "vae": "wan+taehv"}
    asked = challenge("wan2.1-1.3b", folder, settings=settings, dtype=torch.bfloat16)
    entry = entry_of("streamdiffusionv2", "wan2.1-1.3b")
    entry.export(asked)
    rival: Any = entry.build(asked, None)  # type: ignore[arg-type]
    assert rival.name == "streamdiffusionv2 0.1.1" and "flash-attn is not" in rival.note
    built = rival._pipe
    assert built.given == ("single", "cpu", SIDE, SIDE, 4, "T2V-1.3B", True)
    sizes = WanSizes(STREAMDIFFUSION_V2.spec(DIT), SIZES.vae, SIZES.taehv)
    ours = random_wan(sizes, "taehv", "cpu", torch.bfloat16)
    wanted = ours.dit.state_dict()
    assert built.tensors.keys() == wanted.keys()
    assert all(torch.equal(built.tensors[name], wanted[name]) for name in wanted)
    assert isinstance(ours.autoencoder, TAEHV)
    small = ours.autoencoder.state_dict()
    assert all(torch.equal(built.small[name], small[name]) for name in small)
    assert set(built.vae) == set(WanVAE(SIZES.vae).state_dict())
    assert built.config["dim"] == DIT.dim and built.config["num_layers"] == DIT.layers
    pictures = torch.rand(9, 3, SIDE, SIDE)
    rival.begin(2)
    first = rival.draw(pictures[:5])
    assert first.shape == (5, 3, SIDE, SIDE) and likeness(first, pictures[:5]).largest < 0.01
    assert rival.draw(pictures[5:]) is None, "a stream batch of two levels holds one chunk"
    assert rival.draw(pictures[5:]).shape == (4, 3, SIDE, SIDE)
    rival.close()
    assert built.closed


@pytest.mark.usefixtures("package")
def test_streamdiffusionv2_runs_in_its_own_way_only(tmp_path: Path) -> None:
    with pytest.raises(RivalError, match="--dtype bfloat16"):
        peer.export(challenge("wan2.1-1.3b", tmp_path))
    settings = {**RANDOM, "policy": "self-forcing"}
    with pytest.raises(RivalError, match="--option policy"):
        peer.export(challenge("wan2.1-1.3b", tmp_path, settings=settings, dtype=torch.bfloat16))


@pytest.mark.usefixtures("package")
def test_a_module_that_hides_its_own_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = tmp_path / "elsewhere"
    (stranger / "models").mkdir(parents=True)
    (stranger / "models" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(stranger))
    with pytest.raises(RivalError, match="start from another folder"):
        peer.build(challenge("wan2.1-1.3b", tmp_path), None)  # type: ignore[arg-type]


# -- as a contender -----------------------------------------------------------------------------


class Held:
    """Takes three seconds a chunk, and holds back as many chunks as there are further steps."""

    name, note, chunk, first_chunk, same_noise = "held", "", 4, 5, False

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.taken: list[int] = []
        self._left = 0

    def begin(self, steps: int) -> None:
        self._left, self.taken = steps - 1, []

    def draw(self, pictures: torch.Tensor) -> torch.Tensor | None:
        self._clock.advance(3.0)
        self.taken.append(len(pictures))
        self._left -= 1
        return None if self._left >= 0 else pictures

    def close(self) -> None:
        self.taken = []


def test_a_rival_is_timed_from_chunk_to_chunk() -> None:
    clock = ManualClock()
    rival = Held(clock)
    pictures = [torch.full((3, 2, 2), float(i)) for i in range(7)]
    contender = Challenger(rival, clock, torch.device("cpu"), pictures)
    assert contender.first(3) == 9.0, "the first two chunks bring out none"
    contender.settle(2)
    assert rival.taken[0] == 5 and set(rival.taken[1:]) == {4}
    window = contender.window(7.0, None)
    assert (window.frames, window.seconds, window.joules) == (12, 9.0, None)
