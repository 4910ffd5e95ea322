"""Memory that PyTorch frees stays with the process, on systems with the GNU C library. No torch.

A frame makes and frees megabytes of intermediate results, many times. By default the C library
maps a large block anew each time and gives it back at once, and the system clears every page of it
again: measured, up to a sixth of the time of a frame.
"""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Names of `mallopt` settings in malloc.h."""
LARGEST = 1 << 30
"""Blocks beyond this many bytes are still mapped one by one."""
GROW_BY = 64 << 20
NEVER = 2**31 - 1


def keep_freed_memory() -> str:
    """Let this process keep what it frees, up to its peak; only for processes of our own.

    Returns:
        A sentence that says what holds now.
    """
    if platform.libc_ver()[0] != "glibc":
        return "Freed memory: as this system's C library has it."
    library = ctypes.CDLL(None)
    settings = ((_MMAP_THRESHOLD, LARGEST), (_TRIM_THRESHOLD, NEVER), (_TOP_PAD, GROW_BY))
    if not all(library.mallopt(name, value) for name, value in settings):
        return "Freed memory: the C library refused to keep it; frames may take longer."
    return "Freed memory: kept for the next frame, not given back to the system in between."
