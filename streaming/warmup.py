"""Before the first viewer: allocations, kernel choices, and how long things take here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..models.graphs import buckets
from .clock import Clock
from .controls import Controls
from .frames import Frame, i420_shape
from .host import Event, Output
from .pipeline import StreamConfig
from .results import PipelineError
from .session import Emit, EngineSession
from .stage_runs import FAMILY

if TYPE_CHECKING:
    from .engine import Engine

CHUNKS = 3
"""Chunks for each number of rows; the first pays for allocations and is not counted."""
ROWS = (1, 2, 4)
"""Rows of a batch whose times are measured; between and beyond them the curve is drawn."""
BUDGET_S = 0.3
"""No larger batch is begun after this long."""
RECORDING_S = 60.0
"""The same where stages are recorded: what is not recorded now will hold viewers up."""


def warm_up(engine: Engine, clock: Clock, places: int, ended: str) -> None:
    """Send a few frames of the preferred size through, one row and then several at once, unless
    the engine knows already what they cost. Where stages are recorded as graphs, so are those of
    all numbers of sessions that the engine takes.

    Args:
        places: sessions that the engine takes.
        ended: what a session that came to its end is closed with.

    Raises:
        PipelineError: the pipeline cannot run; with its reason.
    """
    begun, closed = clock.now(), list[str]()

    def listen(item: Output | Event) -> None:
        if isinstance(item, Event) and item.kind == "closed":
            closed.append(item.message)

    sessions: list[EngineSession] = []
    known = any(True for _ in engine.costs)
    for rows in sorted({*ROWS, *buckets(places)}):
        recording = engine.totals.counted(FAMILY, "recorded") > 0
        if rows > places or (rows not in ROWS and not recording):
            continue
        limit = RECORDING_S if recording else BUDGET_S
        if sessions and (clock.now() - begun > limit or (known and not recording)):
            break
        while len(sessions) < rows and not closed:
            sessions.append(_open(engine, f"warm-up {len(sessions)}", listen))
        _send(engine, clock, sessions)
    for session in sessions:
        session.mailbox.end()
    # One more chance for each session to come or go; a broken one is gone already.
    engine.tick()
    while engine.stats():
        engine.tick()
    engine.costs.firm_up()
    # A pipeline may have fewer rooms than the engine has places; nothing may be wrong but that.
    if ended not in closed:
        raise PipelineError(f"warming up failed: {closed[0]}")


def _open(engine: Engine, id: str, listen: Emit) -> EngineSession:
    config = StreamConfig(*engine.info.size)
    controls = Controls.defaults(engine.info.controls)
    session = engine.open(id, config, controls, listen, lossless=True)
    engine.tick()
    return session


def _send(engine: Engine, clock: Clock, sessions: list[EngineSession]) -> None:
    width, height = engine.info.size
    for index in range(CHUNKS * engine.info.chunk):
        grey = np.full(i420_shape(width, height), 128, np.uint8)
        for session in sessions:
            session.mailbox.put(Frame(grey, width, height, 0, clock.now(), index))
        if any(session.mailbox.ready() for session in sessions):
            engine.tick()
