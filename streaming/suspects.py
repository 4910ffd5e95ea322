"""Whose work a process was at when it died, and who is blamed for it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from multiprocessing.shared_memory import SharedMemory

from .slots import attach, new_name

SIZE = 4096
"""Bytes: names of a few hundred sessions."""


class LaunchMark:
    """Names of the sessions that a worker's step is about, in shared memory.

    Writing takes two microseconds, and what was written outlives the writer, however it ended.

    Args:
        name: of an existing mark to attach to (the worker); None makes a new one (the web process,
            which alone removes it).

    Raises:
        OSError: no room in shared memory.
    """

    def __init__(self, name: str | None = None) -> None:
        if name is None:
            self._memory = SharedMemory(new_name(), create=True, size=SIZE)
        else:
            self._memory = attach(name)

    @property
    def name(self) -> str:
        return self._memory.name

    def write(self, ids: Sequence[str]) -> None:
        """The step that begins is about these; () when it is over."""
        text = ",".join(ids).encode()[: SIZE - 2]
        buffer = self._bytes()
        # No names while they change, so that a death in between blames nobody.
        buffer[:2] = bytes(2)
        buffer[2 : 2 + len(text)] = text
        buffer[:2] = len(text).to_bytes(2, "little")

    def read(self) -> tuple[str, ...]:
        buffer = self._bytes()
        length = int.from_bytes(buffer[:2], "little")
        text = bytes(buffer[2 : 2 + length]).decode()
        return tuple(text.split(",")) if text else ()

    def _bytes(self) -> memoryview:
        buffer = self._memory.buf
        assert buffer is not None, "it was let go"
        return buffer

    def close(self) -> None:
        """Let go of the memory in this process."""
        self._memory.close()

    def remove(self) -> None:
        """Let go and take the name out of the system; once, by the side that made it."""
        self._memory.close()
        self._memory.unlink()


@dataclass
class Blame:
    """Who was at work when a process died: pure, time is an argument.

    One death may be anybody's fault. Whoever was there twice within the window is guilty, and those
    who were there once are suspects until it is over: they work alone, so that an innocent
    neighbour is not there a second time.
    """

    window_s: float = 60.0
    _seen: dict[str, float] = field(default_factory=dict)

    def died(self, now: float, ids: Collection[str]) -> frozenset[str]:
        """The guilty among `ids`."""
        self.lapsed(now)
        guilty = frozenset(id for id in ids if id in self._seen)
        for id in ids:
            self._seen[id] = now
        for id in guilty:
            del self._seen[id]
        return guilty

    def suspects(self, id: str) -> bool:
        return id in self._seen

    def lapsed(self, now: float) -> frozenset[str]:
        """Those who are suspects no longer since the last call."""
        over = frozenset(id for id, at in self._seen.items() if at < now - self.window_s)
        for id in over:
            del self._seen[id]
        return over

    def forget(self, id: str) -> None:
        self._seen.pop(id, None)
