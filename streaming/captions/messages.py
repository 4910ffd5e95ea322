"""What the web process and the captions' worker say to each other, besides what
`streaming.messages` has for all workers. Plain data; pictures are small enough to come along.
"""

from __future__ import annotations

from dataclasses import dataclass

from .host import CaptionConfig, Telling
from .looks import Look


@dataclass(frozen=True, slots=True)
class OpenCaptions:
    """Open a session with an empty memory.

    Attributes:
        suspect: a worker may have died of it, see `streaming.suspects`: it works alone.
    """

    session: str
    config: CaptionConfig
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class CloseCaptions:
    session: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class NewLook:
    """At most one of a session is unanswered; `LookTaken` answers it."""

    session: str
    look: Look


@dataclass(frozen=True, slots=True)
class Ask:
    """Attributes:
    number: the asker's.
    at: second of the stream that it is about, where the asker named one.
    """

    session: str
    number: int
    text: str
    at: float | None


@dataclass(frozen=True, slots=True)
class Watch:
    session: str
    number: int
    condition: str


@dataclass(frozen=True, slots=True)
class Unwatch:
    session: str
    number: int


@dataclass(frozen=True, slots=True)
class Instruct:
    session: str
    wish: str


@dataclass(frozen=True, slots=True)
class Acquit:
    """A session is no suspect any longer."""

    session: str


Request = OpenCaptions | CloseCaptions | Ask | Watch | Unwatch | Instruct | Acquit
"""Small and rare; never lost while the worker lives."""


@dataclass(frozen=True, slots=True)
class LookTaken:
    """The last `NewLook` was read or left out; the next may come."""

    session: str


@dataclass(frozen=True, slots=True)
class Told:
    session: str
    telling: Telling


ToCaptions = Request | NewLook
FromCaptions = LookTaken | Told
