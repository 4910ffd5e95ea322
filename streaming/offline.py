"""Frames in, outputs out, none lost: the live engine run to the end of its input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from .clock import Clock, SystemClock
from .config import EngineConfig
from .controls import Controls
from .engine import INPUT_ENDED, Engine
from .frames import Frame
from .host import Event, Output
from .pipeline import Pipeline, StreamConfig
from .registry import check_pipeline
from .results import PipelineError
from .session import defaults


def run(
    source: Pipeline | Engine,
    frames: Iterable[Frame],
    controls: Mapping[str, object] | Controls | None = None,
    *,
    fps: float = 30.0,
    clock: Clock | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Iterator[Output]:
    """Send all frames through and give the outputs in order, one for each frame, as they come.

    Frames are asked for as they are needed, so both sides may be endless. Ending the iteration
    early closes the session.

    Args:
        source: a pipeline, or an engine that nobody else ticks meanwhile.
        frames: of one size, which the first one sets.
        controls: values that differ from the pipeline's defaults, or all of them.
        fps: the nominal rate of the source; pipelines may use it, nothing waits for it.
        clock: for `Output.finished_at`, when `source` is a pipeline.
        on_event: hears what is not a picture: the pipeline's notes, say.

    Raises:
        HostRefused: a size that the pipeline does not take, or no place is free.
        ControlError: a value that the pipeline does not take.
        ValueError: a frame of another size.
        PipelineError: a step failed; the reason is in its message.
    """
    engine = source if isinstance(source, Engine) else _engine(source, clock or SystemClock())
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        return
    heard = _Heard(on_event)
    session = engine.open(
        f"offline-{id(heard)}",
        StreamConfig(first.width, first.height, fps),
        controls if isinstance(controls, Controls) else defaults(engine.info.controls, controls),
        heard,
        lossless=True,
    )
    try:
        frame: Frame | None = first
        while heard.closed is None:
            while frame is not None and session.mailbox.put(_checked(frame, first)):
                frame = next(iterator, None)
                if frame is None:
                    session.mailbox.end()
            engine.tick()
            yield from heard.take()
    finally:
        if heard.closed is None:
            engine.close(session, "left early")
            engine.tick()
    if heard.closed != INPUT_ENDED:
        raise PipelineError(heard.closed)


class _Heard:
    """What the engine said since it was last asked.

    Attributes:
        closed: why the session ended, once it has.
    """

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self.closed: str | None = None
        self._outputs: list[Output] = []
        self._on_event = on_event

    def __call__(self, item: Output | Event) -> None:
        if isinstance(item, Output):
            self._outputs.append(item)
            return
        if item.kind == "closed":
            self.closed = item.message
        self._on_event(item)

    def take(self) -> list[Output]:
        outputs, self._outputs = self._outputs, []
        return outputs


def _engine(pipeline: Pipeline, clock: Clock) -> Engine:
    check_pipeline(type(pipeline).__name__, pipeline)
    return Engine(pipeline, EngineConfig(max_sessions=1), clock)


def _checked(frame: Frame, first: Frame) -> Frame:
    if (frame.width, frame.height) != (first.width, first.height):
        raise ValueError(
            f"frame {frame.index} is {frame.width}x{frame.height} and the first was "
            f"{first.width}x{first.height}; please scale them to one size"
        )
    return frame
