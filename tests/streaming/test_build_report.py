"""The report on building a released model, on a model of a moment."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from millrace.models.specs import WAN_1_3B
from millrace.streaming import build_report
from millrace.streaming.build_report import build, main, run, save_shards

SMALL = replace(
    WAN_1_3B, dim=48, ffn_dim=64, freq_dim=16, text_dim=12, text_len=4, heads=4, layers=2
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_report, "SIZES", {"small": SMALL})
    monkeypatch.setattr(build_report, "SHARD_BYTES", 60_000)


def test_random_weights_are_written_and_loaded_again(tmp_path: Path) -> None:
    model, report, _ = build("small", torch.float32, None)
    assert report.parameters == sum(p.numel() for p in model.parameters())
    assert report.weights * 2**20 == 4 * report.parameters
    assert all(p.isfinite().all() and p.abs().max() > 0 for p in model.parameters())
    save_shards(model, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    again, report, peak = build("small", torch.bfloat16, tmp_path)
    assert all(
        torch.equal(a.bfloat16(), b)
        for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )
    report = run(again, report, peak, (32, 48), 1)
    assert report.state is not None and report.state > 0
    assert report.first_seconds is not None and report.pass_seconds is not None


def test_the_command_tells_as_text_and_as_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["build_report", "small", "--passes", "1", "--size", "32x32"]
    monkeypatch.setattr("sys.argv", command)
    main()
    assert "pass_seconds" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [*command, "--passes", "-1", "--json"])
    main()
    told = json.loads(capsys.readouterr().out)
    assert told["dtype"] == "bfloat16" and told["pass_seconds"] is None
