"""From a turn to work: take a session's chunk, or hold it back and show the last picture again."""

from __future__ import annotations

from .agenda import Agenda, Turn
from .batch import Job, flush_job, stamps
from .controls import Controls
from .frames import Frame
from .session import SKIP_STILL, EngineSession, Pending


def job_of(turn: Turn, agenda: Agenda, chunk: int, now: float) -> Job | None:
    """What a session does in this round; None when it has nothing for the pipeline.

    Args:
        chunk: T, frames that the pipeline takes at once.
    """
    session, controls = turn.session, turn.session.controls
    frames = _frames(turn)
    if frames:
        agenda.took(session)
        for frame in frames:
            session.telemetry.took(now, frame.captured_at)
        if turn.action == "hold" and turn.cause != "still":
            _leave_out(turn, frames, controls)
            return None
        session.took(now)
        if not _is_still(turn, agenda, frames, controls):
            return _new_job(turn, frames, controls, chunk)
        session.pending.append(Pending(None, stamps(frames), controls.epoch))
    due = bool(frames) or turn.action == "flush"
    return flush_job(session, controls) if due and session.in_flight else None


def _frames(turn: Turn) -> tuple[Frame, ...] | None:
    """The chunk that the turn is about. One that is to be held stays when a newer one came."""
    mailbox = turn.session.mailbox
    if turn.action == "take":
        return mailbox.take_chunk()
    if turn.action == "hold" and turn.task is not None:
        return mailbox.take_chunk(turn.task.number)
    return None


def _is_still(turn: Turn, agenda: Agenda, frames: tuple[Frame, ...], controls: Controls) -> bool:
    """Whether the similarity filter holds the chunk back; the filter remembers the answer."""
    session = turn.session
    if not controls.values.get(SKIP_STILL.name, False):
        session.holding = False
    elif turn.task is None:
        session.holding = session.filter.skips(frames, controls.epoch)
    else:
        verdict = agenda.verdict(session, turn.task.number, frames, controls.epoch)
        session.filter.accept(verdict)
        session.holding = verdict.still
    return session.holding


def _leave_out(turn: Turn, frames: tuple[Frame, ...], controls: Controls) -> None:
    session = turn.session
    session.telemetry.dropped(turn.cause or "", len(frames))
    if session.last_planes is not None or session.in_flight:
        session.pending.append(Pending(None, stamps(frames), controls.epoch))


def _new_job(turn: Turn, frames: tuple[Frame, ...], controls: Controls, chunk: int) -> Job:
    session: EngineSession = turn.session
    index = session.next_index
    session.next_index += 1
    due = None if turn.task is None else turn.task.deadline
    session.pending.append(Pending(index, stamps(frames), controls.epoch, due))
    padding = (frames[-1],) * (chunk - len(frames))
    return Job(session, frames + padding, index, controls, turn.effort, turn.spread)
