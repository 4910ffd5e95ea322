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
from ...models.vl.segments import Pictures, Piece, Words
from ..clock import Clock
from .alerts import Alert
from .answering import Answering
from .choosing import odds, silence_of
from .host import AlertFired, CaptionEvent, Said
from .looks import Look
from .messages import Ask, CloseCaptions, Instruct, OpenCaptions, Request, Unwatch, Watch
from .model import CaptionModel
from .passes import Job, Passes
from .track import Cue, CueKind
from .viewer import LookBox, Tell, Turn, Viewer, new_viewer
from .writing import Writing

LATE_S = 2.0
"""Age at which a look is not worth reading any more: the viewer is elsewhere."""
SHOWN_S = 2.0
"""Seconds for which a caption stands at least, unless the next one takes its place."""
WORD_S = 0.3
"""Seconds of reading that a word adds."""


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
                jobs += self._rings(viewer)
        jobs += self._looks()
        self._passes.read(jobs)
        growing = bool(self._writings)
        self._writings = self._passes.grow(self._writings)
        return growing or bool(jobs or self._arrivals)

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
        stream, box = reader.open(), self._boxes[request.session]
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
                    self._instruct(viewer)
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

    def _instruct(self, viewer: Viewer) -> None:
        """Put another standing wish in the place of the old one; all else stays."""
        wish, viewer.wish = viewer.wish, None
        opening = self.model.dialect.opening(wish or "")
        new = [words for words in opening if words.kind == "query"]
        table = [segment for segment in viewer.stream.table if segment.kind != "query"]
        try:
            self.model.reader.rearrange(viewer.stream, table)
            if new:
                self.model.reader.append([(viewer.stream, [*viewer.owed, *new])])
                viewer.owed = []
                self._to_front(viewer)
        except ArenaFull:
            viewer.tell(CaptionEvent("error", "no room for another wish at the moment; try again"))

    def _to_front(self, viewer: Viewer) -> None:
        """The standing wish stands where the opening ends."""
        table = viewer.stream.table
        wish = [segment for segment in table if segment.kind == "query"]
        others = [segment for segment in table if segment.kind != "query"]
        opening = next((n for n, segment in enumerate(others) if segment.turn >= 0), len(others))
        table = [*others[:opening], *wish, *others[opening:]]
        self.model.reader.rearrange(viewer.stream, table)

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
        viewer.second = look.second
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
        if viewer.recall is not None:
            viewer.recall.seen(seen)
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
            self._say(viewer, turn.look, text, "caption")
        elif text:
            viewer.counts.duplicates += 1
        self._end_turn(viewer, silent=False)

    def _end_turn(self, viewer: Viewer, silent: bool) -> None:
        turn, viewer.turn = viewer.turn, None
        assert turn is not None
        number, second, dialect = turn.number, turn.look.second, self.model.dialect
        said = [Words("footer", dialect.silence, number, second)] if silent else []
        viewer.owed = [*said, *dialect.footer(number, second, silent)]
        viewer.ring = True
        self._forget(viewer)
        now = self._clock.now()
        viewer.turn_ms.add(now, 1e3 * (now - turn.began))
        if viewer.wish is not None:
            self._instruct(viewer)

    def _forget(self, viewer: Viewer) -> None:
        """Let go of what the memory policy does not keep."""
        table = viewer.stream.table
        kept = viewer.window.keep(table)
        if len(kept) == len(table) and all(a is b for a, b in zip(kept, table, strict=True)):
            return
        viewer.counts.evictions += max(0, len(table) - len(kept))
        archive = viewer.recall is not None
        try:
            left = self.model.reader.rearrange(viewer.stream, kept, archive=archive)
        except ArenaFull:
            # Forks hold what would have to be copied. They end soon; the next turn tries again.
            return
        if viewer.recall is not None and left:
            viewer.recall.archived(left)

    def _no_room(self, viewer: Viewer) -> None:
        viewer.turn = None
        viewer.counts.no_room += 1
        viewer.gate.forget()
        self._forget(viewer)

    # ---- what is told --------------------------------------------------------------------------

    def _rings(self, viewer: Viewer) -> list[Job]:
        """Ask each alert about the turn that ended last, each in a fork of its own."""
        if not (viewer.ring and viewer.alerts):
            return []
        viewer.ring = False
        jobs = []
        for alert in viewer.alerts.values():
            fork = self.model.reader.fork(viewer.stream)
            words = self.model.dialect.alert(alert.condition, viewer.second)
            pieces: list[Piece] = [*viewer.owed, *words]
            close = partial(self.model.reader.close, fork)
            jobs.append(Job(fork, pieces, partial(self._heard, viewer, alert, fork), close))
        return jobs

    def _heard(self, viewer: Viewer, alert: Alert, fork: Any, row: Tensor) -> None:
        self.model.reader.close(fork)
        dialect, look = self.model.dialect, viewer.looked
        assert look is not None, "alerts are asked about a turn"
        if alert.heard(look.second, odds(row, dialect.yes, dialect.no)):
            self._say(viewer, look, alert.condition, "alert")
            delay = self._clock.now() - look.captured_at
            viewer.tell(AlertFired(alert.number, alert.condition, look.second, delay))

    def _say(self, viewer: Viewer, look: Look, text: str, kind: CueKind) -> None:
        end = look.second + max(SHOWN_S, look.end - look.second + WORD_S * len(text.split()))
        cue = Cue(next(viewer.cue_ids), look.second, end, text, kind)
        viewer.tell(Said(cue, self._clock.now() - look.captured_at))
