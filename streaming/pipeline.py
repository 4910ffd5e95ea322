"""The protocol between the engine and a model: yours or a built-in one.

A pipeline is an object with an `info` and three methods. The engine opens one stream per session,
steps a batch of chunks of any of its streams, and closes streams. Everything else (transport,
queues, pacing, colour conversion, statistics, controls on the page) is the engine's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy.typing as npt

from .controls import Controls, Schema, Value

if TYPE_CHECKING:
    from torch import Tensor


Source = Literal["video", "text", "image"]
"""What pictures are made of: the live picture, words alone, or a first picture and words."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A named set of control values that the page offers as a button."""

    name: str
    values: Mapping[str, Value]
    help: str = ""
    image: str = ""
    """Name of a file in `assets/` that shows what it does, or empty."""


@dataclass(frozen=True, slots=True)
class Effort:
    """One way to make a chunk; a pipeline lists those that it offers, from the best one down.

    Attributes:
        name: for the viewer, "one pass" say.
        quality: what a chunk made so is worth, 1 for the best way that there is.
        passes: most denoising passes; None for as many as the viewer asks for.
        window: most latent frames of the past that are looked at; None for all that are kept.
        scale: of both sides of the picture that the model works on; the result is scaled back.
        commit: whether a pipeline that ends a chunk with a pass for its cache does so.
        rate: share of the chunks that are made at all; the others repeat the picture before.
    """

    name: str
    quality: float = 1.0
    passes: int | None = None
    window: int | None = None
    scale: float = 1.0
    commit: bool = True
    rate: float = 1.0


NOMINAL = Effort("full")


def _always(passes: int) -> bool:
    return True


def _unmarked(stage: str, rows: int, window: int | None) -> None:
    return None


@dataclass(frozen=True, slots=True)
class PipelineInfo:
    """What a pipeline declares about itself; it crosses process borders, so it is plain data."""

    name: str
    title: str
    description: str = ""
    chunk: int = 1
    """T: consecutive frames taken at once."""
    controls: Schema = ()
    presets: tuple[Preset, ...] = ()
    size: tuple[int, int] = (256, 256)
    """Preferred width and height."""
    size_multiple: int = 2
    """Both sides must be a multiple of this (even at least, for I420)."""
    max_side: int = 2048
    efforts: tuple[Effort, ...] = (NOMINAL,)
    """The ways to make a chunk, from the nominal one down; `Work.effort` picks one."""
    draws_from: tuple[Source, ...] = ("video",)
    """Where there are several, a control `mode` with "text-to-video" and so on chooses."""
    fps: float = 0.0
    """Frames a second that its motion was learned at, where it moves by itself; 0 for any."""
    sizes: tuple[tuple[int, int], ...] = ()
    """Widths and heights that it draws well, for viewers to choose from."""


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """What a stream is opened with.

    Attributes:
        width, height: of its pictures in pixels.
        fps: frames a second of its source.
        user: whose it is; users, not sessions, share a device fairly.
        service: whose quality goes down last ("guaranteed") and first ("best-effort").
        weight: of the user's share.
        deadline_ms: from a chunk's last frame to its picture; 0 leaves it to the engine.
    """

    width: int
    height: int
    fps: float = 30.0
    user: str = ""
    service: Literal["guaranteed", "standard", "best-effort"] = "standard"
    weight: float = 1.0
    deadline_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class PipelineContext:
    """What a pipeline is built with.

    Attributes:
        device: "cpu" or "cuda:0" and the like.
        dtype: "float32" or "bfloat16", the type picked by measurement or by the user.
        options: further settings by name (command line or Python), for built-in pipelines.
    """

    device: str = "cpu"
    dtype: str = "float32"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """One finished chunk.

    Attributes:
        stream: what `open` returned.
        index: index of the chunk that this is the picture of (it may be an earlier one than the
            chunk just given, when the pipeline keeps chunks in flight).
        frames: [T, 3, H, W] in 0..1, on the pipeline's device.
        notes: facts for the viewer (what the prompt was understood as, say); shown on the page.
    """

    stream: Any
    index: int
    frames: Tensor
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Work:
    """One chunk of one stream to work on.

    Attributes:
        stream: what `open` returned.
        index: running number of the chunk in its stream, without holes; for a flush that of the
            oldest chunk in flight, the one to bring out.
        frames: [T, 3, H, W] in 0..1 on the pipeline's device, or None to flush: bring out one of
            the chunks in flight without taking a new one (only sent while some are).
        controls: the viewer's controls at this chunk boundary. A grown `resets` asks the stream to
            forget its past.
        effort: how this chunk should be made; one of the pipeline's own `info.efforts`.
        go_on: asked between denoising passes with the number of those done; False ends the chunk
            with what it is by then (anytime). A pipeline of one pass never asks.
        spread: one pass at each step, as a stream batch; a chunk then comes out some steps later.
            False: all its passes in this step. None leaves it to the pipeline. It may change from
            chunk to chunk.
        mark: to be told when a stage is over ("encode", "pass", "decode", "commit"), with the rows
            of the batch that it had and how far back they looked (None: all). The engine learns
            from it how long things take; a pipeline may leave it alone.
    """

    stream: Any
    index: int
    frames: Tensor | None
    controls: Controls
    effort: Effort = NOMINAL
    go_on: Callable[[int], bool] = _always
    spread: bool | None = None
    mark: Callable[[str, int, int | None], None] = _unmarked

    def done(self, frames: Tensor, **notes: Any) -> Result:
        """The result of this very chunk."""
        return Result(self.stream, self.index, frames, notes)


class Pipeline(Protocol):
    """What the engine runs. All methods are called from one thread.

    `step` may return a result for each chunk given or hold chunks back; each chunk given comes out
    exactly once, in order, and at the latest when it is flushed. A `step` that raises ends the
    streams of its batch; the engine closes their sessions with the reason.
    """

    info: PipelineInfo

    def open(self, config: StreamConfig) -> Any:
        """Memory for one stream: a new object each time, or None when nothing is kept (the engine
        then tells streams apart by objects of its own).

        Raises:
            RuntimeError: there is no room; the message is shown to the viewer.
        """
        ...

    def step(self, batch: Sequence[Work]) -> Sequence[Result]: ...

    def close(self, stream: Any) -> None: ...


@runtime_checkable
class Portable(Protocol):
    """What a pipeline may have besides, so that its streams can move to another device.

    A stream that was saved and loaded must go on bit for bit as if it had stayed; `save` is only
    called while none of its chunks is in flight.
    """

    def save(self, stream: Any) -> Mapping[str, npt.NDArray[Any]]:
        """All that the stream remembers, as plain arrays by name. The stream stays as it is."""
        ...

    def load(self, config: StreamConfig, saved: Mapping[str, npt.NDArray[Any]]) -> Any:
        """A new stream that remembers what `save` gave, perhaps in another process.

        Raises:
            RuntimeError: there is no room.
        """
        ...


PipelineFactory = Callable[[PipelineContext], Pipeline]
"""What `--pipeline module:Name` names: a class or function that takes a `PipelineContext`."""
