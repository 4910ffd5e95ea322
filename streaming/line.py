"""What the web process keeps of a session that runs in a worker, besides its handle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .frames import Stamp
from .host import Event, Output
from .messages import ControlValues, FrameOut, Open
from .session import HostedSession
from .slots import FrameBlock, SlotSender

OUTPUT_SLOTS = 3
Kept = tuple[npt.NDArray[np.uint8], Stamp]
"""A frame that waits for a slot."""


class Line:
    """A session's handle, its slots and what is unanswered on the way to its worker.

    Args:
        session: the handle.
        chunk: T; while no slot is free the T newest frames are kept.
        announce: says that a slot was filled; False when no worker is there.
        deliver: takes what comes for the viewer.

    Raises:
        OSError: no room in shared memory.
    """

    def __init__(
        self,
        session: HostedSession,
        chunk: int,
        announce: Callable[[str, int, Stamp], bool],
        deliver: Callable[[Output | Event], None],
    ) -> None:
        self.session = session
        self.deliver = deliver
        # One more than a chunk, so that the next frame does not wait for the first one's answer.
        self._inputs = chunk + 1
        size = session.config
        self._block = FrameBlock(size.width, size.height, self._inputs + OUTPUT_SLOTS)
        self.inbox: SlotSender[Stamp] = SlotSender(
            self._block,
            range(self._inputs),
            lambda slot, stamp: announce(session.id, slot, stamp),
            aside=chunk,
        )
        self.closing: str | None = None
        self.parcel = ""
        """File with what the session was on another device, until it has been opened here."""
        self.saved: Callable[[str], None] | None = None
        """Who waits for it to be saved; told what went wrong, or nothing."""
        self.missed = 0
        """Frames that came while there was no worker."""
        self.unsent = 0
        """Pictures that found no slot on their way out, of a session that was saved."""
        self.numbers: Mapping[str, Any] = {}
        """The last statistics that the worker sent."""
        self.before: Counter[str] = Counter()
        """Frames that were dropped around other workers, by cause: where it was before it moved."""
        self._awaiting = False
        self._stale = False

    def opening(self, suspect: bool = False) -> Open:
        """The message that opens this session in a new worker, with everything as it is now."""
        self.inbox.reset()
        self._awaiting = self._stale = False
        return Open(
            self.session.id,
            self.session.config,
            ControlValues.of(self.session.controls),
            self._block.name,
            self._inputs,
            OUTPUT_SLOTS,
            suspect,
            self.parcel,
        )

    def may_send_controls(self) -> bool:
        """True when none are on their way; otherwise the newest follow when those were seen. So a
        slider that is dragged never fills the pipe, and its last position always arrives."""
        self._stale = self._awaiting
        self._awaiting = True
        return not self._stale

    def controls_seen(self) -> bool:
        """The worker has them. True when newer ones are to be sent now."""
        self._awaiting = self._stale
        self._stale = False
        return self._awaiting

    def output(self, message: FrameOut) -> Output | None:
        """The picture in a slot; None when the session was closed meanwhile."""
        planes = self._block.read(message.slot)
        if planes is None:
            return None
        meta = message.meta
        return Output(meta.stamp.frame(planes), meta.epoch, meta.finished_at, meta.repeated)

    def stats(self) -> dict[str, Any]:
        """The worker's numbers and what was dropped on this side."""
        drops = Counter(self.numbers.get("drops", {}))
        drops.update(self.before)
        drops.update(superseded=self.inbox.dropped, interrupted=self.missed)
        return {**self.numbers, "drops": dict(drops)}

    def follow(self, other: Line) -> None:
        """The session was saved there and goes on here, with its numbers: what was dropped around
        that worker counts here, what the worker itself counted travels in the parcel."""
        there = Counter(superseded=other.inbox.dropped, interrupted=other.missed)
        self.before = other.before + there + Counter(outbox=other.unsent)
        drops = {**other.numbers.get("drops", {}), "outbox": 0}
        self.numbers = self.numbers or {**other.numbers, "drops": drops}

    def destroy(self) -> None:
        """Give the shared memory back."""
        self._block.close()
        self._block.remove()
