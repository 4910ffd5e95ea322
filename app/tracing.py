"""Recording where frames spend their time, for a few seconds, on request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query

from ..streaming.frames import Stamp
from ..streaming.host import Host, Output
from ..streaming.trace import Span, Trace, chrome
from ..streaming.watcher import BEAT_S

MOST_S = 30.0
"""Longest recording: beyond it the rings of the workers would only forget its beginning."""


class Recorder:
    """Whether the server records at this moment, and the web process's own part of it."""

    def __init__(self) -> None:
        self.trace: Trace | None = None

    def sent(self, session: str, output: Output, now: float) -> None:
        """A picture goes to the encoder; a comparison while nobody records."""
        if self.trace is None:
            return
        stamp = Stamp.of(output.frame)
        held = Span(
            "paced", output.finished_at, now, session, ((session, stamp.index),), False, True
        )
        self.trace.add(held)
        self.trace.left("sent", session, stamp, now)


def trace_routes(host: Host, recorder: Recorder) -> APIRouter:
    """`GET /api/v1/trace`."""
    router = APIRouter(prefix="/api/v1")

    @router.get("/trace")
    async def record(
        seconds: Annotated[float, Query(ge=0.1, le=MOST_S, description="how long")] = 5.0,
    ) -> dict[str, Any]:
        """Record every frame for some seconds, then answer with a Chrome trace (JSON).

        Save it and open it in https://ui.perfetto.dev or chrome://tracing. One recording at a time.
        """
        if recorder.trace is not None:
            raise HTTPException(409, "somebody records already; please try again in a moment")
        recorder.trace = own = Trace()
        host.recorded()  # what an earlier recording left behind
        host.record(True)
        try:
            # Workers are asked with the next ping, and what they recorded comes with a later one.
            await asyncio.sleep(seconds + 2 * BEAT_S)
        finally:
            host.record(False)
            recorder.trace = None
        return chrome(newest([*own.drain(), *host.recorded()], seconds))

    return router


def newest(spans: Sequence[Span], seconds: float) -> list[Span]:
    """Those that began within the last seconds."""
    end = max((span.end for span in spans), default=0.0)
    return [span for span in spans if span.start >= end - seconds]
