"""The engine of the captions: one model, all viewers, one thread.

A tick takes what is due and reads it in one pass: looks at new turns, questions, alerts. Then every
text in flight, captions and answers alike, grows by one token in one pass. So nobody waits for
another's sentence to end, and what a tick costs is bounded.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...kernels.color import i420_to_rgb
from ...models.vl.arena import ArenaFull
from ...models.vl.dialect import ending
from ...models.vl.segments import Pictures
from ..clock import Clock
from .alerts import Alert
from .answering import Answering
from .choosing import silence_of
from .host import CaptionEvent
from .keeping import forget, instruct
from .looks import Look
from .messages import Ask, CloseCaptions, Instruct, OpenCaptions, Request, Unwatch, Watch
from .model import CaptionModel
from .passes import Job, Passes
from .ringing import Ringing
from .viewer import LookBox, Tell, Turn, Viewer, new_viewer
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
    """

    def __init__(
        self,
        model: CaptionModel,
        clock: Clock,
        *,
        late: float = LATE_S,
        wake: Callable[[], None] = _nothing,
        taken: Callable[[str], None] = lambda id: None,
    ) -> None:
        self.model = model
        self._clock = clock
        self._late = late
        self._wake = wake
        self._taken = taken
        self._passes = Passes(model.reader, model.dialect, model.text)
        self._answering = Answering(model, self._passes, self._go_on)
        self._ringing = Ringing(model, clock)
        self._arrivals: deque[Arrival] = deque()
        self._viewers: dict[str, Viewer] = {}
        self._boxes: dict[str, LookBox] = {}
        self._writings: list[Writing] = []
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
        jobs: list[Job] = []
        for viewer in self._viewers.values():
            if viewer.turn is None:
                jobs += self._answering.due(viewer)
                jobs += self._ringing.due(viewer)
        jobs += self._looks()
        self._passes.read(jobs)
        going, waiting = first(self._writings, MAX_ROWS)
        self._writings = [*waiting, *self._passes.grow(going)]
        return bool(going or jobs or self._arrivals)

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
            if isinstance(request, OpenCaptions):
                assert arrival.tell is not None, "nobody hears this session"
                self._open(request, arrival.tell)
            elif (viewer := self._viewers.get(request.session)) is not None:
                self._serve(viewer, request)

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
            case CloseCaptions(reason=reason):
                self._close(viewer.id, reason)

    def _close(self, id: str, reason: str) -> None:
        with self._lock:
            viewer = self._viewers.pop(id)
            del self._boxes[id]
        if viewer.turn is not None and viewer.turn.writing is not None:
            self._writings.remove(viewer.turn.writing)
        gone = [question.writing for question in viewer.answering]
        self._writings = [writing for writing in self._writings if writing not in gone]
        self._answering.drop(viewer)
        self.model.reader.close(viewer.stream)
        viewer.tell(CaptionEvent("closed", reason))

    # ---- turns ---------------------------------------------------------------------------------

    def _looks(self) -> list[Job]:
        """The looks of all viewers who are between two turns, seen by the model in one batch."""
        due = [
            (viewer, look)
            for viewer in self._viewers.values()
            if viewer.turn is None and (look := self._take(viewer)) is not None
        ]
        jobs = []
        for (viewer, look), pictures in zip(due, self._see([look for _, look in due]), strict=True):
            number = viewer.counts.turns
            viewer.turn = Turn(number, look, self._clock.now())
            features, grid = pictures
            period = self.model.info.look.period
            seen = Pictures(features, grid, number, look.second, period)
            header = self.model.dialect.turn(number, look.second, [seen])
            jobs.append(
                Job(
                    viewer.stream,
                    [*viewer.owed, *header],
                    partial(self._read, viewer, seen),
                    partial(self._no_room, viewer),
                )
            )
        return jobs

    def _take(self, viewer: Viewer) -> Look | None:
        """The look in the viewer's box, if it is worth reading."""
        look = viewer.box.take()
        if look is None:
            return None
        self._taken(viewer.id)
        if self._clock.now() - look.captured_at > self._late:
            viewer.counts.late += 1
            return None
        viewer.now = look.end
        if not viewer.gate.passes(look):
            viewer.counts.unchanged += 1
            viewer.voice.quiet()
            return None
        viewer.counts.taken += 1
        viewer.looked = look
        return look

    def _see(self, looks: Sequence[Look]) -> list[tuple[Tensor, tuple[int, int, int]]]:
        """Features and grid of each look; looks of one size go together."""
        by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, look in enumerate(looks):
            by_size[look.width, look.height].append(number)
        out: dict[int, tuple[Tensor, tuple[int, int, int]]] = {}
        for numbers in by_size.values():
            planes = [torch.from_numpy(p) for n in numbers for p in looks[n].pictures]
            rgb = i420_to_rgb(torch.stack(planes).to(self.model.device))
            features, grid = self.model.reader.see(rgb.unflatten(0, (len(numbers), -1)))
            out.update((n, (features[row], grid)) for row, n in enumerate(numbers))
        return [out[number] for number in range(len(looks))]

    def _read(self, viewer: Viewer, seen: Pictures, row: Tensor) -> None:
        """The model has read a turn: it speaks, or it does not."""
        turn, dialect = viewer.turn, self.model.dialect
        assert turn is not None
        viewer.owed = []
        viewer.counts.turns += 1
        viewer.turns.append(turn.look.second)
        if viewer.memory.recall is not None:
            viewer.memory.recall.seen(seen)
        if not viewer.voice.speaks(silence_of(row, dialect.silence[0])):
            self._end_turn(viewer, silent=True)
            return
        viewer.stream.begin("caption", turn.number, turn.look.second)
        turn.writing = writing = Writing(
            viewer.stream,
            "caption",
            self.model.text.caption_tokens,
            tuple(viewer.words),
            _nothing,
            partial(self._spoken, viewer),
        )
        forbidden = dialect.stop | {dialect.silence[0]}
        if self._passes.give(writing, row, forbidden):
            self._go_on(writing)

    def _go_on(self, writing: Writing) -> None:
        self._writings.append(writing)

    def _spoken(self, viewer: Viewer) -> None:
        """A caption is complete."""
        turn = viewer.turn
        assert turn is not None and turn.writing is not None
        ids = turn.writing.ids
        text = self.model.dialect.decode(ids)
        viewer.words.extend(ids)
        viewer.counts.spoken += 1
        if viewer.recent.news(turn.look.second, text):
            viewer.say(self._clock.now(), turn.look, text, "caption")
        elif text:
            viewer.counts.duplicates += 1
        self._end_turn(viewer, silent=False)

    def _end_turn(self, viewer: Viewer, silent: bool) -> None:
        turn, viewer.turn = viewer.turn, None
        assert turn is not None
        viewer.owed = ending(self.model.dialect, turn.number, turn.look.second, silent)
        viewer.ring = True
        forget(self.model.reader, viewer)
        now = self._clock.now()
        viewer.took(now, now - turn.began)
        if viewer.wish is not None:
            instruct(self.model, viewer)

    def _no_room(self, viewer: Viewer) -> None:
        viewer.turn = None
        viewer.counts.no_room += 1
        viewer.gate.forget()
        forget(self.model.reader, viewer)
