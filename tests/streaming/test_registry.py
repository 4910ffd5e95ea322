"""Names of pipelines, good and bad."""

from __future__ import annotations

import sys
from pathlib import Path

import fakes
import pytest
from millrace.streaming.config import ConfigError
from millrace.streaming.pipeline import PipelineContext, PipelineInfo
from millrace.streaming.registry import build_pipeline, check_pipeline, load_pipeline, names


class Nested:
    Pipeline = fakes.FakePipeline


class Half:
    info = PipelineInfo("half", "Half")

    def step(self) -> None: ...


class Odd(fakes.FakePipeline):
    def __init__(self, context: PipelineContext) -> None:
        super().__init__(context)
        self.info = PipelineInfo("odd", "Odd", size_multiple=3)


class Bare(fakes.FakePipeline):
    def __init__(self, context: PipelineContext) -> None:
        super().__init__(context)
        self.info = None


def test_built_in_and_own_names_load() -> None:
    assert build_pipeline("passthrough", PipelineContext()).info.name == "passthrough"
    assert build_pipeline("fakes:FakePipeline", PipelineContext()).info.name == "fake"
    assert {"tiny", "passthrough"} <= set(names())


@pytest.mark.parametrize(
    ("name", "option", "words"),
    [
        ("passthrough", "lroa", "passthrough has no option lroa; it knows chunk, schedule"),
        ("sd-turbo", "vae", "sd-turbo has no option vae; it knows condition, controlnet, frame_bu"),
        (
            "wan2.1-14b",
            "lora",
            "wan2.1-14b has no option lora; it knows fp8, graphs, kv_cache, policy",
        ),
        ("passthrough", "schedule", "schedule: 1 is not one of stream, sequential"),
    ],
)
def test_an_option_that_a_built_in_pipeline_does_not_read_is_refused(
    name: str, option: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        build_pipeline(name, PipelineContext(options={option: 1}))


def test_a_pipeline_of_somebody_else_reads_what_it_likes() -> None:
    built = build_pipeline("fakes:FakePipeline", PipelineContext(options={"lroa": 1}))
    assert type(built).__name__ == "FakePipeline"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nonsense", "there are tiny, .*passthrough"),
        (":", "package.module:Name"),
        ("fakes:", "package.module:Name"),
        ("no_such_module:X", "no module no_such_module"),
        ("fakes.inner:X", "no module fakes"),
        ("fakes:Missing", "has no Missing"),
        ("fakes:SIZE", "is a tuple"),
        ("needs_more:X", "needs the module surely_not_installed"),
    ],
)
def test_a_wrong_name_says_what_is_missing(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_more.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=words):
        load_pipeline(name)


@pytest.mark.parametrize(
    ("factory", "words"),
    [(Half, "no method open, close"), (Odd, "size_multiple 3"), (Bare, "PipelineInfo")],
)
def test_what_was_built_must_follow_the_protocol(factory: type, words: str) -> None:
    built = factory() if factory is Half else factory(PipelineContext())
    with pytest.raises(ConfigError, match=words):
        check_pipeline("mine", built)


def test_the_current_folder_is_searched_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_looks.py").write_text("def build(context): return context\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    assert callable(load_pipeline("my_looks:build"))
