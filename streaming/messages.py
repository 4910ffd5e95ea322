"""What the web process and a worker say to each other over their pipe. Plain data, all small.

Pixels never travel here, only the number of the slot that holds them. At most a handful of each
kind is unanswered at any time, so a pipe never fills up and a send never waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .captions.host import CaptionInfo, CaptionOptions
from .captions.messages import FromCaptions, ToCaptions
from .captions.speech_messages import FromSpeech, ToSpeech
from .captions.speech_model import SpeechInfo, SpeechOptions
from .config import Options
from .controls import Controls, Value
from .frames import Stamp
from .host import Event, HostInfo
from .pipeline import StreamConfig
from .totals import Tally
from .trace import Span


@dataclass(frozen=True, slots=True)
class ControlValues:
    """`Controls` in a form that can be pickled."""

    values: dict[str, Value]
    epoch: int
    resets: int

    @staticmethod
    def of(controls: Controls) -> ControlValues:
        return ControlValues(dict(controls.values), controls.epoch, controls.resets)

    def controls(self) -> Controls:
        return Controls(MappingProxyType(self.values), self.epoch, self.resets)


# ---- to the worker ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Build the engine. The first message; a worker in reserve waits for it."""

    options: Options | CaptionOptions | SpeechOptions


@dataclass(frozen=True, slots=True)
class Open:
    """Open a session. Slots 0..inputs-1 of the block are filled by the web process, the `outputs`
    ones after them by the worker."""

    session: str
    config: StreamConfig
    controls: ControlValues
    block: str
    inputs: int
    outputs: int
    suspect: bool = False
    """It was at work when a worker died: step it alone."""
    parcel: str = ""
    """File with what it was on another device, to go on from there."""


@dataclass(frozen=True, slots=True)
class Save:
    """Pack a session that moves to another device into a file, and keep it as it is then."""

    session: str
    path: str


@dataclass(frozen=True, slots=True)
class Stay:
    """The move was called off: go on with a session that was saved."""

    session: str


@dataclass(frozen=True, slots=True)
class Trust:
    """A session is no suspect any longer."""

    session: str


@dataclass(frozen=True, slots=True)
class FrameIn:
    """An input slot was filled."""

    session: str
    slot: int
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class OutputTaken:
    """An output slot is free again."""

    session: str
    slot: int


@dataclass(frozen=True, slots=True)
class SetControls:
    session: str
    controls: ControlValues


@dataclass(frozen=True, slots=True)
class Close:
    session: str
    reason: str


@dataclass(frozen=True, slots=True)
class Forget:
    """The web process is done with a closed session: let go of its block."""

    session: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Answer from the engine's thread, with statistics.

    Attributes:
        record: whether spans are to be recorded from here on; each answer brings those so far.
    """

    record: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """Close all sessions and exit."""


ToWorker = (
    Start
    | Open
    | Save
    | Stay
    | Trust
    | FrameIn
    | OutputTaken
    | SetControls
    | Close
    | Forget
    | Ping
    | Stop
    | ToCaptions
    | ToSpeech
)

# ---- from the worker -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Loaded:
    """The libraries are in memory; the worker waits for `Start`."""


@dataclass(frozen=True, slots=True)
class Started:
    info: HostInfo | CaptionInfo | SpeechInfo


@dataclass(frozen=True, slots=True)
class Failed:
    """The engine could not be built; the process ends."""

    reason: str


@dataclass(frozen=True, slots=True)
class Saved:
    """A session was packed, all its pictures are out, and it waits; or `problem` says why not.

    `dropped`: pictures that found no free slot on their way out, in all.
    """

    session: str
    problem: str = ""
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class FrameTaken:
    """An input slot is free again."""

    session: str
    slot: int


@dataclass(frozen=True, slots=True)
class OutputMeta:
    """An `Output` without its pixels."""

    stamp: Stamp
    epoch: int
    finished_at: float
    repeated: bool


@dataclass(frozen=True, slots=True)
class FrameOut:
    """An output slot was filled."""

    session: str
    slot: int
    meta: OutputMeta


@dataclass(frozen=True, slots=True)
class ControlsSeen:
    """The last `SetControls` was received; the next may be sent."""

    session: str


@dataclass(frozen=True, slots=True)
class Happened:
    session: str
    event: Event


@dataclass(frozen=True, slots=True)
class Pong:
    """Numbers of each session by its id, of the process, and the engine's counts since it began."""

    sessions: Mapping[str, Mapping[str, Any]]
    process: Mapping[str, Any]
    totals: Tally = field(default_factory=dict)
    spans: tuple[Span, ...] = ()
    costs: tuple[Any, ...] | None = None
    """`CostTable.to_json` of the device, now and then."""


FromWorker = (
    Loaded
    | Started
    | Failed
    | Saved
    | FrameTaken
    | FrameOut
    | ControlsSeen
    | Happened
    | Pong
    | FromCaptions
    | FromSpeech
)
