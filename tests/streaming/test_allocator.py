"""Freed memory stays with the process: the next block of the same size costs no page faults."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
from millrace.streaming.allocator import keep_freed_memory

PROBE = """
import resource, sys
from millrace.streaming.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
import torch
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(12):
    torch.empty(10 << 20).zero_()
before = faults()
for _ in range(8):
    torch.empty(10 << 20).zero_()
print(faults() - before)
"""


def probe(how: str) -> int:
    """Page faults of eight blocks of 40 MB, after a few to settle."""
    command = [sys.executable, "-c", PROBE, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of the GNU C library")
def test_blocks_are_used_again() -> None:
    assert probe("keep") < 100 < probe("plain")


def test_other_systems_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert "as this system's C library has it" in keep_freed_memory()
