"""What the web process and the speech worker say to each other, besides what `streaming.messages`
has for all workers. Plain data; a piece of sound is 3 KB."""

from __future__ import annotations

from dataclasses import dataclass

from .speech import Piece, Words


@dataclass(frozen=True, slots=True)
class OpenSpeech:
    """Attributes:
    first_id: of the utterances to come.
    """

    session: str
    first_id: int


@dataclass(frozen=True, slots=True)
class CloseSpeech:
    session: str


@dataclass(frozen=True, slots=True)
class NewPiece:
    """A bounded number of a session is unanswered; `PieceTaken` answers one."""

    session: str
    piece: Piece


@dataclass(frozen=True, slots=True)
class PieceTaken:
    session: str


@dataclass(frozen=True, slots=True)
class Heard:
    session: str
    words: Words


ToSpeech = OpenSpeech | CloseSpeech | NewPiece
FromSpeech = PieceTaken | Heard
