"""Alerts: after each turn every condition is put to the model, each in a fork of its own. Loads
torch."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from ..clock import Clock
from .alerts import Alert
from .choosing import odds
from .host import AlertFired
from .looks import Look
from .model import CaptionModel
from .passes import Job
from .viewer import Viewer


class Ringing:
    """The alerts of all viewers."""

    def __init__(self, model: CaptionModel, clock: Clock) -> None:
        self._model = model
        self._clock = clock

    def due(self, viewer: Viewer) -> list[Job]:
        """What is to be asked about the turn that ended last, if nobody has asked yet."""
        if not (viewer.ring and viewer.alerts):
            return []
        viewer.ring = False
        return [self._put(viewer, alert) for alert in viewer.alerts.values()]

    def _put(self, viewer: Viewer, alert: Alert) -> Job:
        reader, look = self._model.reader, viewer.looked
        assert look is not None, "alerts are asked about a turn"
        fork = reader.fork(viewer.stream)
        words = self._model.dialect.alert(alert.condition, viewer.now)
        heard = partial(self._heard, viewer, alert, look, fork)
        return Job(fork, [*viewer.owed, *words], heard, partial(reader.close, fork))

    def _heard(self, viewer: Viewer, alert: Alert, look: Look, fork: Any, row: Tensor) -> None:
        self._model.reader.close(fork)
        dialect, now = self._model.dialect, self._clock.now()
        if alert.heard(look.second, odds(row, dialect.yes, dialect.no)):
            viewer.say(now, look, alert.condition, "alert")
            delay = now - look.captured_at
            viewer.tell(AlertFired(alert.number, alert.condition, look.second, delay))
