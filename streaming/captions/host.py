"""What tells viewers about their pictures, as the web process sees it. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ..frames import Frame
from .looks import LookSpec
from .track import Cue

CaptionState = Literal["opening", "live", "interrupted", "closed"]


@dataclass(frozen=True, slots=True)
class CaptionInfo:
    """Which model tells, and what it can.

    Attributes:
        name, title: of the model.
        limits: sentences for the viewer: what it can tell and what not.
        examples: questions that it can answer.
        alerts: conditions that it can watch for.
        device, dtype: where it runs.
        period: seconds between two looks at the picture.
        memory: seconds of the past that it can be asked about.
        choices: one sentence for each choice made at start, with the reason.
        speech: which model hears speech, or how to add one; "" where nobody looked.
        look: how the pictures are taken that the model looks at.
        policies: names that `CaptionConfig.memory` may have.
        wishes: standing wishes that it understands.
    """

    name: str
    title: str
    limits: tuple[str, ...]
    examples: tuple[str, ...]
    alerts: tuple[str, ...]
    device: str
    dtype: str
    period: float
    memory: float
    choices: tuple[str, ...] = ()
    speech: str = ""
    look: LookSpec = LookSpec()
    policies: tuple[str, ...] = ("default",)
    wishes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CaptionOptions:
    """What the user asked for; "auto" is chosen by what this machine has.

    Attributes:
        vlm: "tiny" (the embedded model), a folder with a released checkpoint, or its hub id.
        device: "auto", "cpu", "cuda" or "cuda:1".
        dtype: "auto", "float32" or "bfloat16".
        threads: of the processor that PyTorch may use in this process; 0 leaves them as they are.
        max_sessions: viewers at most.
    """

    vlm: str = "tiny"
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 1
    max_sessions: int = 4


@dataclass(frozen=True, slots=True)
class CaptionConfig:
    """One viewer's wishes; frozen, a change opens the session anew or goes by `CaptionSession`.

    Attributes:
        fps: pictures a second that the viewer's source gives; sampling is by capture stamps.
        instruction: a standing wish ("tell about the colours"), pinned in the memory.
        memory: name of the memory policy.
    """

    fps: float = 30.0
    instruction: str = ""
    memory: str = "default"


@dataclass(frozen=True, slots=True)
class Said:
    """A cue of the caption track: new, or in place of the one with the same `cue.id` (interim
    speech that became final)."""

    cue: Cue
    delay: float
    """Seconds from the capture of the last picture that it tells of until it was said."""


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """A piece of an answer.

    Attributes:
        question: number that the asker gave.
        text: the piece; whole words.
        done: this was the last piece.
        span: seconds of the stream that the answer rests on, or None for the present.
        looks: times of the stored thumbnails within the span.
        error: why there is no answer; then `done`.
    """

    question: int
    text: str
    done: bool = False
    span: tuple[float, float] | None = None
    looks: tuple[float, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class AlertFired:
    """A standing alert came true (it also comes as a cue of kind "alert")."""

    alert: int
    condition: str
    time: float
    delay: float


@dataclass(frozen=True, slots=True)
class CaptionEvent:
    """kind: "live", "interrupted" (the worker is being started again; the memory is lost),
    "closed", "error"."""

    kind: Literal["live", "interrupted", "closed", "error"]
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """Whatever there was to tell up to this second of the stream was told: pictures were read, or
    stood still. Comes with every look, also where nothing is said, so that a viewer knows that what
    he reads is current.

    Attributes:
        delay: seconds from the capture of the look's last picture until now.
    """

    until: float
    delay: float


Telling = Said | AnswerPart | AlertFired | CaptionEvent | Seen
CaptionListener = Callable[[Telling], None]
"""Called from a thread of the host; must return at once."""


class CaptionRefused(RuntimeError):
    """Too many questions, alerts or viewers, or text that is too long; the message says what to
    do."""


class CaptionSession(Protocol):
    """One viewer's captions. All methods return at once, may be called from any thread, and none
    raises because the worker is down."""

    id: str

    @property
    def state(self) -> CaptionState: ...

    def see(self, frame: Frame) -> None:
        """A picture of the source or the stylised one. Of those that come, the ones that the model
        looks at are taken by their capture stamps; the newest wins, the others are counted.

        Raises:
            CaptionRefused: its stamp is not a number.
        """
        ...

    def ask(self, question: str, at: float | None = None) -> int:
        """Ask about what was seen, about second `at` of the stream where it is given. Returns the
        number that its `AnswerPart`s carry; the answer streams while captions go on.

        Raises:
            CaptionRefused: empty or too long, too many questions are being answered, nothing was
                seen yet, or `at` is not within what can be remembered.
        """
        ...

    def watch(self, condition: str) -> int:
        """ "Tell me when ...". Returns the alert's number.

        Raises:
            CaptionRefused: empty or too long, or too many alerts.
        """
        ...

    def unwatch(self, alert: int) -> None: ...

    def instruct(self, wish: str) -> None:
        """Replace the standing wish; nothing of the memory is lost.

        Raises:
            CaptionRefused: too long.
        """
        ...

    def hear(self, cue: Cue, delay: float) -> None:
        """Words from elsewhere, recognised speech say, for the track. They come back as `Said`
        with an id of this session; a later cue of the same `cue.id` and kind replaces them until
        one was final.

        Args:
            delay: seconds from when it was said until now.

        Raises:
            CaptionRefused: times that are no numbers, or an end before the start.
        """
        ...

    def thumbnail(self, time: float) -> bytes | None:
        """JPEG of the stored look nearest to a second of the stream, or None where none is."""
        ...

    def cues(self) -> tuple[Cue, ...]:
        """The caption track so far, the newest part of it (bounded)."""
        ...

    def close(self, reason: str = "") -> None: ...

    def stats(self) -> Mapping[str, Any]:
        """turns, turn_ms, and what `timings.Timings` tells, tokens_kept, evictions, looks {taken,
        superseded, unchanged, late}, questions, alerts, cues, duplicates."""
        ...


class CaptionHost(Protocol):
    """Runs the captions of all viewers, in this process or in a worker."""

    def start(self) -> None: ...

    def ready(self, timeout: float | None = None) -> CaptionInfo:
        """Wait until sessions can be opened.

        Raises:
            TimeoutError, RuntimeError: not ready in time; the start failed (with the reason).
        """
        ...

    def open(self, config: CaptionConfig, listener: CaptionListener) -> CaptionSession:
        """Raises:
        CaptionRefused: there are too many, or the memory policy is unknown.
        """
        ...

    def stats(self) -> Mapping[str, Any]: ...

    def stop(self) -> None:
        """Close all sessions and end what was started. Idempotent."""
        ...
