"""What is told of a model's operations, with a timer that a script drives."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from millrace.kernels.dispatch import TABLE
from millrace.streaming.measuring.ceiling import Reading
from millrace.streaming.measuring.kernel_calls import Asked, Instruments, measure, work_of

CPU = torch.device("cpu")


def asked(tmp_path: Path, *ops: str, model: str = "tiny") -> Asked:
    return Asked(model, (32, 32), 1, 1, CPU, torch.float32, ops, tmp_path / "kernels.json")


def one_ms(call: Callable[[], object]) -> float:
    call()
    return 1.0


SCRIPTED = Instruments(one_ms, Reading(flops=1e9, bandwidth=1e9))


def told(tmp_path: Path, *ops: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    first, *calls = measure(asked(tmp_path, *ops), SCRIPTED)
    return first, calls


def test_every_operation_is_measured_and_can_be_written_down(tmp_path: Path) -> None:
    first, calls = told(tmp_path)
    assert {call["op"] for call in calls} == set(TABLE)
    json.dumps([first, calls], allow_nan=False)
    assert first["ceiling"] == {"tflops": 1e-3, "gbytes_s": 1.0}
    # A processor's choices are fixed, so none are kept.
    assert not list(tmp_path.iterdir())


def test_shares_are_of_the_ceiling_that_binds(tmp_path: Path) -> None:
    _, (norm,) = told(tmp_path, "rms_norm")
    # 4 tokens of 256 floats in and out and 256 weights, at 1 GB/s.
    assert (norm["bound"], norm["bytes"]) == ("memory", 4 * (2 * 4 * 256 + 256))
    assert norm["floor_ms"] == pytest.approx(1e3 * norm["bytes"] / 1e9)
    assert norm["results"][0]["ceiling_share"] == pytest.approx(norm["floor_ms"])
    _, (out, up, down) = told(tmp_path, "linear")
    assert (up["bound"], up["flops"]) == ("product", 2 * 4 * 256 * 1024)
    assert up["results"][0]["tflops"] == pytest.approx(up["flops"] / 1e9)


def test_ways_of_other_devices_are_told_with_the_reason(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    _, (call,) = told(tmp_path, "modulated_layer_norm")
    refused = {result["name"]: result["refused"] for result in call["results"] if result["refused"]}
    assert refused and all("cuda" in why.lower() for why in refused.values())
    assert call["chosen"] == "native" and "within the spread" in call["reason"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"model": "sd-turbo"}, "kernels of 'sd-turbo': there are those of tiny, wan2.1-1.3b"),
        ({"size": (40, 32)}, "size 40x32: the sides of tiny are whole 16s"),
        ({"ops": ("grind",)}, "no operation grind; there are attention, "),
    ],
)
def test_what_there_is_not_is_named(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        next(measure(replace(asked(tmp_path), **change), SCRIPTED))


def test_a_released_model_has_its_own_sizes(tmp_path: Path) -> None:
    work = work_of(replace(asked(tmp_path), model="wan2.1-1.3b", size=(832, 480), chunk=3))
    assert (work.tokens, work.head_dim, work.slots) == (1560, 128, 3 + 2 + 3)
    assert work.latent == (16, 60, 104)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="runs the kernels of a GPU")
def test_a_gpu_takes_nothing_wrong_and_nothing_slower(tmp_path: Path) -> None:
    """Every way is right or refused with a reason, and what is chosen is the fastest or as fast."""
    from millrace.kernels.table import Machine, Table
    from millrace.streaming.clock import SystemClock

    device, file = torch.device("cuda:0"), tmp_path / "kernels.json"
    whole = Asked("wan2.1-1.3b", (256, 256), 1, 1, device, torch.bfloat16, (), file)
    _, *calls = measure(whole, Instruments.of(whole, SystemClock()))
    assert {call["op"] for call in calls} == set(TABLE)
    for call in calls:
        ran = {r["name"]: r for r in call["results"] if r["ms"] is not None}
        chosen, first = ran[call["chosen"]], call["results"][0]
        assert chosen["ms"] <= first["ms"], call
        for result in call["results"]:
            assert result["name"] in ran or result["refused"], call
    kept = Table(Machine.of(device), file).choices()
    assert set(kept) == set(TABLE)
