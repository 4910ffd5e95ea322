"""How the GNU C library keeps memory that is freed, where that is the C library. No torch.

In a worker: a frame makes and frees megabytes of intermediate results, many times. By default the C
library maps a large block anew each time and gives it back at once, and the system clears every
page of it again: measured, up to a sixth of the time of a frame.

In the web process the opposite counts: pictures of 100 KB and more come and go between thousands of
small objects, and the holes that they leave fit the next ones ever worse: measured, a process that
serves one viewer grew by 1 MB a minute with nothing in it that grew.
"""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
"""Names of `mallopt` settings in malloc.h."""
LARGEST = 1 << 30
"""Blocks beyond this many bytes are still mapped one by one."""
GROW_BY = 64 << 20
NEVER = 2**31 - 1
PICTURE = 64 << 10
"""Blocks from this many bytes on are pictures, not objects."""
ARENAS = 2


def keep_freed_memory() -> str:
    """Let this process keep what it frees, up to its peak; only for processes of our own.

    Returns:
        A sentence that says what holds now.
    """
    if _mallopt((_MMAP_THRESHOLD, LARGEST), (_TRIM_THRESHOLD, NEVER), (_TOP_PAD, GROW_BY)):
        return "Freed memory: kept for the next frame, not given back to the system in between."
    return "Freed memory: as this system's C library has it; frames may take longer."


def map_pictures() -> bool:
    """Let this process give each picture memory of its own, so that none leaves a hole; only for
    processes of our own. False where the C library knows no such setting."""
    return _mallopt((_MMAP_THRESHOLD, PICTURE), (_ARENA_MAX, ARENAS))


def _mallopt(*settings: tuple[int, int]) -> bool:
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return all(library.mallopt(name, value) for name, value in settings)
