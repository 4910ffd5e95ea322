"""Crowds before a real engine: who comes when, the arithmetic, and short runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from millrace.app import bench, bench_separate, bench_webrtc
from millrace.app.bench_crowd import Crowd, Guest, Shown, deeds
from millrace.app.bench_sessions import Load, deadline_of, visits_of
from millrace.app.bench_verdict import account, verdict
from millrace.app.errors import CallError, CommandError
from millrace.streaming.config import Options
from millrace.streaming.pipeline import Effort
from millrace.streaming.simulation.arrivals import Visit

from ..streaming.test_trace import check_format

OPTIONS = Options("passthrough", width=64, height=48, threads=1, dtype="float32", max_sessions=8)


def load(**changes: Any) -> Load:
    values: dict[str, Any] = {
        "options": OPTIONS,
        "sessions": 2,
        "arrivals": "steady",
        "fps": 20.0,
        "deadline_ms": 500.0,
        "seconds": 0.8,
        "seed": 1,
        "changes": {},
    }
    return Load(**values | changes)


def plan(report: Path | None, **changes: Any) -> bench.Plan:
    values: dict[str, Any] = {
        "options": OPTIONS,
        "seconds": 0.8,
        "steps": (),
        "open_fps": 20.0,
        "deadline_ms": 500.0,
        "sessions": 2,
        "controls": {},
        "browser": False,
        "report": str(report) if report else None,
    }
    return bench.Plan(**values | changes)


def test_viewers_do_things_in_order_and_not_while_hidden() -> None:
    one = Visit("a", "u", 0.1, 0.9, 10.0, pauses=((0.3, 0.55),), prompts=(0.6, 2.0))
    two = Visit("b", "v", 0.5, 9.0, 10.0)
    found = list(deeds([one, two], 1.0))
    assert found == sorted(found)
    own = [(round(at, 3), kind) for at, _, number, kind in found if number == 0]
    assert own[0] == (0.1, "open") and own[-1] == (0.9, "close")
    assert (0.6, "prompt") in own and len([kind for _, kind in own if kind == "prompt"]) == 1
    shown = [at for at, kind in own if kind == "frame"]
    assert shown and not any(0.3 <= at < 0.55 for at in shown)
    assert [kind for _, _, number, kind in found if number == 1] == ["open"] + 5 * ["frame"]


def test_the_same_seed_gives_the_same_visits() -> None:
    bursty = load(arrivals="bursty", fps=0.0, seconds=20.0)
    assert visits_of(bursty) == visits_of(bursty)
    assert visits_of(bursty) != visits_of(load(arrivals="bursty", fps=0.0, seconds=20.0, seed=2))
    assert {visit.fps for visit in visits_of(load(arrivals="bursty", seconds=20.0))} == {20.0}
    with pytest.raises(CallError, match="--fps"):
        visits_of(load(fps=0.0))


def test_the_deadline_follows_the_fastest_source_where_none_is_asked_for() -> None:
    visits = visits_of(load())
    assert deadline_of(load(), 4, visits) == 0.5
    assert deadline_of(load(deadline_ms=0.0), 4, visits) == pytest.approx(0.16)
    assert deadline_of(load(deadline_ms=0.0), 1, visits) == 0.06


def guest() -> Guest:
    """Five frames due: in time at full and at half effort, late, repeated, superseded; and one
    whose deadline lies after the visit."""
    found = Guest(Visit("a", "u", 0.0, 1.0, 10.0), 0.0)
    found.offered = [0.0, 0.1, 0.2, 0.3, 0.4, 0.9]
    found.shown = {
        0: Shown(0.15, False, ""),
        1: Shown(0.25, False, "half"),
        2: Shown(0.45, False, "half"),
        3: Shown(0.35, True, "half"),
    }
    found.closed_at = 1.0
    found.numbers = {"drops": {"superseded": 1, "late_drop": 1}}
    return found


def test_an_account_holds_every_frame_that_was_due_once() -> None:
    own, delays = account(guest(), 0.2, 0.0, {"full": 1.0, "half": 0.5})
    assert (own.due, own.on_time, own.late, own.repeated) == (5, 2, 1, 1)
    assert own.quality == 1.5 and delays == pytest.approx([0.15, 0.15, 0.25])
    assert account(guest(), 0.2, 0.1, {})[0].late == 0, "the first of a chunk waits for the last"


def test_the_verdict_uses_the_agreed_names() -> None:
    crowd: Any = Crowd.__new__(Crowd)
    crowd.guests, crowd.rejected, crowd.began, crowd.ended = [guest()], 3, 0.0, 1.0
    efforts = (Effort("full"), Effort("half", quality=0.5))
    numbers = verdict(crowd, 0.2, 1, efforts, fixed=False)
    assert numbers["deadline_miss_rate"] == 0.4 and numbers["superseded_rate"] == 0.1667
    assert numbers["mean_quality"] == 0.3 and numbers["goodput_fps"] == 2.0
    assert numbers["rungs"] == {"full": 1, "half": 2} and numbers["fairness_jain"] == 1.0
    assert numbers["sessions"] == {"admitted": 1, "queued": 0, "rejected": 3}
    for name in "raw_fps e2e_ms ttff_ms jitter_ms drops peak_memory_mb fixed_quality".split():
        assert name in numbers


def test_a_steady_crowd_is_measured_twice_and_traced(tmp_path: Path) -> None:
    path, trace = tmp_path / "report.json", tmp_path / "trace.json"
    bench.run(plan(path, arrivals="steady", trace=str(trace)))
    report = json.loads(path.read_text())
    assert report["benchmark"] == "sessions"
    assert [run["fixed_quality"] for run in report["runs"]] == [False, True]
    for run in report["runs"]:
        assert run["sessions"] == {"admitted": 2, "queued": 0, "rejected": 0}
        # No rate: a busy machine may let most of so short a run be dropped.
        assert run["raw_fps"] < 45 and run["frames"] > 0
    document = json.loads(trace.read_text())
    check_format(document)
    rows = {e["args"]["name"] for e in document["traceEvents"] if e["ph"] == "M"}
    assert {"session s0", "session s1", "device cpu"} <= rows


def test_a_bursty_crowd_comes_and_goes(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    bench.run(plan(path, arrivals="bursty", open_fps=0.0, seconds=1.5, seed=3))
    first, second = json.loads(path.read_text())["runs"]
    assert first["sessions"]["admitted"] > 2
    came = [run["sessions"]["admitted"] + run["sessions"]["rejected"] for run in (first, second)]
    assert came[0] == came[1], "both runs see the same visitors"


def test_capacity_is_found_and_offered(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    bench.run(plan(path, capacity=True, seconds=0.5))
    most, *runs = json.loads(path.read_text())["runs"]
    assert most["mode"] == "capacity" and most["raw_fps"] > 1
    assert [run["load"] for run in runs] == [0.9, 0.9, 1.5, 1.5]
    assert runs[0]["source_fps"] == pytest.approx(0.9 * most["raw_fps"] / 2, abs=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arrivals": "steady", "open_fps": 0.0}, "--fps"),
        ({"arrivals": "steady", "controls": {"gain": "1"}}, "gain"),
        ({"arrivals": "steady", "options": Options("passthrough", width=33)}, "33x256"),
        ({"arrivals": "steady", "capacity": True}, "different benchmarks"),
        ({"separate": True, "trace": "x"}, "--trace"),
    ],
)
def test_a_wrong_call_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError, match=message):
        bench.run(plan(None, **changes))


@pytest.mark.slow
def test_one_engine_is_compared_with_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_separate, "ROUNDS", 1)
    monkeypatch.setattr(bench_separate, "ROWS", (1, 2))
    found = bench_separate.measure(load(seconds=0.3))
    assert found["ratio"] > 0 and len(found["ratios"]) == 1
    assert [row["rows"] for row in found["row_cost"]] == [1, 2]
    assert found["row_cost"][0]["relative"] == pytest.approx(1.0, abs=0.01)
    assert "ratio" in "\n".join(bench_separate.table(found))


@pytest.mark.slow
def test_an_engine_that_cannot_be_built_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="nonsense"):
        bench_separate.measure(load(options=Options("nonsense")))


@pytest.mark.slow
def test_peers_over_loopback_are_measured() -> None:
    options = Options("passthrough", width=64, height=64, threads=1, dtype="float32", device="cpu")
    found = bench_webrtc.measure(load(options=options, seconds=2.0, fps=15.0))
    sessions = found["sessions"]
    # On a machine that is busy enough the second one is left in the queue, rightly.
    assert sessions["admitted"] + sessions["queued"] == 2 and sessions["admitted"]
    assert found["fresh_fps"] > 1 and 0 < found["e2e_ms"]["p50"] <= found["e2e_ms"]["p99"]
    assert "peers over loopback" in bench_webrtc.table(found)[0]


def test_peers_are_summed_up_by_the_agreed_names() -> None:
    peer: dict[str, Any] = {
        "times": [0.0, 0.1, 0.3],
        "delays": [0.1, 0.6],
        "ttff": 0.2,
        "stats": {},
    }
    refused = {"rejected": "full"}
    peers: list[dict[str, Any]] = [{**peer, "drops": {"ingest": 2}}, refused, {**peer, "drops": {}}]
    peers.append({"queued": True})
    found = bench_webrtc.summary(peers, load(seconds=1.0, fps=10.0))
    assert found["deadline_miss_rate"] == 0.5 and found["goodput_fps"] == 2
    assert found["jitter_ms"] == pytest.approx(100) and found["drops"] == {"ingest": 2}
    assert found["sessions"] == {"admitted": 2, "queued": 1, "rejected": 1}
    with pytest.raises(CommandError, match="nobody in: full"):
        bench_webrtc.summary([{"rejected": "full"}], load())
