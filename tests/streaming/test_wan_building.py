"""From options to a pipeline of the causal Wan family: what is chosen, loaded and refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from millrace.models.specs import WAN_1_3B
from millrace.streaming import room
from millrace.streaming.config import ConfigError
from millrace.streaming.pipeline import PipelineContext, StreamConfig, Work
from millrace.streaming.registry import names
from millrace.streaming.wan import build, build_small
from millrace.streaming.wan_info import MODES

from .wan_models import DIT, SIDE, clip, wishes

SMALL = {"random_weights": True, "size": (SIDE, SIDE), "max_sessions": 1}


def small(**options: object) -> object:
    return build("wan2.1-1.3b", PipelineContext(options={**SMALL, **options}), DIT)


def only(free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so many bytes of memory be free."""
    file = tmp_path / "meminfo"
    file.write_text(f"MemTotal: 99000000 kB\nMemAvailable: {free >> 10} kB\n")
    monkeypatch.setattr(room, "MEMINFO", file)


def test_the_names_are_known() -> None:
    assert {"wan2.1-1.3b", "wan2.1-14b"} <= set(names())


def test_without_weights_it_says_how_to_get_them() -> None:
    with pytest.raises(
        ConfigError, match=r"`millrace models pull wan2\.1-1\.3b`.*--random-weights"
    ):
        build_small(PipelineContext())


def test_a_folder_without_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dit"):
        build_small(PipelineContext(options={"weights": str(tmp_path)}))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"vae": "jpeg"}, "'jpeg' is not one of wan, taehv"),
        ({"policy": "odd"}, "no checkpoint policy"),
        ({"steps": "many"}, "steps: many is not a whole number from 1 to 4"),
        ({"steps": "5"}, "steps: 5 is not a whole number from 1 to 4"),
    ],
)
def test_names_that_there_are_not(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        small(**options)


def test_what_does_not_fit_is_refused_with_the_numbers_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(4 * 10**9, tmp_path, monkeypatch)
    options = {"random_weights": True, "size": (832, 480), "max_sessions": 4}
    with pytest.raises(ConfigError) as refused:
        build("wan2.1-1.3b", PipelineContext(dtype="bfloat16", options=options), WAN_1_3B)
    assert "with 4 streams of 832x480 takes " in str(refused.value)
    assert "(weights 2.9, past 27.6, " in str(refused.value)
    assert "where 4.0 GB are free; please use fewer --max-sessions, or" in str(refused.value)


def test_an_odd_size_is_measured_as_it_will_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(10**6, tmp_path, monkeypatch)
    with pytest.raises(ConfigError, match="one stream of 112x64 takes"):
        small(size=(100, 50))


def test_a_stream_for_which_there_is_no_room_is_refused_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = build("wan2.1-1.3b", PipelineContext(options=SMALL), DIT)
    stream = host.open(StreamConfig(SIDE, SIDE))
    only(10**6, tmp_path, monkeypatch)
    with pytest.raises(RuntimeError, match="one stream of 640x640 takes"):
        host.open(StreamConfig(640, 640))
    frames = clip(1, 1)[0].float()
    (result,) = host.step([Work(stream, 0, frames, wishes(steps=1))])
    assert result.frames.shape == frames.shape


def test_fewer_levels_are_fewer_lanes() -> None:
    host = build("wan2.1-1.3b", PipelineContext(options={**SMALL, "steps": "2"}), DIT)
    assert host.open(StreamConfig(SIDE, SIDE)).bank.lanes.levels == 2
    steps = next(control for control in host.info.controls if control.name == "steps")
    assert (steps.default, steps.maximum) == (2, 2)


def test_what_it_declares() -> None:
    host = build("wan2.1-1.3b", PipelineContext(options=SMALL), DIT)
    info = host.info
    assert (info.name, info.chunk, info.size, info.size_multiple) == (
        "wan2.1-1.3b",
        4,
        (832, 480),
        16,
    )
    mode = next(control for control in info.controls if control.name == "mode")
    assert mode.choices == MODES and "random" in info.description
