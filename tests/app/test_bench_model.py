"""`millrace bench` of a model at fixed quality: what is asked, what is told, and to the end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from millrace.app import bench_goals, bench_model, bench_model_report, cli, cli_bench
from millrace.app.bench_goals import Goal, Run
from millrace.app.bench_model import ModelPlan
from millrace.app.errors import CallError
from millrace.streaming.config import Options
from typer.testing import CliRunner

ROW = Run("wan2.1-1.3b", (832, 480), 2, "cuda:0", "bfloat16", "taehv")


def stage(ms: float) -> dict[str, float]:
    return {"p50": ms, "p95": 2 * ms}


def share(value: float) -> dict[str, float]:
    return {"median": value, "min": value / 2, "max": 2 * value}


def one_run(steps: int | None = 2, **changes: Any) -> dict[str, Any]:
    passes = {f"pass {n + 1}": stage(20.0 + n) for n in range(steps or 1)}
    return {
        "steps": steps,
        "raw_fps": 118.2,
        "raw_fps_windows": [117.9, 118.4],
        "ttff_ms": 41.0,
        "e2e_ms": {"p50": 30.0, "p95": 33.25, "p99": 40.0},
        "energy_j_per_frame": None,
        "peak_memory_mb": 5123.0,
        "stages_ms": {"encode": stage(3.0), **passes, "decode": stage(5.0), "copies": stage(0.4)},
        "mfu": share(0.52),
        "pass_mfu": share(0.64),
        "bandwidth_share": share(0.1),
        **changes,
    }


def report(*runs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    made = {
        "model": "wan2.1-1.3b",
        "size": [832, 480],
        "windows": 5,
        "random_weights": True,
        "settings": {"random_weights": "True"},
        "schedule": "sequential",
        "chunk": 4,
        "build_s": 12.34,
        "warm_up_s": 3.0,
        "environment": {
            "device": "cuda:0",
            "dtype": "bfloat16",
            "threads": 4,
            "cpu": {"model": "A processor", "usable_cores": 8.0},
            "load_average_before": [1.5, 1.0],
        },
        "device_name": "NVIDIA H200",
        "ceiling": {
            "matrix_side": 8192,
            "copy_bytes": 1 << 30,
            "flops_per_s": share(790e12),
            "bytes_per_s": share(4.3e12),
        },
        "energy": {"source": None, "not_measured": "no pynvml"},
        "not_counted": None,
        "stages_told": ["Stages: 3 replayed."],
        "runs": list(runs) or [one_run()],
        "compare": [],
        **changes,
    }
    for run in made["runs"]:
        run["goals"] = bench_goals.of_run(made, run)
    return made


def test_a_goal_stands_only_beside_a_run_that_is_like_it() -> None:
    goal = bench_goals.frame_rate(ROW)
    assert isinstance(goal, Goal) and goal.fps == 120
    others = [
        Run("wan2.1-1.3b", (832, 480), 2, "cpu", "bfloat16", "taehv"),
        Run("wan2.1-1.3b", (832, 480), 3, "cuda:0", "bfloat16", "taehv"),
        Run("wan2.1-1.3b", (480, 832), 2, "cuda:0", "bfloat16", "taehv"),
        Run("wan2.1-1.3b", (832, 480), 2, "cuda:0", "bfloat16", "wan"),
        Run("wan2.1-14b", (832, 480), 2, "cuda:0", "bfloat16", "taehv"),
        Run("tiny", (832, 480), 2, "cuda:0", "bfloat16"),
        Run("wan2.1-1.3b", (832, 480), None, "cuda:0", "bfloat16", "taehv"),
    ]
    assert [bench_goals.frame_rate(run) for run in others] == [None] * len(others)


@pytest.mark.parametrize(
    ("run", "fps"),
    [
        (Run("wan2.1-1.3b", (832, 480), 4, "cuda:0", "bfloat16", "taehv"), 65),
        (Run("wan2.1-1.3b", (512, 512), 1, "cuda:0", "bfloat16", "taehv"), 200),
        (Run("wan2.1-1.3b", (832, 480), 4, "cuda:0", "bfloat16", "taehv", fp8=True), 100),
        (Run("wan2.1-14b", (832, 480), 2, "cuda:0", "bfloat16", "taehv", fp8=True), 30),
        (Run("sd-turbo", (512, 512), 1, "cuda:0", "bfloat16"), 300),
    ],
)
def test_each_row_of_the_table_is_there(run: Run, fps: float) -> None:
    goal = bench_goals.frame_rate(run)
    assert goal is not None and goal.fps == fps


def test_goals_of_passes_and_of_the_large_decoder() -> None:
    assert bench_goals.pass_share(ROW) == 0.7
    assert bench_goals.pass_share(Run("tiny", (64, 64), 1, "cuda:0", "bfloat16")) is None
    assert bench_goals.pass_share(replace(ROW, fp8=True)) is None
    assert bench_goals.decode_ms(ROW) is None
    large = Run("wan2.1-1.3b", (832, 480), 2, "cuda:0", "bfloat16", "wan")
    assert bench_goals.decode_ms(large) == 30.0


def test_the_table_fits_a_terminal_and_has_units() -> None:
    lines = bench_model_report.table(report(one_run(1), one_run(4)))
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 100
    assert "on cuda:0 (NVIDIA H200), bfloat16, sequential schedule, random weights" in text
    assert (
        "790 TFLOP/s" in text and "4.3 TB/s" in text and "energy: not measured: no pynvml" in text
    )
    assert "Stages: 3 replayed." in lines
    assert "20 + 21 + 22 + 23" in text, "each pass"
    assert any(line.endswith("      30     33.2") for line in lines), "p50 and p95 of a picture"
    assert "41 ms" in text and "52.0%" in text and "5123 MB" in text


def test_goals_are_told_beside_the_measured_figure_or_not_at_all() -> None:
    told = "\n".join(bench_model_report.table(report()))
    assert "goals, set for one H200" in told
    assert "2 steps, pictures a second: 118 fps, goal 120" in told
    assert "17.97 fps on an H100" in told
    assert "2 steps, passes: 64 % of the ceiling, goal 70" in told
    other = "\n".join(bench_model_report.table(report(size=[640, 352])))
    assert "goal 120" not in other


def test_what_is_unknown_is_a_dash() -> None:
    bare = one_run(None, ttff_ms=12_345.0)
    del bare["mfu"], bare["pass_mfu"], bare["bandwidth_share"]
    lines = bench_model_report.table(report(bare, not_counted="what x computes is not counted"))
    row = next(line for line in lines if line.strip().startswith("-"))
    assert row.split()[0] == "-" and "12.35 s" in row and "%" not in row
    assert any("share of the ceiling: not known, as what x" in line for line in lines)


def test_a_comparison_is_told_as_ratios() -> None:
    theirs = one_run() | {"ratio": {"fps": share(1.5), "ttff": 2.0}, "likeness": None}
    alike = theirs | {"likeness": {"psnr_db": 127.3, "largest": 1e-6}}
    compared = [
        {"name": "a 1", "note": "eager", "runs": [theirs]},
        {"name": "b 2", "note": "compiled", "runs": [alike]},
    ]
    told = "\n".join(bench_model_report.table(report(compare=compared)))
    assert "against a 1: eager" in told and "1.5 (0.75 to 3)" in told
    assert "other noise" in told and "127.3 dB" in told


# -- the command --------------------------------------------------------------------------------


def planned(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> ModelPlan:
    """What the command line asks for."""
    plans: list[ModelPlan] = []
    monkeypatch.setattr(bench_model, "run", plans.append)
    done = CliRunner().invoke(cli.app, ["bench", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (plan,) = plans
    return plan


def test_a_model_with_its_steps_goes_to_the_benchmark_of_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = planned(
        monkeypatch, "--model", "sd-turbo", "--random-weights", "--size", "512x512",
        "--steps", "1,2,4", "--compare", "diffusers", "--set", "seed=3",
        "--option", "schedule=stream",
    )  # fmt: skip
    assert (plan.options.pipeline, plan.options.width, plan.options.height) == (
        "sd-turbo",
        512,
        512,
    )
    assert plan.options.settings == {"random_weights": True, "schedule": "stream"}
    assert plan.options.max_sessions == 1
    assert plan.steps == (1, 2, 4) and plan.compare == ("diffusers",)
    assert plan.seconds == 20.0 and plan.controls == {"seed": "3"}


@pytest.mark.parametrize(
    "other", [["--fps", "30"], ["--sessions", "2"], ["--deadline", "50"], ["--browser"]]
)
def test_other_ways_to_measure_stay_what_they_are(other: list[str]) -> None:
    asked = {name: False for name in cli_bench.OTHER_WAYS} | {"sessions": 1}
    assert cli_bench._is_of_model(asked)
    name = other[0].removeprefix("--")
    assert not cli_bench._is_of_model(asked | {name: int(other[1]) if other[1:] else True})


def test_a_comparison_is_of_the_model_alone() -> None:
    done = CliRunner().invoke(cli.app, ["bench", "--sessions", "2", "--compare", "diffusers"])
    assert isinstance(done.exception, CallError) and "--compare" in str(done.exception)


def test_a_comparison_with_nobody_is_a_wrong_call() -> None:
    done = CliRunner().invoke(cli.app, ["bench", "--compare", " , "])
    assert isinstance(done.exception, CallError) and "names no system" in str(done.exception)


def options(pipeline: str = "passthrough", **changes: Any) -> Options:
    given = {"width": 64, "height": 64, "threads": 1, "dtype": "float32", "max_sessions": 1}
    return Options(pipeline, **{**given, **changes})


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (ModelPlan(options(), 0.1, steps=(1,)), "no control `steps`"),
        (ModelPlan(options(), 0.1, controls={"gain": "1"}), "gain: no such control"),
        (ModelPlan(options("nonsense"), 0.1), "nonsense"),
        (ModelPlan(options(width=33), 0.1), "33x64"),
        (ModelPlan(options(device="cuda:9"), 0.1), "cuda:9"),
        (ModelPlan(options(), 0.1, compare=("diffusers",)), "not with passthrough"),
        (
            ModelPlan(options("wan2.1-14b", settings={"random_weights": True}), 0.1),
            "free; please use",
        ),
    ],
)
def test_a_wrong_call_is_named_before_anything_is_built(
    plan: ModelPlan, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millrace.streaming.room.free_bytes", lambda device: 10**9)
    with pytest.raises(CallError, match=message):
        bench_model.run(plan)


def test_the_report_has_the_agreed_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millrace.streaming.measuring.ceiling.CPU_SIDES", (64,))
    monkeypatch.setattr("millrace.streaming.measuring.ceiling.CPU_COPY", 1 << 16)
    bench_model.run(ModelPlan(options("tiny"), 0.05, steps=(1, 2), report="-"))
    shown = capsys.readouterr()
    made = json.loads(shown.out)
    assert "tiny at 64x64 on cpu" in shown.err
    assert made["benchmark"] == "model" and made["build_s"] > 0
    assert made["environment"]["device"] == "cpu" and made["environment"]["choices"]
    names = {
        "raw_fps", "goodput_fps", "deadline_miss_rate", "superseded_rate", "e2e_ms", "ttff_ms",
        "jitter_ms", "mean_quality", "rungs", "fairness_jain", "sessions", "drops",
        "peak_memory_mb", "stages_ms", "mfu", "energy_j_per_frame", "goals",
    }  # fmt: skip
    for run in made["runs"]:
        assert names <= set(run) and run["goals"] == {} and run["peak_memory_mb"] > 10
        assert set(run["rungs"]) == {"full"}


def test_sd_turbo_against_diffusers_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("diffusers")
    import sd_fakes

    monkeypatch.setattr("millrace.streaming.measuring.ceiling.CPU_SIDES", (64,))
    monkeypatch.setattr("millrace.streaming.measuring.ceiling.CPU_COPY", 1 << 16)
    folder = sd_fakes.write_folder(tmp_path / "sd-turbo")
    asked = options("sd-turbo", settings={"weights": str(folder)})
    made = bench_model.measure(ModelPlan(asked, 0.05, (1, 2), compare=("diffusers",)))
    (rival,) = made["compare"]
    assert rival["name"].startswith("diffusers ") and [r["steps"] for r in rival["runs"]] == [1, 2]
    for run in rival["runs"]:
        assert run["raw_fps"] > 0 and run["ratio"]["fps"]["median"] > 0
        assert run["likeness"]["psnr_db"] > 60
    assert all(run["mfu"]["median"] > 0 for run in made["runs"])
    assert "times as fast" in "\n".join(bench_model_report.table(made))
