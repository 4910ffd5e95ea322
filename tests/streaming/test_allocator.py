"""Freed memory stays with the process: the next block of the same size costs no page faults."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
from millrace.streaming.allocator import keep_freed_memory, map_pictures

PROBE = """
import ctypes, resource, sys
from millrace.streaming.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
library, size = ctypes.CDLL(None), ctypes.c_size_t(40 << 20)
def use():  # as PyTorch does for a tensor on the CPU
    block = ctypes.c_void_p()
    assert library.posix_memalign(ctypes.byref(block), ctypes.c_size_t(64), size) == 0
    ctypes.memset(block, 1, size.value)
    library.free(block)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(12):
    use()
before = faults()
for _ in range(8):
    use()
print(faults() - before)
"""


def probe(how: str) -> int:
    """Page faults of eight blocks of 40 MB, after a few to settle."""
    command = [sys.executable, "-c", PROBE, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of the GNU C library")
def test_blocks_are_used_again() -> None:
    assert probe("keep") < 100 < probe("plain")


HOLES = """
import ctypes, sys
from millrace.streaming.allocator import map_pictures
if sys.argv[1] == "keep":
    assert map_pictures()
class Use(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena o s h hblkhd us fs u f k".split()]
library = ctypes.CDLL(None)
library.mallinfo2.restype = Use
library.malloc.restype = ctypes.c_void_p
for _ in range(100):  # the first ones may fit holes that are there
    before = library.mallinfo2().hblkhd
    library.malloc(98_304)
print(library.mallinfo2().hblkhd - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of the GNU C library")
@pytest.mark.parametrize(("how", "own"), [("keep", True), ("plain", False)])
def test_a_picture_gets_memory_of_its_own(how: str, own: bool) -> None:
    command = [sys.executable, "-c", HOLES, how]
    mapped = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (mapped >= 98_304) == own


def test_other_systems_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not map_pictures()
    assert "as this system's C library has it" in keep_freed_memory()
