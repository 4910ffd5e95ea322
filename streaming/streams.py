"""The streams of a pipeline: what is asked of foreign code, and what is checked of its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from .moving import Parcel, pack, unpack
from .pipeline import Pipeline, PipelineInfo, Result, Work
from .queues import queues_of
from .results import PipelineError, check_range, match
from .session import EngineSession

Watch = Callable[[Sequence[str]], None]
"""Told who is in the step that begins, and () when it is over."""


class Streams:
    """Opens, steps, saves and closes the streams of sessions; raises whatever the pipeline does.

    Args:
        info: what the pipeline declares, as viewers see it.
        reads: whether every picture may be looked at; on a GPU that would wait for the device, and
            only a stream's first one is.
    """

    def __init__(self, pipeline: Pipeline, info: PipelineInfo, reads: bool) -> None:
        self._pipeline, self._info, self._reads = pipeline, info, reads

    def open(self, session: EngineSession, others: Iterable[EngineSession]) -> bool:
        """Give a session its stream, a new one or the one that it came with.

        Raises:
            PipelineError: one of the `others` has the same object already.
        """
        if session.parcel is None:
            stream = self._pipeline.open(session.config)
        else:
            stream = unpack(self._pipeline, session, session.parcel)
        if stream is None:
            # Nothing to keep, but its results still have to be told apart from others'.
            stream = object()
        if any(other.stream is stream for other in others):
            raise PipelineError(
                "open returned an object that another stream has; return a new one for each stream"
            )
        session.stream = stream
        return True

    def step(
        self, sessions: list[EngineSession], works: list[Work], watch: Watch
    ) -> list[tuple[EngineSession, Result]]:
        """Run the works, and find out whose each result is.

        Raises:
            PipelineError: results that do not follow the protocol.
        """
        results = self._apart(sessions, works, watch)
        flushed = [work.frames is None for work in works]
        done = match(self._info, sessions, results, flushed)
        for _, result in done:
            if self._reads or result.index == 0:
                queues_of(self._pipeline).join()
                check_range(self._info, result.frames)
        return done

    def _apart(
        self, sessions: list[EngineSession], works: list[Work], watch: Watch
    ) -> list[Result]:
        """All in one step, save sessions that are suspected of ending processes: each of them
        alone, so that the next death names the right one."""
        together = [work for s, work in zip(sessions, works, strict=True) if not s.suspect]
        parts = [([s.id for s in sessions if not s.suspect], together)] if together else []
        parts += [([s.id], [w]) for s, w in zip(sessions, works, strict=True) if s.suspect]
        results: list[Result] = []
        try:
            for ids, part in parts:
                watch(ids)
                results += self._pipeline.step(part)
        finally:
            watch(())
        return results

    def save(self, session: EngineSession) -> Parcel:
        """All that a session is, packed; see `moving.pack`."""
        return pack(self._pipeline, session)

    def close(self, session: EngineSession) -> None:
        """Take a session's stream away from it."""
        stream, session.stream = session.stream, None
        self._pipeline.close(stream)
