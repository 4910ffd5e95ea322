"""What the machine report says, and that it says it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from millrace.app import catalog, cli, doctor, machine
from millrace.app.errors import CommandError


def test_the_report_has_every_part_and_reads_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["millrace", "doctor", "--json"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code in (None, 0)
    report = json.loads(capsys.readouterr().out)
    assert report["cpu"]["cores"] >= report["cpu"]["usable_cores"] > 0
    assert report["packages"]["av"] != "not installed"
    assert report["torch"]["cpu_capability"]
    assert set(report["assets"].values()) <= {"ok"}
    chosen = report["chosen"]
    assert chosen["dtype"] in ("float32", "bfloat16") and chosen["threads"] >= 1
    assert len(chosen["reasons"]) >= 4
    assert report["kernels"]["cpu"]["linear"] == "_linear_onednn"
    assert report["captions"]["vlm"] == "tiny" and report["captions"]["why"]
    assert list(tmp_path.rglob("*.json")), "the measurement is kept"
    text = "\n".join(doctor.lines(report))
    for word in ("processor", "torch", "codecs", "browser", "Data type", "Threads"):
        assert word in text


def test_missing_things_are_named() -> None:
    assert machine.versions(["no-such-package"]) == {"no-such-package": "not installed"}
    report = {
        "millrace": "0",
        "python": "3",
        "system": "x",
        "cpu": {"model": "m", "cores": 2, "usable_cores": 1.5, "flags": []},
        "memory_mb": {},
        "load_average": [],
        "packages": {},
        "torch": {"version": "2", "cpu_capability": "AVX2", "gpus": []},
        "codecs": {"libvpx": False},
        "browser": "",
        "switches": {},
        "assets": {"a": "a is missing"},
        "chosen": {"reasons": ["Because."]},
        "kernels": {
            "cpu": {"rope": "_rope_native", "norm": "norm_reference"},
            "gpu": {"told": ["nothing is measured on Mill 9000 yet"], "choices": {}},
            "left_out": {"triton.norm": "triton is not installed"},
        },
        "captions": {"vlm": "v", "title": "Teller", "weights": "gone", "why": "On a CPU."},
        "models": {"folder": "/models", "here": {"wan": "partly pulled"}, "others": []},
    }
    text = "\n".join(doctor.lines(report))
    told = "Teller (--vlm v); gone. On a CPU."
    kept = "wan (partly pulled), in /models"
    for words in ("1 of 2 operations", "measured on Mill 9000 yet", "triton is not installed"):
        assert words in text
    for words in ("missing: libvpx", "no Chromium", "a is missing", "1.5 of 2 cores", told, kept):
        assert words in text


def test_shipped_models_are_listed_and_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog.show(tmp_path, as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [(row["option"], row["name"]) for row in rows if row["state"] == "shipped"] == [
        ("--model", "tiny"),
        ("--model", "tiny-dream"),
        ("--model", "passthrough"),
        ("--vlm", "tiny"),
    ]
    catalog.show(tmp_path, as_json=False)
    assert "tiny" in capsys.readouterr().out
    catalog.verify(None, tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out)["clip.mp4"] == "ok"
    catalog.verify("tiny", tmp_path, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["tiny_vl.safetensors"] == "ok" and "clip.mp4" not in found


def test_an_altered_file_fails_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from millrace import assets

    (tmp_path / "clip.mp4").write_bytes(b"something else")
    monkeypatch.setattr(assets, "FOLDER", tmp_path)
    monkeypatch.setattr(assets.verify, "__defaults__", (tmp_path,))
    with pytest.raises(CommandError, match="clip.mp4"):
        catalog.verify(None, tmp_path, as_json=False)
