"""`millrace bench fp8` from the command line to a model that runs with the file it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from millrace.app import cli
from millrace.app.bench_fp8 import finite, lines
from millrace.kernels import Fp8Weight
from millrace.models.quantise import Fp8Choice, LayerError
from millrace.models.quantise_error import Distance
from millrace.streaming.config import ConfigError
from millrace.streaming.frames import i420_shape
from millrace.streaming.measuring.eight_bits import Asked, Found, measure
from millrace.streaming.pipeline import PipelineContext
from millrace.streaming.tiny import build
from typer.testing import CliRunner

SMALL = ["bench", "fp8", "--device", "cpu", "--size", "32x32", "--chunks", "2"]


def test_the_written_file_puts_the_models_layers_into_eight_bits(tmp_path: Path) -> None:
    out, report = tmp_path / "fp8.json", tmp_path / "report.json"
    result = CliRunner().invoke(cli.app, [*SMALL, "--out", str(out), "--json", str(report)])
    assert result.exit_code == 0, result.output or repr(result.exception)
    text = result.output.splitlines()
    assert text[0] == "model      tiny at 32x32, cpu, float32"
    assert text[1] == "inputs     2 chunks of random latents, seed 0"
    assert any(line.startswith("self_attn.qkv          3              3") for line in text)
    assert any(line.startswith("kv_cache   fp8: relative error ") for line in text)
    assert f"use it with --option fp8={out}" in text[-1]
    assert max(len(line) for line in text[:-1]) <= 100

    told = json.loads(report.read_text())
    assert told["layers"]["error"] <= told["layers"]["limit"] == 0.05
    assert {*told["kv_cache"]} == {"fp8", "int8"}
    assert told["kv_cache"]["int8"]["error"] < told["kv_cache"]["fp8"]["error"]

    dit = build(PipelineContext(options={"fp8": str(out)})).parts.dit
    eight = sum(isinstance(parameter, Fp8Weight) for parameter in dit.parameters())
    assert eight == len(Fp8Choice.load(out).chosen) * 8 // 6 > 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--model", "passthrough"], "eight bits are for models with a ring"),
        (["--model", "wan2.1-1.3b"], "models pull wan2.1-1.3b"),
        (["--clip", "nothing.mp4"], "nothing.mp4"),
        (["--device", "abacus"], "--device 'abacus'"),
        (["--option", "vae=wan"], "tiny has no option vae"),
        (["--option", "kv_cache=fp8"], "kv_cache: errors are measured against the plain model"),
    ],
)
def test_a_wrong_call_is_answered_with_what_to_do(
    arguments: list[str], why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MILLRACE_MODELS", str(tmp_path))
    result = CliRunner().invoke(cli.app, [*SMALL, *arguments])
    assert result.exit_code != 0 and why in (result.output + repr(result.exception))


def test_a_short_clip_is_refused_with_the_numbers() -> None:
    context = PipelineContext(options={"random_weights": True, "max_sessions": 1, "size": (32, 32)})
    asked = Asked("tiny", context, (32, 32), 3, "", 0, 0.05)
    pictures = [np.full(i420_shape(32, 32), 128, np.uint8)] * 2
    with pytest.raises(ConfigError, match="2 pictures; 3 chunks of tiny take 3: give a longer"):
        measure(asked, pictures, "a clip", lambda done, most: None)


def test_groups_that_are_left_are_named_the_worst_first() -> None:
    layers = {
        "blocks.0.ffn.0": LayerError(0.03, 0.2, False),
        "blocks.1.ffn.0": LayerError(0.04, 0.3, False),
        "blocks.1.ffn.2": LayerError(0.02, 0.01, True),
    }
    choice = Fp8Choice("small", "abc", "2 chunks", 0.05, 0.02, 40.0, layers)
    text = lines("small", Found(choice, {"fp8": Distance(0.01, 50.0)}))
    assert "left       blocks.1.ffn.0 (0.3), blocks.0.ffn.0 (0.2)" in text
    assert "chosen     1 of 3 groups: relative error 0.02 (limit 0.05), PSNR 40.0 dB" in text
    ffn = next(line for line in text if line.startswith("ffn.0"))
    assert ffn.split() == ["ffn.0", "2", "0", "0.035", "to", "0.04", "0.25", "to", "0.3"]
    plain = {name: layer for name, layer in layers.items() if not layer.fp8}
    nothing = Fp8Choice("small", "abc", "2 chunks", 0.0, 0.0, float("inf"), plain)
    assert any("nothing stays within" in line for line in lines("small", Found(nothing, {})))


def test_json_has_null_for_what_it_cannot_say() -> None:
    given = {"a": [1.0, float("inf")], "b": {"c": float("nan"), "d": "x"}}
    assert finite(given) == {"a": [1.0, None], "b": {"c": None, "d": "x"}}
