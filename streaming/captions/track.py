"""The caption track: timed words, and how they are written to files. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CueKind = Literal["caption", "alert", "speech", "answer"]


@dataclass(frozen=True, slots=True)
class Cue:
    """Some words of the track.

    Attributes:
        id: unique in its session; a later cue of the same id replaces this one.
        start, end: seconds since the first picture of the session.
        text: one line.
        kind: who says it.
        final: False for speech that may still change.
    """

    id: int
    start: float
    end: float
    text: str
    kind: CueKind = "caption"
    final: bool = True
