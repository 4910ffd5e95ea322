"""The engine of the captions: one model, all viewers, one thread.

A tick takes what is due and reads it in one pass: looks at new turns, questions, alerts. Then every
text in flight, captions and answers alike, grows by one token in one pass. So nobody waits for
another's sentence to end, and what a tick costs is bounded. Sessions that are suspected of ending
processes have ticks of their own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...models.vl.arena import ArenaFull
from ..clock import Clock
from .alerts import Alert
from .answering import Answering
from .host import CaptionEvent
from .keeping import instruct
from .looks import Look
from .messages import Acquit, Ask, CloseCaptions, Instruct, OpenCaptions, Request, Unwatch, Watch
from .model import CaptionModel
from .passes import Job, Passes
from .ringing import Ringing
from .turns import Turns
from .viewer import LookBox, Tell, Viewer, new_viewer
from .writing import Writing, first

MAX_ROWS = 8
"""Texts that grow in one pass, so that a caption never waits for a crowd of answers."""
LATE_S = 2.0
"""Age at which a look is not worth reading any more: the viewer is elsewhere."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A viewer's wish on its way to the engine's thread."""

    request: Request
    tell: Tell | None = None


def _nothing() -> None:
    return None


class CaptionEngine:
    """Captions, answers and alerts for all viewers. `look`, `request` and `stats` may be called
    from any thread, the rest belongs to one.

    Args:
        clock: whoever stamps the frames uses the same.
        late: seconds after which a look is left out; infinite for files.
        wake: called when there is something to do.
        taken: told the session whose look was taken from its box, or left out.
        at_work: told which sessions the work that begins is about, and () when it is done.
    """

    def __init__(
        self,
        model: CaptionModel,
        clock: Clock,
        *,
        late: float = LATE_S,
        wake: Callable[[], None] = _nothing,
        taken: Callable[[str], None] = lambda id: None,
        at_work: Callable[[Sequence[str]], None] = lambda ids: None,
    ) -> None:
        self.model = model
        self._clock = clock
        self._wake = wake
        self._at_work = at_work
        self._passes = Passes(model.reader, model.dialect, model.text)
        self._writings: list[Writing] = []
        self._answering = Answering(model, self._passes, self._go_on)
        self._ringing = Ringing(model, clock)
        self._turns = Turns(model, clock, self._passes, self._go_on, late, taken)
        self._arrivals: deque[Arrival] = deque()
        self._viewers: dict[str, Viewer] = {}
        self._boxes: dict[str, LookBox] = {}
        self._lock = threading.Lock()

    # ---- from any thread -----------------------------------------------------------------------

    def request(self, request: Request, tell: Tell | None = None) -> None:
        """A wish of a viewer; `tell` hears what comes of `OpenCaptions`."""
        if isinstance(request, OpenCaptions):
            # From here on looks are taken in, before the engine's thread has come to it.
            with self._lock:
                self._boxes.setdefault(request.session, LookBox())
        self._arrivals.append(Arrival(request, tell))
        self._wake()

    def look(self, id: str, look: Look) -> bool:
        """The newest look of a session wins. False where it took the place of another, or there is
        no such session."""
        with self._lock:
            box = self._boxes.get(id)
        alone = box is not None and box.put(look)
        self._wake()
        return alone

    def stats(self) -> dict[str, Mapping[str, Any]]:
        now = self._clock.now()
        with self._lock:
            viewers = list(self._viewers.values())
        return {viewer.id: viewer.stats(now) for viewer in viewers}

    # ---- the engine's thread -------------------------------------------------------------------

    def tick(self) -> bool:
        """Do what is due. False when there was nothing to do."""
        self._admit()
        viewers = list(self._viewers.values())
        groups = [[viewer] for viewer in viewers if viewer.suspect]
        if together := [viewer for viewer in viewers if not viewer.suspect]:
            groups.insert(0, together)
        busy = [self._work(group) for group in groups]
        return any(busy) or bool(self._arrivals)

    def _work(self, viewers: Sequence[Viewer]) -> bool:
        """A tick of these. False when there was nothing to do."""
        ids = [viewer.id for viewer in viewers]
        self._at_work(ids)
        jobs: list[Job] = []
        for viewer in viewers:
            if viewer.turn is None:
                jobs += self._answering.due(viewer)
                jobs += self._ringing.due(viewer)
        jobs += self._turns.due(viewers)
        self._passes.read(jobs)
        mine = [writing for writing in self._writings if writing.owner in ids]
        others = [writing for writing in self._writings if writing.owner not in ids]
        going, waiting = first(mine, MAX_ROWS)
        self._writings = [*others, *waiting, *self._passes.grow(going)]
        self._at_work(())
        return bool(going or jobs)

    def _go_on(self, writing: Writing) -> None:
        self._writings.append(writing)

    def wait_time(self) -> float | None:
        """Nothing happens here by time alone."""
        return None

    def shutdown(self, reason: str) -> None:
        """Close all sessions."""
        self._admit()
        for id in list(self._viewers):
            self._close(id, reason)

    @property
    def sessions(self) -> int:
        return len(self._viewers)

    # ---- sessions ------------------------------------------------------------------------------

    def _admit(self) -> None:
        while self._arrivals:
            arrival = self._arrivals.popleft()
            request = arrival.request
            self._at_work([request.session])
            if isinstance(request, OpenCaptions):
                assert arrival.tell is not None, "nobody hears this session"
                self._open(request, arrival.tell)
            elif (viewer := self._viewers.get(request.session)) is not None:
                self._serve(viewer, request)
            self._at_work(())

    def _open(self, request: OpenCaptions, tell: Tell) -> None:
        """Idempotent: a session may be announced twice when a worker starts."""
        if request.session in self._viewers:
            return
        reader, config = self.model.reader, request.config
        with self._lock:
            box = self._boxes.setdefault(request.session, LookBox())
        stream = reader.open()
        try:
            viewer = new_viewer(request.session, config, tell, self.model, stream, box)
            viewer.suspect = request.suspect
            reader.append([(stream, self.model.dialect.opening(config.instruction))])
        except (ArenaFull, ValueError) as error:
            reader.close(stream)
            with self._lock:
                del self._boxes[request.session]
            tell(CaptionEvent("closed", f"no captions for this session: {error}"))
            return
        with self._lock:
            self._viewers[request.session] = viewer
        tell(CaptionEvent("live"))

    def _serve(self, viewer: Viewer, request: Request) -> None:
        match request:
            case Ask():
                self._answering.ask(viewer, request)
            case Watch(number=number, condition=condition):
                viewer.alerts[number] = Alert(number, condition, self.model.alert)
                viewer.ring = viewer.ring or bool(viewer.turns)
            case Unwatch(number=number):
                viewer.alerts.pop(number, None)
            case Instruct(wish=wish):
                viewer.wish = wish
                if viewer.turn is None:
                    instruct(self.model, viewer)
            case Acquit():
                viewer.suspect = False
            case CloseCaptions(reason=reason):
                self._close(viewer.id, reason)

    def _close(self, id: str, reason: str) -> None:
        with self._lock:
            viewer = self._viewers.pop(id)
            del self._boxes[id]
        self._writings = [writing for writing in self._writings if writing.owner != id]
        self._answering.drop(viewer)
        self.model.reader.close(viewer.stream)
        viewer.tell(CaptionEvent("closed", reason))
