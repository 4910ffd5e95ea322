"""What each session does in one tick: pure scheduling, time is an argument."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .session import EngineSession

PATIENCE = 2.5
"""Chunk intervals without input after which the chunks in flight are brought out."""
MIN_PATIENCE_S = 0.1
"""A camera that is late by less than this does not cause a flush."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One session's part in a tick: take a chunk, flush one, or end because all is out."""

    session: EngineSession
    action: Literal["take", "flush", "end"]


def plan(now: float, sessions: Iterable[EngineSession]) -> list[Turn]:
    """Everyone who has a chunk steps; whoever has none but has chunks in flight flushes one when
    its input ended, is held by the similarity filter, or stays out too long."""
    turns = []
    for session in sessions:
        if session.mailbox.ready():
            turns.append(Turn(session, "take"))
        elif session.in_flight and flush_at(session) <= now:
            turns.append(Turn(session, "flush"))
        elif session.mailbox.drained and not session.in_flight:
            turns.append(Turn(session, "end"))
    return turns


def flush_at(session: EngineSession) -> float:
    """When the chunks in flight should come out if no further chunk arrives (monotonic seconds)."""
    if session.mailbox.ended or session.holding:
        return session.last_take
    patience = PATIENCE * max(session.interval, session.nominal_interval)
    return session.last_take + max(patience, MIN_PATIENCE_S)


def next_due(sessions: Iterable[EngineSession]) -> float | None:
    """The next moment at which something is due without new input; None when nothing ever is."""
    return min((flush_at(s) for s in sessions if s.in_flight), default=None)
