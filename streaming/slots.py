"""Frames between two processes: slots in shared memory, announced over the control pipe.

One block a session: input slots, then output slots, each one I420 frame. A slot belongs to the side
that fills it until it is announced, then to the other side until that one gives it back; it copies
the frame out at once, so a slot is away for microseconds and a few are enough. Nobody ever waits:
while all slots are away the newest frame is kept aside and the oldest kept one is dropped.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence, Sized
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from .frames import i420_shape

Planes = npt.NDArray[np.uint8]
Meta = TypeVar("Meta")


class FrameBlock:
    """The slots of one session.

    Made by the web process, which alone removes it; so nothing is left when a worker is killed.

    Args:
        width, height: of all frames.
        slots: how many.
        name: of an existing block to attach to; None makes a new one.

    Raises:
        OSError: no room in shared memory.
    """

    def __init__(self, width: int, height: int, slots: int, name: str | None = None) -> None:
        self._shape = i420_shape(width, height)
        self._stride = self._shape[0] * self._shape[1]
        size = self._stride * slots
        if name is None:
            self._memory = SharedMemory(new_name(), create=True, size=size)
        else:
            self._memory = attach(name)
        self._lock = threading.Lock()
        self._open = True
        if name is None:
            try:
                _reserve(self._memory.name, size)
            except OSError:
                self.close()
                self.remove()
                raise

    @property
    def name(self) -> str:
        return self._memory.name

    def write(self, slot: int, planes: Planes) -> bool:
        """Copy a frame in. False when the block was closed meanwhile."""
        with self._lock:
            if self._open:
                np.copyto(self._view(slot), planes)
            return self._open

    def read(self, slot: int) -> Planes | None:
        """A copy of a frame, the caller's own. None when the block was closed meanwhile."""
        with self._lock:
            return self._view(slot).copy() if self._open else None

    def close(self) -> None:
        """Let go of the memory in this process. Idempotent."""
        with self._lock:
            if self._open:
                self._open = False
                self._memory.close()

    def remove(self) -> None:
        """Take the name out of the system; once, by the side that made it."""
        self._memory.unlink()

    def _view(self, slot: int) -> Planes:
        return np.ndarray(self._shape, np.uint8, self._memory.buf, slot * self._stride)


_attaching = threading.Lock()


def attach(name: str) -> SharedMemory:
    """Open a block that another process made, without telling the resource tracker.

    Attaching registers the name with the tracker that a worker shares with its parent. When that
    crosses the parent's removal the tracker is left with a name that nobody takes back, and
    complains at exit. Python 3.13 has `track=False` for this.
    """
    if sys.version_info >= (3, 13):
        return SharedMemory(name, track=False)
    with _attaching:
        register = resource_tracker.register
        resource_tracker.register = _ignore
        try:
            return SharedMemory(name)
        finally:
            resource_tracker.register = register


def _ignore(name: Sized, rtype: str) -> None:
    """In place of `resource_tracker.register`."""


class SlotSender(Generic[Meta]):
    """The filling side of some slots. Thread-safe; nothing waits.

    Args:
        block: where the slots are.
        slots: which of them are this sender's.
        announce: tells the other side that a slot is filled, with the frame's meta data; False
            when there is no other side, then the frame is dropped.
        aside: frames kept while all slots are away; then the oldest is dropped (`dropped`).
    """

    def __init__(
        self,
        block: FrameBlock,
        slots: Sequence[int],
        announce: Callable[[int, Meta], bool],
        aside: int,
    ) -> None:
        self._block = block
        self._slots = tuple(slots)
        self._announce = announce
        self._aside = aside
        self._lock = threading.Lock()
        self._free = list(slots)
        self._kept: deque[tuple[Planes, Meta]] = deque()
        self.dropped = 0

    def put(self, planes: Planes, meta: Meta) -> None:
        with self._lock:
            self._kept.append((planes, meta))
            self._send()
            if len(self._kept) > self._aside:
                self._kept.popleft()
                self.dropped += 1

    def release(self, slot: int) -> None:
        """The other side has copied the frame out."""
        with self._lock:
            if slot not in self._free:
                self._free.append(slot)
            self._send()

    def reset(self) -> None:
        """The other side is gone: all slots are free, what was kept aside is stale."""
        with self._lock:
            self._free = list(self._slots)
            self.dropped += len(self._kept)
            self._kept.clear()

    def take_aside(self) -> list[tuple[Planes, Meta]]:
        """What is kept aside, oldest first; it is the caller's then."""
        with self._lock:
            kept = list(self._kept)
            self._kept.clear()
            return kept

    @property
    def idle(self) -> bool:
        """Whether nothing is kept aside."""
        return not self._kept

    def _send(self) -> None:
        while self._free and self._kept:
            planes, meta = self._kept.popleft()
            slot = self._free.pop()
            if not (self._block.write(slot, planes) and self._announce(slot, meta)):
                self._free.append(slot)
                self.dropped += 1


def new_name() -> str:
    """Tells whose it is, for whoever looks into /dev/shm."""
    return f"millrace-{os.getpid()}-{secrets.token_hex(4)}"


def _reserve(name: str, size: int) -> None:
    """Take the pages now: a full /dev/shm would otherwise kill the process at the first write."""
    path = f"/dev/shm/{name}"
    if hasattr(os, "posix_fallocate") and os.path.exists(path):
        file = os.open(path, os.O_RDWR)
        try:
            os.posix_fallocate(file, 0, size)
        finally:
            os.close(file)
