"""The benchmark runs, and its other side is the same model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from millrace.models.vl.bench import fit, main, random_model, run
from millrace.models.vl.bench_sides import Load
from millrace.models.vl.specs import QWEN2_5_VL_3B
from millrace.models.vl.twin import twin_of
from vl_oracle import pair, small_spec, their_features, their_logits


def test_pictures_are_fitted() -> None:
    vision = QWEN2_5_VL_3B.vision
    assert fit(720, 1280, vision) == (560, 1008)  # 720 tokens.
    assert fit(360, 640, vision) == (364, 644)  # 299 tokens.
    tall, broad = fit(48, 64, vision)
    assert vision.min_pixels <= tall * broad and not tall % 28 and not broad % 28


def test_the_twin_shares_weights_and_says_the_same() -> None:
    for tied in (False, True):
        spec = small_spec(tied=tied)
        ours, theirs = pair(spec, dtype=torch.float32)
        twin = twin_of(ours)
        embed = twin.get_input_embeddings().weight
        assert embed.data_ptr() == ours.text.weight.data_ptr()
        embeds = torch.randn(9, spec.text.dim)
        places = torch.arange(9.0).expand(3, 9)
        torch.testing.assert_close(
            their_logits(twin, embeds, places), their_logits(theirs, embeds, places)
        )
        pictures = torch.rand(2, 3, 56, 84)
        torch.testing.assert_close(
            their_features(twin, pictures, spec), their_features(theirs, pictures, spec)
        )


def test_both_sides_are_timed() -> None:
    model = random_model(small_spec(), torch.device("cpu"), torch.float32)
    ticks = iter(range(10**6))
    load = Load((56, 84), window=2, turns=3, words=2, grids=2, fps=4)
    report = run(model, load, lambda: float(next(ticks)), compare=True)
    assert report["picture_tokens"] == 12
    for side in ("ours", "transformers"):
        assert report[side]["token_ms"] == 1000.0  # One tick.
        assert report[side]["second_ms"] > 4000
    # The words of all six turns and the pictures of the last two.
    assert report["held_tokens"] == 24 + 6 * (2 * 12 + 2) + 2 * 12


@pytest.mark.slow
def test_the_command_runs_the_released_shape_with_few_layers(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    arguments = "--model qwen2.5-vl-3b --random-weights --layers 1 --vision-layers 1 --size 112x112"
    few = "--window 1 --turns 1 --words 1 --device cpu"
    assert main([*arguments.split(), *few.split(), "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    assert report["layers"] == {"text": 1, "vision": 1} and report["ours"]["token_ms"] > 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--random-weights", "--checkpoint", "x"],
        ["--random-weights", "--size", "big"],
        ["--random-weights", "--turns", "0"],
        ["--random-weights", "--fps", "1"],
    ],
)
def test_bad_arguments_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert "error" in capsys.readouterr().err
