"""From options and facts to a configuration: tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from millrace.streaming.config import ConfigError, Facts, Options, Timing, resolve

GPU = Facts(16, ("H200", "H200"))


def cpu(*timings: tuple[str, int, float], cores: int = 2) -> Facts:
    return Facts(cores, (), tuple(Timing(*timing) for timing in timings))


MATRIX_UNITS = cpu(
    ("float32", 1, 10.0), ("float32", 2, 7.0), ("bfloat16", 1, 4.0), ("bfloat16", 2, 3.5)
)
PLAIN = cpu(("float32", 1, 10.0), ("float32", 2, 6.0), ("bfloat16", 1, 80.0))


@pytest.mark.parametrize(
    ("asked", "facts", "expected"),
    [
        ({}, MATRIX_UNITS, ("cpu", "bfloat16", 1, "sequential")),
        ({}, PLAIN, ("cpu", "float32", 1, "sequential")),
        ({}, GPU, ("cuda:0", "bfloat16", 4, "stream")),
        ({}, Facts(1), ("cpu", "float32", 1, "sequential")),
        ({}, Facts(64), ("cpu", "float32", 4, "sequential")),
        ({"device": "cpu"}, GPU, ("cpu", "float32", 4, "sequential")),
        ({"device": "cuda"}, GPU, ("cuda:0", "bfloat16", 4, "stream")),
        ({"device": "cuda:1", "dtype": "float32"}, GPU, ("cuda:1", "float32", 4, "stream")),
        ({"threads": 3, "schedule": "stream"}, PLAIN, ("cpu", "float32", 3, "stream")),
        ({"dtype": "float32"}, MATRIX_UNITS, ("cpu", "float32", 1, "sequential")),
        (
            {},
            cpu(*((("float32", n, 10.0 / n)) for n in (1, 2, 4, 7, 8)), cores=8),
            ("cpu", "float32", 7, "sequential"),
        ),
    ],
)
def test_what_is_left_open_is_chosen(
    asked: dict[str, Any], facts: Facts, expected: tuple[str, str, int, str]
) -> None:
    config = resolve(Options(**asked), facts)
    assert (config.device, config.dtype, config.threads, config.schedule) == expected
    assert config.engine.device == config.device
    assert config.engine.overlap == (config.device != "cpu")
    assert len(config.choices) == 5 and all(text.endswith(".") for text in config.choices)
    assert "auto" not in (config.device, config.dtype, config.schedule)


@pytest.mark.parametrize(
    ("facts", "threads"),
    [
        (PLAIN, 2),
        (MATRIX_UNITS, 2),
        (cpu(("float32", 1, 10.0), ("float32", 2, 9.8)), 1),
        (GPU, 4),
    ],
)
def test_alone_it_takes_all_cores_that_help(facts: Facts, threads: int) -> None:
    assert resolve(Options(), facts, alone=True).threads == threads


def test_a_choice_names_its_measurement() -> None:
    text = " ".join(resolve(Options(), MATRIX_UNITS).choices)
    assert "3.5 ms in bfloat16 and 7.0 ms in float32" in text
    assert "4.0 ms with 1, 3.5 ms with 2" in text


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"width": 255}, "even"),
        ({"height": 0}, "even, positive"),
        ({"fps": 0.0}, "fps"),
        ({"fps": float("nan")}, "fps"),
        ({"max_sessions": 0}, "max_sessions"),
        ({"threads": -1}, "threads"),
        ({"dtype": "float16"}, "float32, bfloat16, auto"),
        ({"schedule": "fast"}, "stream, sequential, auto"),
        ({"device": "tpu"}, "cuda:N"),
        ({"device": "cuda:x"}, "cuda:N"),
        ({"device": "cuda:2"}, "2 CUDA GPUs"),
    ],
)
def test_a_wrong_setting_is_named_with_the_remedy(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve(replace(Options(), **asked), GPU)
