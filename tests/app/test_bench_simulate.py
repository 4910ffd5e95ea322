"""The simulated benchmark from its call to its table, report and plot."""

from __future__ import annotations

import json
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
from millrace.app import bench_simulate
from millrace.app.bench_simulate import SimulationPlan
from millrace.app.errors import CallError, CommandError
from millrace.app.line_chart import Panel, draw

NAMES = (
    "policy load offered_load deadline_miss_rate superseded_rate goodput_fps raw_fps e2e_ms "
    "ttff_ms jitter_ms continuous_play_ratio mean_quality rungs fairness_jain gpu_busy "
    "sessions drops"
).split()
SVG = "{http://www.w3.org/2000/svg}"


def test_a_sweep_writes_table_report_and_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, plot = tmp_path / "report.json", tmp_path / "plot.svg"
    bench_simulate.run(
        SimulationPlan(loads=(0.5, 1.5), seconds=10.0, report=str(report), plot=str(plot))
    )
    found = json.loads(report.read_text())
    runs = found["runs"]
    assert [(one["load"], one["policy"]) for one in runs] == [
        (load, policy)
        for load in (0.5, 1.5)
        for policy in ("fifo", "edf-drop", "edf-ladder", "millrace")
    ]
    for one in runs:
        assert all(name in one for name in NAMES)
        assert set(one["e2e_ms"]) == {"p50", "p95", "p99"}
        assert set(one["sessions"]) == {"admitted", "queued", "rejected"}
        assert "mean_quality" in one["fixed_quality"]
    assert found["capacity_sessions"] == pytest.approx(6.41)
    printed = capsys.readouterr()
    assert sum("millrace" in line for line in printed.out.splitlines()) == 2
    assert "simulating" in printed.err
    picture = xml.fromstring(plot.read_text())
    assert len(list(picture.iter(f"{SVG}polyline"))) == 4 * 4
    assert {"fifo", "millrace"} <= {text.text for text in picture.iter(f"{SVG}text")}


def test_the_report_alone_goes_to_the_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    bench_simulate.run(
        SimulationPlan(policies=("fifo",), loads=(1.0,), seconds=5.0, report="-", scenario="bursty")
    )
    captured = capsys.readouterr()
    assert json.loads(captured.out)["scenario"] == "bursty"
    assert "quality" in captured.err


def test_a_recorded_trace_takes_the_place_of_the_scenario(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "day.csv"
    rows = "\n".join(f"{n},{n},5,m,1,1,2,x" for n in range(50))
    trace.write_text(
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,"
        f"Log Type\n{rows}\n"
    )
    bench_simulate.run(
        SimulationPlan(policies=("edf-drop",), loads=(1.0,), seconds=20.0, trace=str(trace))
    )
    assert "day.csv" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policies": ("luck",)}, "no policy luck; there are fifo, edf-drop, edf-ladder, millrace"),
        ({"policies": ()}, "no policy given"),
        ({"loads": (0.0,)}, "loads must be above 0"),
        ({"loads": (float("nan"),)}, "loads must be above 0"),
        ({"loads": ()}, "got none"),
        ({"seconds": 0.0}, "seconds must be a number above 0; got 0"),
        ({"scenario": "calm"}, "no scenario 'calm'; there are steady, bursty"),
        ({"rps": 2.0}, "add the bursty scenario or a trace"),
        ({"scenario": "bursty", "scale": -1.0}, "scale must be a number above 0"),
        ({"trace": "nowhere.csv"}, "nowhere.csv cannot be read"),
    ],
)
def test_calls_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(CallError, match=message):
        bench_simulate.run(SimulationPlan(**changes))  # type: ignore[arg-type]


def test_a_place_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    place = tmp_path / "none" / "plot.svg"
    with pytest.raises(CommandError, match="cannot be written") as failed:
        bench_simulate.run(
            SimulationPlan(policies=("fifo",), loads=(1.0,), seconds=1.0, plot=str(place))
        )
    assert not isinstance(failed.value, CallError)


def test_charts_are_drawn_of_flat_single_and_odd_named_lines() -> None:
    panels = [
        Panel("flat", [("<a & b>", [(1.0, 0.0)])], percent=True),
        Panel("wide", [("<a & b>", [(0.5, 12.0), (1.0, 40000.0)])], log=True),
    ]
    picture = xml.fromstring(draw("title", "x", panels))
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert "<a & b>" in texts and "0%" in texts and "100000" in texts
    with pytest.raises(ValueError, match="nothing to draw in 'none'"):
        draw("title", "x", [Panel("none", [])])
