"""The benchmark: its arithmetic, and a short run of the real engine."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from millrace.app import bench, bench_load, bench_report, control_values, machine
from millrace.app.cli_options import parse_steps
from millrace.app.errors import CallError, CommandError
from millrace.streaming.config import Options
from millrace.streaming.controls import Control


def plan(report: str | None = None, **changes: object) -> bench.Plan:
    values = {
        "options": Options("passthrough", width=64, height=48, threads=1, dtype="float32"),
        "seconds": 0.3,
        "steps": (),
        "open_fps": 60.0,
        "deadline_ms": 1000.0,
        "sessions": 2,
        "controls": {},
        "browser": False,
        "report": report,
    }
    return bench.Plan(**values | changes)  # type: ignore[arg-type]


def test_a_run_reports_the_agreed_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench.run(plan(str(tmp_path / "report.json")))
    report = json.loads((tmp_path / "report.json").read_text())
    closed, opened = report["runs"]
    assert closed["mode"] == "closed" and opened["mode"] == "open"
    for name in (
        "deadline_miss_rate superseded_rate goodput_fps raw_fps e2e_ms ttff_ms jitter_ms "
        "mean_quality rungs fairness_jain sessions drops peak_memory_mb stages_ms"
    ).split():
        assert name in closed, name
    assert set(closed["e2e_ms"]) == {"p50", "p95", "p99"}
    assert closed["sessions"]["admitted"] == 2
    assert closed["raw_fps"] > opened["raw_fps"] > 30
    assert closed["frames"] == pytest.approx(
        closed["raw_fps"] * closed["measured_seconds"], rel=0.1
    )
    assert len(closed["raw_fps_windows"]) == bench.WINDOWS
    for name in ("cpu", "packages", "load_average", "dtype", "threads", "choices", "switches"):
        assert name in report["environment"], name
    assert "passthrough at 64x48" in capsys.readouterr().out


def test_the_report_alone_goes_to_the_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    bench.run(plan("-", open_fps=0.0, sessions=1))
    captured = capsys.readouterr()
    assert json.loads(captured.out)["model"] == "passthrough"
    assert "loop" in captured.err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": (1,)}, "no control `steps`"),
        ({"controls": {"gain": "1"}}, "gain: no such control"),
        ({"options": Options("nonsense")}, "nonsense"),
        ({"options": Options("passthrough", width=33)}, "33x256"),
        ({"options": Options("passthrough", device="cuda:9")}, "cuda:9"),
    ],
)
def test_a_wrong_call_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(CallError, match=message):
        bench.run(plan(None, **changes))


def test_a_report_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be written"):
        bench.run(plan(str(tmp_path / "gone" / "report.json"), open_fps=0.0))


def test_all_steps_of_the_schema_are_run_by_default() -> None:
    schema = (Control("steps", "Steps", "int", 1, 1, 3),)
    assert control_values.steps_to_run((), schema) == [1, 2, 3]
    assert control_values.steps_to_run((2,), schema) == [2]
    assert control_values.steps_to_run((), ()) == [None]


def test_the_source_moves_and_loops() -> None:
    pictures = bench_load.moving_source(32, 32)
    moves = [
        float(abs(a.astype(int) - b).mean())
        for a, b in zip(pictures, pictures[1:] + pictures[:1], strict=True)
    ]
    assert min(moves) > 0.5
    assert moves[-1] < 2 * max(moves[:-1])  # the last picture leads on to the first


def test_arithmetic() -> None:
    assert bench_report.window_rates([0.1, 0.2, 0.9, 1.0], 0.0, 1.0, 2) == [4.0, 4.0]
    assert bench_report.jain([1, 1, 1]) == 1
    assert bench_report.jain([3, 0, 0]) == pytest.approx(1 / 3)
    assert bench_report.jain([0, 0]) == 1
    assert math.isnan(bench_report.percentile([], 0.5))
    assert bench_report.peak_memory_mb() > 10


@pytest.mark.browser
@pytest.mark.slow
def test_the_whole_way_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    if not machine.browser():
        pytest.skip("there is no Chromium on this machine (apt-get install chromium)")
    bench.run(plan("-", browser=True, seconds=3.0, options=Options("passthrough", threads=1)))
    report = json.loads(capsys.readouterr().out)
    (run,) = report["runs"]
    assert report["benchmark"] == "browser"
    assert run["goodput_fps"] > 2
    assert 0 < run["e2e_ms"]["p50"] <= run["e2e_ms"]["p99"]


@pytest.mark.parametrize("text", ["", "0", "1,", "a", "1;2", "-1"])
def test_a_bad_list_of_steps_is_refused(text: str) -> None:
    with pytest.raises(CallError, match="--steps"):
        parse_steps(text)
