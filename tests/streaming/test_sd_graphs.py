"""A UNet pipeline whose stages are replayed equals one that runs them, to the bit: every number of
rows has a recording of its own, so nothing is padded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from millrace.models.sd.control import CONDITIONS
from millrace.models.sd.lora import Lora, read_lora
from millrace.models.sd.network import Network
from millrace.models.sd.parts import SDModel
from millrace.streaming.controls import Controls
from millrace.streaming.pipeline import NOMINAL, Effort, PipelineInfo, StreamConfig, Work
from millrace.streaming.sd import Stream, UNetStylizer
from millrace.streaming.sd_info import sd_info
from sd_fakes import SPEC, picture, tiny_controlnet, tiny_sd, tiny_unet, write_lora
from tape import TapeRecorder, references_only

TICKS = 9
HALF = Effort("small", scale=0.5)
Wishes = Mapping[int, Mapping[str, object]]


@pytest.fixture(autouse=True)
def _as_on_a_gpu() -> Iterator[None]:
    with references_only():
        yield


def shown(host: UNetStylizer, viewers: list[tuple[int, int, bool, Wishes]]) -> list[torch.Tensor]:
    """All pictures, in order, of viewers (joins, leaves, as a stream batch, wishes by tick)."""
    streams: dict[int, Stream] = {}
    controls = Controls.defaults(host.info.controls)
    found: list[torch.Tensor] = []
    for tick in range(TICKS):
        works = []
        for number, (joins, leaves, spread, wishes) in enumerate(viewers):
            if tick == joins:
                streams[number] = host.open(StreamConfig(64, 64))
            if tick == leaves:
                host.close(streams.pop(number))
            if number not in streams:
                continue
            wish = [own for at, own in wishes.items() if at <= tick][-1]
            asked = controls.changed(host.info.controls, wish)
            effort = HALF if number == 0 and tick in (6, 7) else NOMINAL
            frame = picture(10 * number + tick, 1, 64)
            works.append(Work(streams[number], tick - joins, frame, asked, effort, spread=spread))
        found += [result.frames.clone() for result in host.step(works)]
    return found


CROWD: list[tuple[int, int, bool, Wishes]] = [
    (0, 99, False, {0: {"steps": 1}, 4: {"steps": 2, "prompt": "ink", "seed": 5}}),
    (0, 6, True, {0: {"steps": 3, "cfg": "full", "guidance": 1.4}}),
    (2, 99, True, {0: {"steps": 2, "cfg": "onetime", "guidance": 1.2, "delta": 0.5}, 5: {}}),
]


def both(model: SDModel, info: PipelineInfo) -> tuple[UNetStylizer, UNetStylizer, TapeRecorder]:
    recorder = TapeRecorder()
    return UNetStylizer(model, info, recorder=recorder), UNetStylizer(model, info), recorder


def test_a_unet_replayed_equals_itself() -> None:
    """Streams come and go, change steps, guidance, prompt, seed and size, in both orders."""
    replayed, plain, recorder = both(tiny_sd(), sd_info(SPEC))
    found, expected = shown(replayed, CROWD), shown(plain, CROWD)
    assert len(found) == len(expected) > 15
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    counts = replayed.stage_runs()
    assert counts["replayed"] == recorder.replays - counts["recorded"] >= TICKS
    assert not replayed.tally.refused and "replayed" in replayed.told()[0]
    assert plain.told() == () and not plain.stage_runs()


def test_what_is_added_to_a_unet_is_recorded_with_it(tmp_path: Path) -> None:
    """Weights of a LoRA and a ControlNet are tensors of a recording, not numbers of the host."""
    unet = tiny_unet()
    file = write_lora(tmp_path / "style.safetensors")
    lora = Lora((unet, read_lora(file, unet, None)[0]))
    network = Network(SPEC, unet, lora, tiny_controlnet(), CONDITIONS["picture"])
    info = sd_info(SPEC, lora="style", controlnet="lines")
    replayed, plain, _ = both(replace(tiny_sd(), network=network), info)
    viewers: list[tuple[int, int, bool, Wishes]] = [
        (0, 99, False, {0: {"lora_scale": 1.0}, 5: {"lora_scale": 0.3, "control_scale": 0.2}}),
        (1, 99, False, {0: {"lora_scale": 0.0, "control_scale": 1.0}}),
    ]
    found, expected = shown(replayed, viewers), shown(plain, viewers)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert replayed.stage_runs()["replayed"] > 10 and not replayed.tally.refused


def test_a_tick_of_the_same_wishes_brings_nothing_but_rows() -> None:
    """What is copied in at each use are the rows; the wishes lie where they were."""
    replayed, _, _ = both(tiny_sd(), sd_info(SPEC))
    asked = Controls.defaults(replayed.info.controls)
    stream = replayed.open(StreamConfig(64, 64))
    for index in range(4):
        replayed.step([Work(stream, index, picture(index, 1, 64), asked)])
    graphs = stream.batch._graphs
    assert graphs is not None
    (key,) = [key for key in graphs._ready if key[0] == "pass"]  # type: ignore[index]
    lasting = graphs._ready[key].lasting
    replayed.step([Work(stream, 4, picture(4, 1, 64), asked)])
    assert all(a is b for a, b in zip(graphs._ready[key].lasting, lasting, strict=True))
