"""One viewer, from both sides: the engine's record of it and the handle that the web process holds.

No tensors here: what a pipeline remembers of a viewer is an opaque `stream`.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from .controls import Control, Controls, Schema
from .frames import Frame, Stamp
from .handoff import Mailbox
from .host import Event, HostRefused, Listener, Output, SessionState
from .pipeline import PipelineInfo, StreamConfig
from .scheduling.tasks import Standing
from .similarity import SimilarityFilter
from .telemetry import SessionTelemetry

if TYPE_CHECKING:
    from .moving import Parcel

_log = logging.getLogger(__name__)

SKIP_STILL = Control(
    name="skip_still",
    label="Pause on still pictures",
    kind="bool",
    default=False,
    help="Repeats the last picture while the source does not change, to save work.",
)
"""The one control that the engine itself reads; every pipeline's schema ends with it."""

Emit = Callable[[Output | Event], None]


def full_schema(info: PipelineInfo) -> Schema:
    """The pipeline's controls and the engine's own after them.

    Raises:
        ValueError: the pipeline already declares a control of that name.
    """
    if any(control.name == SKIP_STILL.name for control in info.controls):
        if SKIP_STILL in info.controls:
            return info.controls
        raise ValueError(
            f"pipeline {info.name}: the control name {SKIP_STILL.name!r} is the engine's own; "
            "please rename yours"
        )
    return (*info.controls, SKIP_STILL)


def defaults(schema: Schema, changes: Mapping[str, object] | None) -> Controls:
    """The controls that a session starts with: epoch 0, whatever was changed.

    Raises:
        ControlError: a change that the schema does not allow.
    """
    controls = Controls.defaults(schema)
    return replace(controls.changed(schema, changes), epoch=0) if changes else controls


def usual_size(info: PipelineInfo, asked: tuple[int, int]) -> tuple[int, int]:
    """What to prepare for: `asked` where the pipeline takes it, else the size that it prefers."""
    try:
        check_size(info, StreamConfig(*asked))
    except HostRefused:
        return info.size
    return asked


def check_size(info: PipelineInfo, config: StreamConfig) -> None:
    """Whether the pipeline takes this size.

    Raises:
        HostRefused: it does not; the message names the nearest size that it takes.
    """
    multiple = info.size_multiple
    width, height = config.width, config.height
    if min(width, height) < multiple or width % multiple or height % multiple:
        near = (max(multiple, round(side / multiple) * multiple) for side in (width, height))
        raise HostRefused(
            f"{info.name} takes sides that are multiples of {multiple}; got {width}x{height}, "
            f"please use {'x'.join(map(str, near))}"
        )
    if max(width, height) > info.max_side:
        raise HostRefused(
            f"{info.name} takes sides up to {info.max_side} pixels; got {width}x{height}"
        )
    if not 0 < config.fps <= 1000:
        raise HostRefused(
            f"a rate of {config.fps} frames a second makes no sense; please use 1-120"
        )


@dataclass(slots=True)
class Pending:
    """A chunk that was taken and is not out yet.

    Attributes:
        index: its number in the pipeline's stream; None for a chunk that the similarity filter
            held back, which comes out as a repeat of the picture before it.
        stamps: of its source frames, one for each picture that will leave.
        epoch: of the controls that it went in with.
        due: when it should be out (monotonic seconds); None when nobody waits for it.
    """

    index: int | None
    stamps: tuple[Stamp, ...]
    epoch: int
    due: float | None = None


@dataclass(slots=True)
class EngineSession:
    """The engine's record of one viewer. Only the engine's thread touches it, except `controls`
    (one reference, replaced whole), `mailbox` and `closing`."""

    id: str
    config: StreamConfig
    controls: Controls
    mailbox: Mailbox
    emit: Emit
    filter: SimilarityFilter
    telemetry: SessionTelemetry = field(default_factory=SessionTelemetry)
    stream: Any = None
    next_index: int = 0
    pending: deque[Pending] = field(default_factory=deque)
    holding: bool = False
    last_take: float = 0.0
    interval: float = 0.0
    last_planes: npt.NDArray[np.uint8] | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    closing: str | None = None
    standing: Standing | None = None
    """Where it stands on the ladder, as its viewer was told; None for a file."""
    parking: Callable[[Parcel], None] | None = None
    """Who wants this session's things, to move it to another device."""
    suspect: bool = False
    """It was in a step that ended its process, so it steps alone for a while."""
    parcel: Parcel | None = None
    """What it brings along from another device."""

    @property
    def in_flight(self) -> int:
        """Chunks that the pipeline holds."""
        return sum(one.index is not None for one in self.pending)

    @property
    def nominal_interval(self) -> float:
        """T/fps, seconds between chunks as the session was opened."""
        return self.mailbox.chunk / self.config.fps

    def took(self, now: float) -> None:
        """Note the time of a take; `interval` follows their spacing (EMA, 0.8 old + 0.2 new)."""
        if self.last_take:
            # A pause is not a slow camera: one long gap must not make the next flush late.
            gap = min(now - self.last_take, 4 * max(self.interval, self.nominal_interval))
            self.interval = 0.8 * self.interval + 0.2 * gap if self.interval else gap
        self.last_take = now

    def stats(self, now: float) -> dict[str, Any]:
        interval = 1.0 / self.config.fps
        numbers = self.telemetry.snapshot(now, interval, self.mailbox.superseded)
        numbers["queue"] = len(self.mailbox) + len(self.pending)
        numbers["epoch"] = self.controls.epoch
        if self.standing is not None:
            numbers["rung"] = self.standing.rung
            numbers["rung_name"] = self.standing.name
            numbers["rung_reason"] = self.standing.reason
        if "steps" in self.controls.values:
            numbers["steps"] = self.controls["steps"]
        return numbers


class Link(Protocol):
    """The way from a session's handle to its engine. No method waits."""

    def send_frame(self, session: HostedSession, frame: Frame) -> None: ...

    def send_controls(self, session: HostedSession) -> None:
        """Bring `session.controls` to the engine; called under the session's lock, in order."""
        ...

    def send_close(self, session: HostedSession, reason: str) -> None: ...

    def session_stats(self, session: HostedSession) -> Mapping[str, Any]: ...


class HostedSession:
    """The `Session` that both hosts hand out; how it reaches the engine is its `link`."""

    def __init__(
        self,
        id: str,
        config: StreamConfig,
        schema: Schema,
        controls: Controls,
        listener: Listener,
        link: Link,
    ) -> None:
        self.id = id
        self.config = config
        self.controls = controls
        self._schema = schema
        self._listener = listener
        self._link = link
        self._state: SessionState = "opening"
        self._lock = threading.Lock()

    @property
    def state(self) -> SessionState:
        return self._state

    def put(self, frame: Frame) -> None:
        """Hand in the newest picture.

        Raises:
            ValueError: the picture is not of the session's size.
        """
        if (frame.width, frame.height) != (self.config.width, self.config.height):
            raise ValueError(
                f"session {self.id} takes {self.config.width}x{self.config.height}; "
                f"got {frame.width}x{frame.height}, please scale it first"
            )
        if self._state != "closed":
            self._link.send_frame(self, frame)

    def change(self, changes: Mapping[str, object]) -> int:
        with self._lock:
            self.controls = self.controls.changed(self._schema, changes)
            self._link.send_controls(self)
            return self.controls.epoch

    def reset(self) -> int:
        with self._lock:
            self.controls = self.controls.reset()
            self._link.send_controls(self)
            return self.controls.epoch

    def close(self, reason: str = "") -> None:
        if self._state != "closed":
            self._link.send_close(self, reason)

    def stats(self) -> Mapping[str, Any]:
        return {"state": self._state, **self._link.session_stats(self)}

    def deliver(self, item: Output | Event) -> None:
        """Give the viewer something; called by the host only. Nothing follows a "closed" event."""
        with self._lock:
            if self._state == "closed":
                return
            if isinstance(item, Event) and item.kind in (
                "queued",
                "opening",
                "live",
                "interrupted",
                "closed",
            ):
                self._state = item.kind
        try:
            self._listener(item)
        except Exception:
            # A listener is foreign code on a thread that serves all viewers: it may end its own
            # session, never the thread.
            _log.exception("the listener of session %s failed; closing it", self.id)
            self._listener = _ignore
            self._link.send_close(self, "its listener failed")


def _ignore(item: Output | Event) -> None:
    return None
