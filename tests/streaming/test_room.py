"""What is left of a machine's and a device's memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from millrace.streaming import room

LINES = (
    "MemTotal:        8000 kB\nMemFree:          500 kB\nMemAvailable:    2000 kB\nHugePages: 0\n"
)


@pytest.fixture
def meminfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "meminfo"
    monkeypatch.setattr(room, "MEMINFO", file)
    return file


def test_what_can_be_had_counts_not_what_is_unused(meminfo: Path) -> None:
    meminfo.write_text(LINES)
    assert room.host_memory() == {"total": 8000 << 10, "available": 2000 << 10}
    assert room.free_share("cpu") == 0.25


def test_a_system_that_does_not_tell_is_no_reason_to_refuse(meminfo: Path) -> None:
    assert not meminfo.exists() and room.host_memory() == {}
    assert room.free_share("cpu") == 1.0


def test_this_machine_has_some_memory_free() -> None:
    assert 0.0 < room.free_share("cpu") <= 1.0


def test_what_is_kept_for_later_on_a_gpu_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def info(device: str) -> tuple[int, int]:
        asked.append(device)
        return 100, 1000

    monkeypatch.setattr(torch.cuda, "mem_get_info", info)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 400)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 250)
    assert room.free_share("cuda:1") == pytest.approx(0.25)
    assert asked == ["cuda:1"]
