"""The UNet pipelines: stream batch, wishes of each session, the public command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.models.sd.control import CONDITIONS
from millrace.models.sd.denoiser import CFG
from millrace.models.sd.network import Network
from millrace.models.sd.parts import Autoencoder, SDModel
from millrace.models.sd.specs import level_indices, levels
from millrace.streaming import offline, room
from millrace.streaming.config import ConfigError
from millrace.streaming.controls import Controls
from millrace.streaming.frames import Frame, i420_shape
from millrace.streaming.pipeline import (
    NOMINAL,
    Effort,
    PipelineContext,
    Portable,
    Result,
    StreamConfig,
    Work,
)
from millrace.streaming.registry import build_pipeline
from millrace.streaming.sd import Stream, UNetStylizer
from millrace.streaming.sd_info import CFG_CHOICES, sd_info
from sd_fakes import (
    SPEC,
    Answers,
    FakePrompts,
    noises,
    oracle,
    picture,
    tiny_controlnet,
    tiny_sd,
    tiny_unet,
    tiny_vae,
    write_folder,
    write_lora,
)
from torch import Tensor

SIDE = 32
SIZE = StreamConfig(SIDE, SIDE)
LATENT = (4, SIDE // 8, SIDE // 8)


@pytest.fixture(scope="module")
def exact() -> SDModel:
    """Float64, with a quick function in place of the UNet."""
    coder = Autoencoder(tiny_vae(torch.float64))
    return SDModel(SPEC, Network(SPEC, Answers()), coder, FakePrompts(torch.float64))


@pytest.fixture(scope="module")
def real() -> SDModel:
    """Float32, with a UNet of diffusers."""
    return tiny_sd()


def stylizer(model: SDModel, *, frames: int = 1, stream: bool = True) -> UNetStylizer:
    return UNetStylizer(model, sd_info(SPEC, chunk=frames), streams=3, sequential=not stream)


def wishes(host: UNetStylizer, values: Mapping[str, object]) -> Controls:
    return Controls.defaults(host.info.controls).changed(host.info.controls, values)


def drawn_alone(model: SDModel, frame: Tensor, host: UNetStylizer, values: Mapping) -> Tensor:
    """One frame by the sequential definition."""
    controls = wishes(host, values)
    steps = int(controls.number("steps"))
    drawing = host._draw(controls, None)
    expected = levels(SPEC, level_indices(SPEC, controls.number("strength"), steps))
    assert drawing.levels == expected
    dtype = model.network.dtype
    clean = model.autoencoder.encode(frame[None].to(dtype))[0]
    own = [noise.to(dtype) for noise in noises(drawing.seed, steps, LATENT)]
    with torch.inference_mode():
        latent = oracle(model.network, clean, drawing, own)[-1]
        return model.autoencoder.decode(latent[None])[0]


def run(
    host: UNetStylizer, clips: Sequence[Tensor], controls: Sequence[Controls]
) -> list[list[Tensor]]:
    """Each session's pictures, all sessions in every step, flushed at the end."""
    frames = host.info.chunk
    streams = [host.open(SIZE) for _ in clips]
    results: list[Result] = []
    for index in range(len(clips[0]) // frames):
        place = slice(index * frames, (index + 1) * frames)
        works = [
            Work(stream, index, clip[place], wish)
            for stream, clip, wish in zip(streams, clips, controls, strict=True)
        ]
        results += host.step(works)
    return collected(host, streams, results, len(clips[0]) // frames)


def collected(
    host: UNetStylizer, streams: Sequence[Stream], results: Sequence[Result], count: int
) -> list[list[Tensor]]:
    """Pictures by stream, after a flush of what is left; each chunk once and in order."""
    everything = list(results)
    for stream in streams:
        while stream.batch.in_flight(stream.slot):
            flush = Work(stream, 0, None, wishes(host, {}))
            came = host.step([flush])
            assert came, "a flush brings out at least one"
            everything += came
    found = []
    for stream in streams:
        own = [result for result in everything if result.stream is stream]
        assert [result.index for result in own] == list(range(count))
        found.append([picture for result in own for picture in result.frames])
        host.close(stream)
    return found


# Stream batch.


@pytest.mark.parametrize("noise", [True, False], ids=["noise", "no noise"])
@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("cfg", CFG)
def test_the_stream_batch_equals_the_sequential_definition(
    exact: SDModel, cfg: str, steps: int, frames: int, noise: bool
) -> None:
    values = {"cfg": cfg, "steps": steps, "add_noise": noise, "strength": 0.6}
    values |= {"guidance": 1.4, "delta": 0.5, "negative": "blurry"}
    host = stylizer(exact, frames=frames)
    clip = picture(1, 6).double()
    (found,) = run(host, [clip], [wishes(host, values)])
    for frame, shown in zip(clip, found, strict=True):
        expected = drawn_alone(exact, frame, host, values)
        torch.testing.assert_close(shown, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("cfg", "steps", "frames"), [("none", 4, 2), ("full", 2, 3), ("self", 3, 1), ("onetime", 4, 1)]
)
def test_so_it_does_with_a_unet_in_float32(
    real: SDModel, cfg: str, steps: int, frames: int
) -> None:
    values = {"cfg": cfg, "steps": steps, "strength": 0.5, "guidance": 1.3, "negative": "dull"}
    host = stylizer(real, frames=frames)
    clip = picture(2, 6)
    (found,) = run(host, [clip], [wishes(host, values)])
    for frame, shown in zip(clip, found, strict=True):
        expected = drawn_alone(real, frame, host, values)
        torch.testing.assert_close(shown, expected, rtol=1e-5, atol=1e-5)


def test_sessions_of_all_kinds_share_a_forward_without_touching_each_other(real: SDModel) -> None:
    kinds: list[dict[str, object]] = [
        {"cfg": "onetime", "steps": 4, "strength": 0.6, "seed": 5, "prompt": "a", "guidance": 2.0},
        {"cfg": "full", "steps": 2, "strength": 0.3, "prompt": "b", "negative": "c"},
        {"cfg": "self", "steps": 1, "delta": 0.5, "add_noise": False, "prompt": "a"},
    ]
    host, clips = stylizer(real), [picture(seed, 6) for seed in (1, 2, 3)]
    rows: list[int] = []
    together = run(host, clips, [wishes(host, kind) for kind in kinds])
    for clip, kind, found in zip(clips, kinds, together, strict=True):
        (alone,) = run(host, [clip], [wishes(host, kind)])
        for one, other in zip(found, alone, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    # Steady state: 4 levels and a negative, twice 2 levels, and one: all in one forward.
    streams = [host.open(SIZE) for _ in kinds]
    for index in range(5):
        rows.clear()
        host.step(
            [
                replace(
                    Work(stream, index, clip[index : index + 1], wishes(host, kind)),
                    mark=lambda stage, n, window: rows.append(n) if stage == "pass" else None,
                )
                for stream, clip, kind in zip(streams, clips, kinds, strict=True)
            ]
        )
    assert rows == [4 + 1 + 2 * 2 + 1]


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_whatever_is_changed_a_frame_keeps_the_wishes_that_it_came_with(
    exact: SDModel, data: st.DataObject
) -> None:
    host = stylizer(exact)
    count = data.draw(st.integers(2, 7))
    clip = picture(4, count).double()
    changes = st.fixed_dictionaries(
        {
            "cfg": st.sampled_from(CFG),
            "steps": st.integers(1, 4),
            "prompt": st.sampled_from(["a", "b"]),
            "strength": st.sampled_from([0.3, 0.7]),
            "guidance": st.sampled_from([1.0, 1.5]),
            "delta": st.sampled_from([0.5, 1.0]),
            "add_noise": st.booleans(),
            "seed": st.integers(0, 2),
        }
    )
    stream, other = host.open(SIZE), host.open(SIZE)
    results, asked = [], []
    for index in range(count):
        values = data.draw(changes)
        asked.append(values)
        spread = data.draw(st.sampled_from([True, False, None]))
        frame = clip[index : index + 1]
        works = [Work(stream, index, frame, wishes(host, values), spread=spread)]
        if data.draw(st.booleans()):
            works.append(Work(other, index, frame, wishes(host, {"steps": 2}), spread=False))
        results += [result for result in host.step(works) if result.stream is stream]
    (found,) = collected(host, [stream], results, count)
    host.close(other)
    for frame, values, shown in zip(clip, asked, found, strict=True):
        expected = drawn_alone(exact, frame, host, values)
        torch.testing.assert_close(shown, expected, rtol=1e-8, atol=1e-8)


def test_any_frame_buffer_gives_the_same_pictures(exact: SDModel) -> None:
    clip, values = picture(5, 6).double(), {"steps": 3, "cfg": "self", "strength": 0.5}
    found = []
    for frames in (1, 2, 3, 6):
        host = stylizer(exact, frames=frames)
        (pictures,) = run(host, [clip], [wishes(host, values)])
        found.append(torch.stack(pictures))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-9, atol=1e-9)


def test_a_chunk_may_end_early(exact: SDModel) -> None:
    host = stylizer(exact, stream=False)
    values = {"steps": 4, "strength": 0.6}
    stream, frame = host.open(SIZE), picture(6, 1).double()
    asked: list[int] = []

    def go_on(passes: int) -> bool:
        asked.append(passes)
        return passes < 2

    (result,) = host.step([Work(stream, 0, frame, wishes(host, values), go_on=go_on)])
    assert asked == [1, 2]
    whole = drawn_alone(exact, frame[0], host, values)
    assert not torch.allclose(result.frames[0], whole)
    # Its levels are not those of two steps: it is the same way, left half-way.
    assert stream.notes == {"steps": 4} and not stream.batch.in_flight(stream.slot)


def test_a_smaller_effort_draws_smaller_and_fewer(exact: SDModel) -> None:
    host = stylizer(exact)
    half = Effort("half", passes=1, scale=0.5)
    stream, clip = host.open(SIZE), picture(7, 4).double()
    results = []
    for index, effort in enumerate((NOMINAL, NOMINAL, half, half)):
        frame = clip[index : index + 1]
        results += host.step([Work(stream, index, frame, wishes(host, {}), effort)])
    assert [result.index for result in results] == [0, 1, 2, 3]
    assert all(result.frames.shape == (1, 3, SIDE, SIDE) for result in results)
    assert stream.drawn_size == (16, 16) and stream.notes == {"steps": 1}
    host.close(stream)
    assert all(batch.idle for batch in host.batches.values())


def test_rooms_are_counted_and_given_back(exact: SDModel) -> None:
    host = stylizer(exact)
    streams = [host.open(SIZE) for _ in range(3)]
    with pytest.raises(RuntimeError, match="all 3 streams of 32x32 are in use"):
        host.open(SIZE)
    host.step([Work(streams[1], 0, picture(1).double(), wishes(host, {"steps": 4}))])
    host.close(streams[1])
    again = host.open(SIZE)
    assert again.slot == 1 and not again.batch.in_flight(1)
    for side in (40, 48, 56, 64):
        host.close(host.open(StreamConfig(side, side)))
    assert len(host.batches) == 3


def test_a_stream_moves(exact: SDModel) -> None:
    here, there = stylizer(exact, stream=False), stylizer(exact, stream=False)
    assert isinstance(here, Portable)
    stream, frame = here.open(SIZE), picture(1).double()
    here.step([Work(stream, 0, frame, wishes(here, {}))])
    arrived = there.load(SIZE, here.save(stream))
    assert arrived.notes == stream.notes
    (one,) = here.step([Work(stream, 1, frame, wishes(here, {}))])
    (other,) = there.step([Work(arrived, 1, frame, wishes(there, {}))])
    assert torch.equal(one.frames, other.frames)


def test_a_controlnet_sees_the_frame_that_is_drawn() -> None:
    network = Network(SPEC, tiny_unet(), None, tiny_controlnet(), CONDITIONS["picture"])
    model = replace(tiny_sd(), network=network)
    info = sd_info(SPEC, controlnet="lines")
    host = UNetStylizer(model, info, streams=2, sequential=False)
    clips = [picture(1, 4), picture(2, 4)]
    weighted = [wishes(host, {"control_scale": scale, "steps": 2}) for scale in (1.0, 0.0)]
    found = run(host, clips, weighted)
    plain = stylizer(tiny_sd())
    (without,) = run(plain, clips[1:], [wishes(plain, {"steps": 2})])
    for one, other in zip(found[1], without, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    (alone,) = run(host, clips[:1], weighted[:1])
    for one, other in zip(found[0], alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    (plainly,) = run(plain, clips[:1], [wishes(plain, {"steps": 2})])
    assert (found[0][0] - plainly[0]).abs().max() > 1e-3


def test_the_choices_on_the_page_are_those_of_the_model() -> None:
    assert CFG_CHOICES == CFG


# Through the engine.


def still(index: int, grey: int) -> Frame:
    planes = np.full(i420_shape(SIDE, SIDE), grey, np.uint8)
    return Frame(planes, SIDE, SIDE, 3000 * index, index / 30, index)


@pytest.mark.parametrize("skip", [False, True], ids=["every frame", "still frames held back"])
def test_every_order_of_passes_gives_the_same_film(real: SDModel, skip: bool) -> None:
    greys = [40, 40, 40, 40, 200, 200, 200, 90, 90, 90, 90, 90]
    frames = [still(i, grey) for i, grey in enumerate(greys)]
    controls = {"steps": 4, "strength": 0.6, "skip_still": skip}
    films = []
    for stream in (True, False):
        outputs = list(offline.run(stylizer(real, stream=stream), frames, controls))
        assert [output.frame.index for output in outputs] == list(range(len(frames)))
        films.append(np.stack([output.frame.planes for output in outputs]).astype(int))
    assert np.abs(films[0] - films[1]).max() <= 1
    # From the first frame on each is drawn of its own picture: none of what is in flight before.
    for i, grey in enumerate(greys):
        twin = greys.index(grey)
        assert np.abs(films[0][i] - films[0][twin]).max() <= 1


# From a folder, by the public command.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_folder(root / "sd-turbo")
    return root


def built(options: Mapping[str, Any]) -> UNetStylizer:
    pipeline = build_pipeline("sd-turbo", PipelineContext(options=options))
    assert isinstance(pipeline, UNetStylizer)
    return pipeline


def test_a_folder_of_models_or_one_model_is_taken(folder: Path, tmp_path: Path) -> None:
    tiny_controlnet().save_pretrained(tmp_path / "lines")
    host = built({"weights": folder, "frame_buffer": 2, "controlnet": tmp_path / "lines"})
    assert host.info.chunk == 2 and "ControlNet lines" in host.info.description
    assert "control_scale" in {control.name for control in host.info.controls}
    stream = host.open(SIZE)
    long = wishes(host, {"prompt": "z " * 80, "steps": 1})
    (result,) = host.step([Work(stream, 0, picture(1, 2), long)])
    assert result.frames.shape == (2, 3, SIDE, SIDE)
    assert result.notes == {"steps": 1, "prompt_cut": "'z z z z z' is beyond its 77 tokens"}
    assert isinstance(built({"weights": str(folder / "sd-turbo")}), UNetStylizer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "millrace models pull sd-turbo.*--random-weights"),
        ({"weights": "/nowhere"}, "/nowhere has no folder unet"),
        ({"weights": ".", "frame_buffer": 0}, "frame_buffer: 0"),
        ({"weights": ".", "condition": "depth"}, "'depth' is not one of edges, grey, picture"),
        ({"weights": ".", "condition": "grey"}, "condition: grey is for a ControlNet; add"),
        ({"weights": ".", "lora": "/gone"}, "lora: /gone is no file"),
        ({"weights": ".", "controlnet": "/gone"}, "controlnet: /gone has no config.json"),
        ({"random_weights": True, "lora": "x"}, "means nothing beside random weights"),
    ],
)
def test_what_cannot_be_built_says_what_to_do(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        built(options)


def test_a_broken_addition_is_named(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no tensors")
    with pytest.raises(ConfigError, match="sd-turbo: .*broken.safetensors: cannot be read"):
        built({"weights": folder, "lora": broken})


def test_what_does_not_fit_is_refused_with_the_numbers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [2_000_000_000]
    monkeypatch.setattr(room, "free_bytes", lambda device: free[0])
    words = r"sd-turbo with 3 streams of 512x512 takes \d.\d GB \(weights 4.8, .*2.0 GB are free"
    with pytest.raises(ConfigError, match=words):
        built({"random_weights": True, "max_sessions": 3})
    host = built({"weights": folder, "max_sessions": 1})
    host.close(host.open(SIZE))
    free[0] = 1_000_000
    with pytest.raises(RuntimeError, match="one stream of 1024x1024 takes.*smaller --size"):
        host.open(StreamConfig(1024, 1024))


@pytest.mark.parametrize("package", ["diffusers", "transformers"])
def test_without_the_extra_the_error_names_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"{package}.*pip install 'millrace\[sd\]'"):
        built({"weights": folder})


def clip_file(path: Path) -> Path:
    """Twelve frames of 64x48 that step in brightness."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number in range(12):
            pixels = np.full((48, 64, 3), 20 + 15 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def stylize(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = "from millrace.app.cli import main; main()"
    quick = ("--device", "cpu", "--dtype", "float32", "--threads", "1", "--json")
    command = [sys.executable, "-c", program, "stylize", *map(str, arguments), *quick]
    return subprocess.run(command, capture_output=True, text=True, timeout=250)


@pytest.mark.slow
def test_the_public_command_stylises_a_clip(folder: Path, tmp_path: Path) -> None:
    source, target = clip_file(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    lora = write_lora(tmp_path / "style.safetensors")
    asked = ("--model", "sd-turbo", "--weights", folder / "sd-turbo", "--option", f"lora={lora}")
    wish = ("--prompt", "a painted city", "--steps", "3", "--set", "cfg=onetime", "--strength=0.6")
    done = stylize(source, target, *asked, *wish)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["frames"] == 12 and report["model"] == "sd-turbo" and report["size"] == [64, 48]
    assert report["said"]["steps"] == 3
    with av.open(str(target)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12


@pytest.mark.slow
def test_the_public_command_says_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    source, target = clip_file(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    lora = write_lora(tmp_path / "style.safetensors", layers=("elsewhere",))
    asked = ("--model", "sd-turbo", "--weights", folder / "sd-turbo", "--option", f"lora={lora}")
    done = stylize(source, target, *asked)
    assert done.returncode == 2 and not target.exists()
    assert "no such layer: lora_unet_elsewhere" in done.stderr and "Traceback" not in done.stderr
