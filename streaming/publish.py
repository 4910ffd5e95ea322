"""Finished chunks to their viewers, picture by picture."""

from __future__ import annotations

from .batch import Emission
from .host import Event, Output
from .scheduling.tasks import Standing
from .session import EngineSession
from .trace import Trace


def publish(emission: Emission, now: float, trace: Trace | None) -> None:
    """Send a chunk out: its own pictures, or the last one again in their place.

    Args:
        now: when the engine was done with it.
        trace: where spans go while somebody records.
    """
    session, pending = emission.session, emission.pending
    if emission.landing is not None:
        rows = len(pending.stamps)
        planes = emission.landing.wait()[emission.first : emission.first + rows]
        session.last_planes = planes[-1]
        if emission.notes and dict(emission.notes) != dict(session.notes):
            session.notes = emission.notes
            session.emit(Event("notes", data=dict(emission.notes)))
    assert session.last_planes is not None, "a stream's first chunk is never held back"
    repeated = emission.landing is None
    if pending.due is not None:
        session.telemetry.due(now, pending.due - now, len(pending.stamps))
    for number, stamp in enumerate(pending.stamps):
        pixels = session.last_planes if repeated else planes[number]
        session.telemetry.finished(now, stamp.captured_at, repeated=repeated)
        if trace is not None:
            trace.left("done", session.id, stamp, now)
        session.emit(Output(stamp.frame(pixels), pending.epoch, now, repeated))


def tell_rung(session: EngineSession, standing: Standing | None) -> None:
    """Tell a viewer whose place on the quality ladder changed."""
    before, session.standing = session.standing, standing
    if standing is None or (before or standing).rung == standing.rung:
        return
    session.telemetry.rung(down=before is not None and standing.rung > before.rung)
    data = {"name": standing.name, "reason": standing.reason, "rung": standing.rung}
    session.emit(Event("rung", standing.reason, data))
