"""How the stages of a pipeline ran, counted and told. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from .pipeline import Pipeline
from .totals import Totals

FAMILY = "stage_runs"


@runtime_checkable
class Staged(Protocol):
    """What a pipeline may have besides: it knows in which way its stages ran."""

    def stage_runs(self) -> Mapping[str, int]:
        """Counts since it was made, by way: "replayed", "plain" and so on."""
        ...

    def told(self) -> tuple[str, ...]:
        """The same and what was refused, in sentences."""
        ...


class StageBook:
    """Carries a pipeline's counts into the engine's.

    Args:
        pipeline: of any kind; there is nothing to count of one that is not `Staged`.
        totals: where they go, as the family `stage_runs`.
    """

    def __init__(self, pipeline: Pipeline, totals: Totals) -> None:
        self._pipeline, self._totals = pipeline, totals
        self._booked: dict[str, int] = {}

    def book(self) -> bool:
        """What has come since the last time; whether something was recorded meanwhile, or tried to
        be, which takes many times as long as a run."""
        if not isinstance(self._pipeline, Staged):
            return False
        now = self._pipeline.stage_runs()
        tried = any(now.get(way, 0) != self._booked.get(way, 0) for way in ("recorded", "refused"))
        for way, count in now.items():
            if count != self._booked.get(way, 0):
                self._totals.count(FAMILY, way, count - self._booked.get(way, 0))
        self._booked = dict(now)
        return tried


def told(pipeline: Pipeline) -> tuple[str, ...]:
    """What a pipeline has to say of its stages."""
    return pipeline.told() if isinstance(pipeline, Staged) else ()
