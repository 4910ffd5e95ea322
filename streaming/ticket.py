"""Where one session of a fleet is: waiting, on a device, or on its way to another one."""

from __future__ import annotations

import os
import tempfile
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from .frames import Frame
from .session import HostedSession
from .supervisor import WorkerHost

SHARED = Path("/dev/shm")
"""Where a parcel never touches a disk."""


@dataclass(eq=False)
class Member:
    """One device of a fleet.

    Attributes:
        label: what it is called on the page; cpu:0 and cpu:1 where there are two.
    """

    label: str
    host: WorkerHost

    @property
    def live(self) -> bool:
        return self.host.state == "live"


@dataclass(eq=False)
class Move:
    """A session's way to another device.

    Attributes:
        target: where it goes.
        parcel: the file that holds it.
        sent: whether the target has been told to open it.
    """

    target: Member
    parcel: Path
    sent: bool = False


@dataclass(eq=False)
class Ticket:
    """One session as a fleet sees it.

    Attributes:
        gate: held while a frame is handed on and while the device changes, so that no frame goes to
            a device that has let go of the session. Taken before a host's own lock.
        kept: frames that came while it moves; the newest win.
        missed: frames that came while it waited, and those that `kept` had no room for.
        told: what was last said about its place in the queue.
        wanted: false once somebody asked to close it.
    """

    session: HostedSession
    chunk: int
    opened_at: float
    member: Member | None = None
    move: Move | None = None
    told: tuple[int, float] | None = None
    wanted: bool = True
    missed: int = 0
    gate: threading.Lock = field(default_factory=threading.Lock)
    kept: deque[Frame] = field(default_factory=deque)

    def keep(self, frame: Frame) -> None:
        self.kept.append(frame)
        if len(self.kept) > self.chunk:
            self.kept.popleft()
            self.missed += 1

    def put(self, frame: Frame) -> None:
        """To its device; kept while it moves, gone while it waits."""
        with self.gate:
            if self.move is not None:
                self.keep(frame)
            elif self.member is None:
                self.missed += 1
            else:
                self.member.host.exchange.send_frame(self.session, frame)

    def settle(self, member: Member) -> None:
        """The move is over, here is where it is; what was kept follows. Needs the gate."""
        if self.move is not None:
            self.move.parcel.unlink(missing_ok=True)
        self.member, self.move = member, None
        while self.kept:
            member.host.exchange.send_frame(self.session, self.kept.popleft())


def parcel_file() -> Path:
    """A new empty file, in memory where the system offers that.

    Raises:
        OSError: there is no room for even that.
    """
    folder = SHARED if SHARED.is_dir() else None
    handle, name = tempfile.mkstemp(prefix=f"millrace-{os.getpid()}-", dir=folder)
    os.close(handle)
    return Path(name)
