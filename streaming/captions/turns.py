"""Turns: a look is taken, the model reads it, and it speaks or it does not. Loads torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from ...kernels.color import i420_to_rgb
from ...models.vl.dialect import ending
from ...models.vl.segments import Pictures
from ..clock import Clock
from .choosing import silence_of
from .host import Seen
from .keeping import forget, instruct
from .looks import Look
from .model import CaptionModel
from .passes import Job, Passes
from .viewer import Turn, Viewer
from .writing import Writing


def _nothing() -> None:
    return None


class Turns:
    """The turns of all viewers.

    Args:
        begin: takes a text that the model goes on with.
        late: age in seconds at which a look is not worth reading any more.
        taken: told the session whose look was taken from its box, or left out.
    """

    def __init__(
        self,
        model: CaptionModel,
        clock: Clock,
        passes: Passes,
        begin: Callable[[Writing], None],
        late: float,
        taken: Callable[[str], None],
    ) -> None:
        self._model = model
        self._clock = clock
        self._passes = passes
        self._begin = begin
        self._late = late
        self._taken = taken

    def due(self, viewers: Iterable[Viewer]) -> list[Job]:
        """The looks of those who are between two turns, seen by the model in one batch."""
        due = [
            (viewer, look)
            for viewer in viewers
            if viewer.turn is None and (look := self._take(viewer)) is not None
        ]
        jobs = []
        for (viewer, look), pictures in zip(due, self._see([look for _, look in due]), strict=True):
            number = viewer.counts.turns
            viewer.turn = Turn(number, look, self._clock.now())
            features, grid = pictures
            period = self._model.info.look.period
            seen = Pictures(features, grid, number, look.second, period)
            header = self._model.dialect.turn(number, look.second, [seen])
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
            self._seen(viewer, look)
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
            rgb = i420_to_rgb(torch.stack(planes).to(self._model.device))
            features, grid = self._model.reader.see(rgb.unflatten(0, (len(numbers), -1)))
            out.update((n, (features[row], grid)) for row, n in enumerate(numbers))
        return [out[number] for number in range(len(looks))]

    def _read(self, viewer: Viewer, seen: Pictures, row: Tensor) -> None:
        """The model has read a turn: it speaks, or it does not."""
        turn, dialect = viewer.turn, self._model.dialect
        assert turn is not None
        viewer.owed = []
        viewer.counts.turns += 1
        viewer.turns.append(turn.look.second)
        if viewer.memory.recall is not None:
            viewer.memory.recall.seen(seen)
        if not viewer.voice.speaks(silence_of(row, dialect.silence[0])):
            self._end(viewer, silent=True)
            return
        viewer.stream.begin("caption", turn.number, turn.look.second)
        turn.writing = writing = Writing(
            viewer.stream,
            viewer.id,
            "caption",
            self._model.text.caption_tokens,
            tuple(viewer.words),
            _nothing,
            partial(self._spoken, viewer),
        )
        forbidden = dialect.stop | {dialect.silence[0]}
        if self._passes.give(writing, row, forbidden):
            self._begin(writing)

    def _spoken(self, viewer: Viewer) -> None:
        """A caption is complete."""
        turn = viewer.turn
        assert turn is not None and turn.writing is not None
        ids = turn.writing.ids
        text = self._model.dialect.decode(ids)
        viewer.words.extend(ids)
        viewer.counts.spoken += 1
        if viewer.recent.news(turn.look.second, text):
            viewer.say(self._clock.now(), turn.look, text, "caption")
        elif text:
            viewer.counts.duplicates += 1
        self._end(viewer, silent=False)

    def _end(self, viewer: Viewer, silent: bool) -> None:
        turn, viewer.turn = viewer.turn, None
        assert turn is not None
        viewer.owed = ending(self._model.dialect, turn.number, turn.look.second, silent)
        viewer.ring = True
        forget(self._model.reader, viewer)
        now = self._clock.now()
        viewer.took(now, now - turn.began)
        self._seen(viewer, turn.look)
        if viewer.wish is not None:
            instruct(self._model, viewer)

    def _no_room(self, viewer: Viewer) -> None:
        viewer.turn = None
        viewer.counts.no_room += 1
        viewer.gate.forget()
        forget(self._model.reader, viewer)

    def _seen(self, viewer: Viewer, look: Look) -> None:
        """All that there is to tell of the stream up to this look was told."""
        viewer.tell(Seen(look.end, self._clock.now() - look.captured_at))
