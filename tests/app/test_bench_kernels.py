"""`millrace bench kernels`, with a timer that a script drives: what a user reads and can ask."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from millrace.app import cli
from millrace.app.bench_kernels import block, closing
from millrace.streaming.measuring import kernel_calls
from millrace.streaming.measuring.ceiling import Reading
from typer.testing import CliRunner


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A device on which every call takes a millisecond."""

    def timer(call: Callable[[], object]) -> float:
        call()
        return 1.0

    instruments = kernel_calls.Instruments(timer, Reading(flops=1e12, bandwidth=1e9))
    monkeypatch.setattr(kernel_calls.Instruments, "of", lambda *given: instruments)
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path))


def bench(*arguments: str) -> tuple[int, str]:
    given = ["bench", "kernels", "--device", "cpu", "--size", "32x32", *arguments]
    result = CliRunner().invoke(cli.app, given)
    return result.exit_code, result.output or repr(result.exception)


def test_a_user_reads_ways_times_errors_and_the_choice(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    code, text = bench("--op", "rms_norm", "--op", "linear", "--json", str(file))
    assert code == 0, text
    lines = text.splitlines()
    assert lines[0] == "kernels    tiny at 32x32, rows: 1, frames a chunk: 1"
    assert any(line.startswith("ceiling    product 1 TFLOP/s, copy 1 GB/s") for line in lines)
    row = next(line for line in lines if line.startswith("rms_norm"))
    assert row.split()[1:4] == ["*native", "1", "0"] and row.endswith("memory")
    assert "mlp in, gelu" in text and "1.00x" in text
    assert max(map(len, lines)) <= 100
    report = json.loads(file.read_text())
    assert [call["op"] for call in report["calls"]] == ["rms_norm", "linear", "linear", "linear"]
    assert report["calls"][0]["results"][0]["ms"] == 1.0 and report["versions"]["torch"]
    assert report["environment"]["cpu"]


def test_the_report_alone_is_on_the_standard_output() -> None:
    given = ["bench", "kernels", "--device", "cpu", "--size", "32x32", "--op", "rope"]
    result = CliRunner().invoke(cli.app, [*given, "--json", "-"])
    assert json.loads(result.stdout)["calls"][0]["op"] == "rope"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--op", "grind"], "no operation grind"),
        (["--model", "sd-turbo"], "there are those of tiny"),
        (["--size", "40x32"], "whole 16s"),
        (["--dtype", "int4"], "--dtype 'int4' is not one of auto, float32"),
        (["--device", "abacus"], "--device 'abacus'"),
        (["--device", "meta"], "there is no such device here"),
    ],
)
def test_a_wrong_call_is_answered_with_what_there_is(arguments: list[str], why: str) -> None:
    code, text = bench(*arguments)
    assert code != 0 and why in text


def test_options_stand_behind_the_name() -> None:
    result = CliRunner().invoke(cli.app, ["bench", "--fps", "30", "kernels"])
    assert "--fps: an option of `bench kernels` stands behind kernels" in repr(result.exception)


def result(name: str, ms: float | None, refused: str = "") -> dict[str, object]:
    return {
        "name": name,
        "ms": ms,
        "spread_ms": None if ms is None else 0.01,
        "error": 1e-3,
        "refused": refused,
        "ceiling_share": None if ms is None else 0.5,
    }


def call(chosen: str, *results: dict[str, object]) -> dict[str, object]:
    named = {"op": "rope", "label": "queries", "bound": "memory", "chosen": chosen}
    return named | {"results": list(results), "reason": "0.50x as fast as reference"}


def test_the_chosen_way_is_marked_and_speeds_are_against_the_first() -> None:
    lines = block(call("triton", result("reference", 2.0), result("triton", 1.0)))
    assert [line.split()[1] for line in lines] == ["reference", "*triton"]
    assert "1.00x" in lines[0] and "2.00x" in lines[1]
    alone = block(call("reference", result("reference", 2.0)))
    assert alone[1].strip() == "queries"


def test_what_is_slower_or_left_out_is_said_at_the_end() -> None:
    report = {
        "calls": [
            call("native", result("native", 2.0), result("reference", 1.0)),
            call("native", result("native", 1.0), result("triton", None, "x is on cpu")),
        ],
        "left_out": {"triton.norm": "triton is not installed"},
        "device_type": "cpu",
    }
    text = "\n".join(closing(report))
    assert "slower     rope (queries): 0.50x as fast as reference" in text
    assert text.count("slower") == 1
    assert "left out   rope triton: x is on cpu" in text
    assert "left out   triton.norm: triton is not installed" in text
