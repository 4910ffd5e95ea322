"""What runs sessions, as the web process sees it: in this process or in a worker. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from .controls import Controls
from .frames import Frame, Stamp
from .pipeline import PipelineInfo, StreamConfig
from .trace import Span

SessionState = Literal["queued", "opening", "live", "interrupted", "closed"]


class HostRefused(RuntimeError):
    """A session was not admitted; the message says why and what to do.

    Attributes:
        retry_s: when trying again may help, in seconds; None where nobody knows.
    """

    def __init__(self, message: str, retry_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_s = retry_s


@dataclass(frozen=True, slots=True)
class HostInfo:
    """What runs and why: shown on the page and by `millrace doctor`."""

    pipeline: PipelineInfo
    device: str
    dtype: str
    threads: int
    choices: tuple[str, ...] = ()
    """One sentence for each choice that was made at start, with the measured reason."""
    devices: tuple[str, ...] = ()
    """All devices, where there are several."""
    gpus: int = 0
    """CUDA devices of this machine."""
    left_cores: tuple[int, ...] = ()
    """Cores that are left to everything but the model, where it has its own; else empty."""
    portable: bool = False
    """Whether sessions can move to another device while they run."""


@dataclass(frozen=True, slots=True)
class Output:
    """One finished picture on its way to the viewer."""

    frame: Frame
    """The generated picture, with `pts`, `captured_at` and `index` of its source frame."""
    epoch: int
    """`Controls.epoch` that it was made with."""
    finished_at: float
    """Monotonic seconds at which the engine was done with it."""
    repeated: bool = False
    """True when the engine repeated its last picture instead of making one."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the viewer should know.

    kind: "queued" (no room yet; `data` has `position`, 1 is next, and `estimate_s`), "opening"
    (room was found), "live", "interrupted" (the worker died; it is being started again), "closed",
    "notes" (facts from the pipeline, in `data`), "rung" (another step of the quality ladder:
    `data` has `name`, `reason` and `rung`), "error" (a refused change, say).
    """

    kind: Literal["queued", "opening", "live", "interrupted", "closed", "notes", "rung", "error"]
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


Listener = Callable[[Output | Event], None]
"""Called from a thread of the host; must return at once (use `loop.call_soon_threadsafe`)."""


class Session(Protocol):
    """One viewer, seen from outside the engine. All methods return at once and may be called from
    any thread; none raises because the worker is down."""

    id: str
    config: StreamConfig
    controls: Controls

    @property
    def state(self) -> SessionState: ...

    def put(self, frame: Frame) -> None:
        """Hand in the newest picture. It replaces an older one that was not taken yet (newest wins,
        counted as `superseded`)."""
        ...

    def change(self, changes: Mapping[str, object]) -> int:
        """Change controls; they take effect at the next chunk. Returns the new epoch.

        Raises:
            ControlError: nothing was changed.
        """
        ...

    def reset(self) -> int:
        """Forget the past (caches, sinks) at the next chunk. Returns the new epoch."""
        ...

    def close(self, reason: str = "") -> None: ...

    def stats(self) -> Mapping[str, Any]:
        """Numbers for the live panel, by the design's names: fps_in, fps_out, e2e_ms and the
        stages' {p50, p95}, drops by cause, queue depth, steps, device, memory."""
        ...


class Host(Protocol):
    """Runs sessions on one device."""

    def start(self) -> None:
        """Begin starting (spawning, loading, warming up); returns at once."""
        ...

    def ready(self, timeout: float | None = None) -> HostInfo:
        """Wait until sessions can be opened.

        Raises:
            TimeoutError, RuntimeError: not ready in time; the start failed (with the reason).
        """
        ...

    def open(
        self, config: StreamConfig, listener: Listener, changes: Mapping[str, object] | None = None
    ) -> Session:
        """Open a session with the pipeline's default controls and `changes`.

        Raises:
            HostRefused: full, or a size that the pipeline does not take.
            ControlError: a change that the pipeline does not take.
        """
        ...

    def sessions(self) -> tuple[Session, ...]: ...

    def stats(self) -> Mapping[str, Any]: ...

    def record(self, on: bool) -> None:
        """Begin or end recording where each frame spends its time, within half a second."""
        ...

    def recorded(self) -> tuple[Span, ...]:
        """The spans since the last call; a bounded number, the newest."""
        ...

    def stop(self) -> None:
        """Close all sessions and end what was started. Idempotent."""
        ...


__all__ = ["Event", "Host", "HostInfo", "HostRefused", "Listener", "Output", "Session", "Stamp"]
