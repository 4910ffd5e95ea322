"""Comparing cores of the model's own with shared ones: in turns, kept, and read again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from millrace.app import bench_cores
from millrace.app.bench_sessions import Load
from millrace.app.errors import CallError
from millrace.streaming import calibrate, cores
from millrace.streaming.clock import SystemClock
from millrace.streaming.config import Facts, Options, resolve

KNOWN = Options(dtype="float32", threads=1, device="cpu")


def test_rounds_begin_in_turns_and_what_is_found_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path))
    monkeypatch.setattr(calibrate, "usable_cores", lambda: 4)
    monkeypatch.setattr(cores, "can_bind", lambda: True)
    asked: list[str] = []

    def measured(load: Load) -> dict[str, Any]:
        asked.append(load.options.cores)
        apart = load.options.cores == "apart"
        return {"fresh_fps": 24.0 if apart else 20.0, "e2e_ms": {"p95": 70.0}}

    found = bench_cores.compare(KNOWN, measured, rounds=3)
    assert asked == ["shared", "apart", "apart", "shared", "shared", "apart"]
    assert found.apart and found.rounds[0] == cores.Round(20.0, 24.0, 70.0, 70.0)
    facts = calibrate.measure(KNOWN, SystemClock())
    assert facts.compared == found
    assert resolve(KNOWN, facts).apart and not resolve(KNOWN, facts, alone=True).apart


def test_where_nothing_can_be_divided_nothing_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path))
    monkeypatch.setattr(calibrate, "measure", lambda *_: Facts(1, can_bind=True))

    def never(load: Load) -> dict[str, Any]:
        raise AssertionError("nothing is to be measured")

    with pytest.raises(CallError, match="leave none of 1 cores"):
        bench_cores.compare(KNOWN, never)
    assert not os.listdir(tmp_path)
